/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a dictionary's pages are: a table from hashes to (source, page).
 *
 * Open addressing, linear probing, one word an entry: 24 bits of the hash (the tag), 8 bits
 * source + 1, 32 bits page; zero is empty. Entries are entered by whoever has a page and are never
 * removed, so nobody needs a lock: a lookup sees a whole entry or none, and of two threads that
 * enter one page the later finds it there. The full hash is not kept: a lookup hashes what it finds
 * anyway.
 */
#ifndef STREAM_DICTIONARY_TABLE_H
#define STREAM_DICTIONARY_TABLE_H

#include <stdatomic.h>
#include <stddef.h>

#include "stream/page_hash.h"

#define DICTIONARY_TABLE_SOURCES_MAX 255
#define DICTIONARY_TABLE_PAGES_MAX   (UINT64_C(1) << 32) /* of one source */
/* Threads that may enter at a time. */
#define DICTIONARY_TABLE_WRITERS_MAX 8

struct dictionary_table {
    _Atomic uint64_t *entries;
    uint64_t slots, usable; /* of which so many are used at most, and one a writer more */
    _Atomic uint64_t used;
};

/* Where a lookup of one hash is. */
struct dictionary_place {
    uint64_t slot, tag;
};

/* For so many pages, if `memory_limit` bytes allow it, else for fewer. ERROR_INVALID when they
 * allow none. */
int dictionary_table_make(struct dictionary_table *table, uint64_t pages, size_t memory_limit,
                          struct error **err);
void dictionary_table_free(struct dictionary_table *table);

/* True when it was entered: not if the page seems to be there already. */
bool dictionary_table_enter(struct dictionary_table *table, const uint8_t *hash, size_t source,
                            uint64_t page);
/* Nothing more is to be entered: looking up would get long. */
bool dictionary_table_is_full(const struct dictionary_table *table);

struct dictionary_place dictionary_table_place(const struct dictionary_table *table,
                                               const uint8_t *hash);
/* The next entry, from at->slot on, that may be the page; false when there is none. Leaves at->slot
 * behind it. */
bool dictionary_table_next(const struct dictionary_table *table, struct dictionary_place *at,
                           size_t *source, uint32_t *page);

#endif
