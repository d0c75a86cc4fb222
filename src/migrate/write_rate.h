/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much of its memory a guest changes, estimated from a sample of its pages that is looked at
 * twice. QEMU knows only after the first round, which is most of a move.
 */
#ifndef MIGRATE_WRITE_RATE_H
#define MIGRATE_WRITE_RATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "stream/ram_source.h"

/* Pages of a sample: one in 200 of the guest's being written shows as some five of these. */
#define WRITE_RATE_PAGES 1024

struct write_rate {
    bool taken;
    uint32_t pages[WRITE_RATE_PAGES];
    uint64_t hashes[WRITE_RATE_PAGES];
};

/* The first look, at pages spread evenly over `ram`. Takes a millisecond or two. */
int write_rate_begin(struct write_rate *rate, const struct ram_source *ram, struct error **err);
/* The second look: how many in a thousand pages have changed since. */
int write_rate_end(const struct write_rate *rate, const struct ram_source *ram, unsigned *permille,
                   struct error **err);

#endif
