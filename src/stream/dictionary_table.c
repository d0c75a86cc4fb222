/* SPDX-License-Identifier: Apache-2.0 */
/* Where a dictionary's pages are. */
#include "stream/dictionary_table.h"

#include <endian.h>
#include <string.h>
#include <sys/mman.h>

#define TAG_BITS    24
#define SOURCE_BITS 8
#define PAGE_BITS   32
#define ENTRY_SIZE  sizeof(uint64_t)
/* Of the table that may be used, in eighths: beyond, probing gets long. */
#define LOAD_EIGHTHS 6
#define SLOTS_MIN    (UINT64_C(8) * DICTIONARY_TABLE_WRITERS_MAX)

_Static_assert(TAG_BITS + SOURCE_BITS + PAGE_BITS == 64, "an entry is one word");
_Static_assert(DICTIONARY_TABLE_SOURCES_MAX == (1 << SOURCE_BITS) - 1, "source + 1 fits");
_Static_assert(DICTIONARY_TABLE_PAGES_MAX >> PAGE_BITS == 1, "a page fits");
_Static_assert(SLOTS_MIN *(8 - LOAD_EIGHTHS) / 8 > DICTIONARY_TABLE_WRITERS_MAX,
               "a full table has an empty slot, at which probing ends");

int dictionary_table_make(struct dictionary_table *table, uint64_t pages, size_t memory_limit,
                          struct error **err)
{
    const uint64_t wanted = pages * 8 / LOAD_EIGHTHS + SLOTS_MIN, room = memory_limit / ENTRY_SIZE;
    table->slots = wanted < room ? wanted : room;
    table->usable = table->slots * LOAD_EIGHTHS / 8;
    if (table->slots < SLOTS_MIN)
        return error_set(err, ERROR_INVALID, "%zu bytes are too few for a table of pages",
                         memory_limit);
    void *entries = mmap(NULL, table->slots * ENTRY_SIZE, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (entries == MAP_FAILED)
        return error_set(err, ERROR_SYSTEM, "out of memory");
    table->entries = entries;
    return 0;
}

void dictionary_table_free(struct dictionary_table *table)
{
    if (table->entries)
        munmap((void *)table->entries, table->slots * ENTRY_SIZE);
    table->entries = NULL;
}

struct dictionary_place dictionary_table_place(const struct dictionary_table *table,
                                               const uint8_t *hash)
{
    uint64_t words[2];
    memcpy(words, hash, sizeof(words));
    return (struct dictionary_place){
        .slot = (uint64_t)(((unsigned __int128)be64toh(words[0]) * table->slots) >> 64),
        .tag = be64toh(words[1]) >> (64 - TAG_BITS),
    };
}

static uint64_t next_slot(const struct dictionary_table *table, uint64_t slot)
{
    return slot + 1 == table->slots ? 0 : slot + 1;
}

bool dictionary_table_enter(struct dictionary_table *table, const uint8_t *hash, size_t source,
                            uint64_t page)
{
    struct dictionary_place at = dictionary_table_place(table, hash);
    const uint64_t entry =
        at.tag << (SOURCE_BITS + PAGE_BITS) | (uint64_t)(source + 1) << PAGE_BITS | page;
    for (;; at.slot = next_slot(table, at.slot)) {
        uint64_t there = atomic_load_explicit(&table->entries[at.slot], memory_order_relaxed);
        if (!there &&
            atomic_compare_exchange_strong_explicit(&table->entries[at.slot], &there, entry,
                                                    memory_order_release, memory_order_relaxed)) {
            atomic_fetch_add_explicit(&table->used, 1, memory_order_relaxed);
            return true;
        }
        if (there >> (SOURCE_BITS + PAGE_BITS) == at.tag)
            return false;
    }
}

bool dictionary_table_is_full(const struct dictionary_table *table)
{
    return atomic_load_explicit(&table->used, memory_order_relaxed) >= table->usable;
}

bool dictionary_table_next(const struct dictionary_table *table, struct dictionary_place *at,
                           size_t *source, uint32_t *page)
{
    for (;;) {
        const uint64_t entry =
            atomic_load_explicit(&table->entries[at->slot], memory_order_acquire);
        if (!entry)
            return false;
        at->slot = next_slot(table, at->slot);
        if (entry >> (SOURCE_BITS + PAGE_BITS) == at->tag) {
            *source = (entry >> PAGE_BITS & ((1u << SOURCE_BITS) - 1)) - 1;
            *page = (uint32_t)entry;
            return true;
        }
    }
}
