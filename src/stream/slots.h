/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slots: numbered places for pages that both ends fill alike, the base of deltas and repetitions.
 *
 * The memory is reserved at once and taken from the system only as slots are used. A new slot is
 * always the next one, so that "in use" is one number.
 */
#ifndef STREAM_SLOTS_H
#define STREAM_SLOTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "stream/ram_record.h"

struct slots {
    uint8_t *pages;
    uint32_t count; /* there are so many */
    uint32_t used;  /* 0 to used - 1 hold a page */
};

/* `count` may be 0: no slots. */
int slots_init(struct slots *slots, uint32_t count, struct error **err);
void slots_clear(struct slots *slots);

static inline uint8_t *slots_page(const struct slots *slots, uint32_t slot)
{
    return slots->pages + (size_t)slot * RAM_PAGE_SIZE;
}

/* Copies a page into a slot in use or the first new one. */
void slots_put(struct slots *slots, uint32_t slot, const uint8_t page[RAM_PAGE_SIZE]);

#endif
