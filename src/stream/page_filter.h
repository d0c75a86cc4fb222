/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which pages the destination may have: a Bloom filter of their hashes, in parts.
 *
 * The destination makes a part whenever it has indexed some more RAM and sends it once; the source
 * asks all parts that have come. A part (big-endian): lines (4 bytes), flags (4 bytes; bit 0: the
 * last part), then lines * 64 bytes. A hash stands for one line (its first 8 bytes) and 7 bits in
 * it (9 bits each of its last 8 bytes): one cache miss a part. With 10 bits a page about 1.3 % of
 * foreign hashes pass; each costs a miss, never a wrong page.
 */
#ifndef STREAM_PAGE_FILTER_H
#define STREAM_PAGE_FILTER_H

#include <stddef.h>

#include "stream/page_hash.h"

#define PAGE_FILTER_HEADER_SIZE 8
#define PAGE_FILTER_LINE_SIZE   ((size_t)64)
#define PAGE_FILTER_PART_PAGES  ((size_t)1 << 20) /* hashes in one part, at most */
/* The largest part: fits into one block of the link. */
#define PAGE_FILTER_PART_MAX                                                                       \
    (PAGE_FILTER_HEADER_SIZE + (PAGE_FILTER_PART_PAGES * 10 / 512 + 1) * PAGE_FILTER_LINE_SIZE)

/* Destination: the part for `n` hashes (0 to PAGE_FILTER_PART_PAGES), one after the other. The
 * caller's to free; NULL when memory is out. */
uint8_t *page_filter_make(const uint8_t *hashes, size_t n, bool last, size_t *size);

/* Source. Not locked: one thread, or the caller's lock. */
struct page_filter;
/* memory_limit: of all parts together, bytes. NULL when memory is out. */
struct page_filter *page_filter_new(size_t memory_limit);
void page_filter_free(struct page_filter *filter);

/* Adds a part that came from the peer; copies it. ERROR_CORRUPT when its size does not fit its
 * header, it is fuller than page_filter_make would make it, or it follows the last one; ERROR_PEER
 * when it would exceed the limit. */
int page_filter_take(struct page_filter *filter, const uint8_t *part, size_t size,
                     struct error **err);
/* The last part is there. */
bool page_filter_complete(const struct page_filter *filter);
/* No part that holds pages is there: hashes need not be made for it. */
bool page_filter_empty(const struct page_filter *filter);
/* May the destination have this page? */
bool page_filter_has(const struct page_filter *filter, const uint8_t hash[PAGE_HASH_SIZE]);

#endif
