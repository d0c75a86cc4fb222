/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What changed in a page, word by word.
 *
 * A delta is a sequence of runs: how many words of 8 bytes stay (number), how many change (number,
 * at least 1), and for each that does a mask, bit i for byte i of the word, and the new bytes.
 * Numbers as in control.h. It ends with a run of 0 words that change; the page's rest stays.
 */
#ifndef STREAM_DELTA_H
#define STREAM_DELTA_H

#include "stream/control.h"
#include "stream/ram_record.h"

/* Beyond so many bytes a page is better sent as it is. */
#define DELTA_SIZE_MAX 2048

/* Writes the delta from `old` to `new` into `out`, which has room for DELTA_SIZE_MAX. Returns its
 * size; 0 when it would be larger than that. */
size_t delta_make(const uint8_t old[RAM_PAGE_SIZE], const uint8_t new[RAM_PAGE_SIZE],
                  uint8_t out[DELTA_SIZE_MAX]);

/* Changes `page` by the delta that `reader` stands at, and moves behind it. False when that is no
 * delta: `page` may have changed then, but nothing beyond it. */
bool delta_apply(struct control_reader *reader, uint8_t page[RAM_PAGE_SIZE]);

#endif
