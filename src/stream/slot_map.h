/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The encoder's side of slots: which page of the guest is in which slot, and which slot has the
 * content that is about to be sent.
 *
 * A page of the guest keeps its slot until another page needs it. Slots are taken in order; when
 * all are in use, a hand goes round and takes the first one that was not of use since it passed
 * last.
 */
#ifndef STREAM_SLOT_MAP_H
#define STREAM_SLOT_MAP_H

#include "stream/slots.h"

#define SLOT_NONE UINT32_MAX

/* Bytes that the map needs for each slot, beside the page itself (rounded up). */
#define SLOT_MAP_OVERHEAD 72

struct slot_map;

/* `slots` stays the caller's, and outlives the map. NULL when memory is out. */
struct slot_map *slot_map_new(struct slots *slots);
void slot_map_free(struct slot_map *map);

/* The slot that holds what was sent of this page before, or SLOT_NONE. */
uint32_t slot_map_find(struct slot_map *map, uint32_t block, uint64_t address);

/* slot_map_find_content() follows soon: what it looks at is on its way from memory. */
void slot_map_fetch_content(const struct slot_map *map, uint64_t hash);

/* A slot, of whatever page, whose content equals `page`, or SLOT_NONE. `hash` is the page's. */
uint32_t slot_map_find_content(struct slot_map *map, uint64_t hash,
                               const uint8_t page[RAM_PAGE_SIZE]);

/* A slot for a page that has none; the caller fills it. */
uint32_t slot_map_take(struct slot_map *map, uint32_t block, uint64_t address);

/* `slot` holds content with this hash from now on. */
void slot_map_filled(struct slot_map *map, uint32_t slot, uint64_t hash);

#endif
