/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The encoder's side of slots.
 *
 * Both indexes are caches, in sets of WAYS beside each other. An entry is a slot's number with a
 * few bits of what it was entered for, so that nearly all others are passed over without a look at
 * their facts. It is a hint: what counts is what `facts` says of the slot, so that nothing has to
 * be removed, and an entry that was overwritten costs a page sent once more.
 */
#include "stream/slot_map.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "stream/stream_block.h"

#define WAYS      8
#define SLOT_BITS 22
#define SLOT_MASK ((UINT32_C(1) << SLOT_BITS) - 1)
_Static_assert(STREAM_SLOTS_MAX <= SLOT_MASK + UINT32_C(1), "an entry has room for a slot");

/* The map takes whole huge pages, so that it can have them. */
#define HUGE_SIZE ((size_t)2 * 1024 * 1024)

/* Where the guest's next pages are looked for is fetched while this one is worked on. */
#define AHEAD 2

struct slot_fact {
    uint64_t key;  /* block and address of the page it belongs to */
    uint64_t hash; /* of its content */
    bool useful;   /* since the hand passed */
};

/* One cache line holds two sets. */
struct slot_set {
    uint32_t ways[WAYS]; /* 0: free */
};

struct slot_map {
    struct slots *slots;
    struct slot_fact *facts;
    uint32_t hand;
    size_t sets; /* a power of two */
    struct slot_set *by_key, *by_hash;
    size_t size; /* of the memory that these and `facts` lie in */
};

static uint64_t make_key(uint32_t block, uint64_t address)
{
    return (uint64_t)block << 52 ^ address / RAM_PAGE_SIZE;
}

/* Spreads a key or hash over sets and tags: the finalizer of MurmurHash3. One multiplication is not
 * enough, as pages come in order: in its middle bits they met in an eighth of all sets. */
static uint64_t mix(uint64_t value)
{
    value = (value ^ value >> 33) * UINT64_C(0xff51afd7ed558ccd);
    value = (value ^ value >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
    return value ^ value >> 33;
}

static struct slot_set *set_of(struct slot_set *table, size_t sets, uint64_t mixed)
{
    return &table[(mixed >> 32) & (sets - 1)];
}

/* Never 0, and from other bits than the set's. */
static uint32_t tag_of(uint64_t mixed)
{
    uint32_t tag = (uint32_t)(mixed >> (32 + SLOT_BITS));
    return (tag ? tag : 1) << SLOT_BITS;
}

struct slot_map *slot_map_new(struct slots *slots)
{
    struct slot_map *map = calloc(1, sizeof(*map));
    if (!map)
        return NULL;
    map->slots = slots;
    map->sets = 1;
    while (map->sets * WAYS < (size_t)3 * slots->count)
        map->sets *= 2;
    size_t table = map->sets * sizeof(struct slot_set);
    map->size = 2 * table + slots->count * sizeof(struct slot_fact);
    map->size = (map->size + HUGE_SIZE - 1) / HUGE_SIZE * HUGE_SIZE;
    void *memory = mmap(NULL, map->size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        free(map);
        return NULL;
    }
    madvise(memory, map->size, MADV_HUGEPAGE); /* an advice: without it it is only slower */
    map->by_key = memory;
    map->by_hash = map->by_key + map->sets;
    map->facts = (struct slot_fact *)(map->by_hash + map->sets);
    return map;
}

void slot_map_free(struct slot_map *map)
{
    if (!map)
        return;
    munmap(map->by_key, map->size);
    free(map);
}

uint32_t slot_map_find(struct slot_map *map, uint32_t block, uint64_t address)
{
    uint64_t key = make_key(block, address), mixed = mix(key);
    const struct slot_set *set = set_of(map->by_key, map->sets, mixed);
    __builtin_prefetch(set_of(map->by_key, map->sets, mix(key + AHEAD)), 1);
    for (unsigned i = 0; i < WAYS; i++) {
        uint32_t slot = set->ways[i] & SLOT_MASK;
        if (set->ways[i] == (tag_of(mixed) | slot) && map->facts[slot].key == key) {
            map->facts[slot].useful = true;
            return slot;
        }
    }
    return SLOT_NONE;
}

void slot_map_fetch_content(const struct slot_map *map, uint64_t hash)
{
    __builtin_prefetch(set_of(map->by_hash, map->sets, mix(hash)), 1);
}

uint32_t slot_map_find_content(struct slot_map *map, uint64_t hash,
                               const uint8_t page[RAM_PAGE_SIZE])
{
    uint64_t mixed = mix(hash);
    const struct slot_set *set = set_of(map->by_hash, map->sets, mixed);
    for (unsigned i = 0; i < WAYS; i++) {
        uint32_t slot = set->ways[i] & SLOT_MASK;
        if (set->ways[i] == (tag_of(mixed) | slot) && map->facts[slot].hash == hash &&
            memcmp(slots_page(map->slots, slot), page, RAM_PAGE_SIZE) == 0) {
            map->facts[slot].useful = true;
            return slot;
        }
    }
    return SLOT_NONE;
}

/* Does the entry say what is true? */
static bool holds(const struct slot_map *map, const struct slot_set *set, uint32_t entry, bool hash)
{
    const struct slot_fact *fact = &map->facts[entry & SLOT_MASK];
    uint64_t mixed = mix(hash ? fact->hash : fact->key);
    const struct slot_set *table = hash ? map->by_hash : map->by_key;
    return set == &table[(mixed >> 32) & (map->sets - 1)] && (entry & ~SLOT_MASK) == tag_of(mixed);
}

static bool useful(const struct slot_map *map, uint32_t entry)
{
    return map->facts[entry & SLOT_MASK].useful;
}

/* Enters the slot into a way of the set that is free or its own, or no longer says the truth, or
 * was of no use lately, or else into one that `slot` decides. */
static void enter(const struct slot_map *map, struct slot_set *set, uint64_t mixed, bool hash,
                  uint32_t slot)
{
    unsigned way = 0;
    while (way < WAYS && set->ways[way] && (set->ways[way] & SLOT_MASK) != slot)
        way++;
    if (way == WAYS) {
        way = 0;
        while (way < WAYS && holds(map, set, set->ways[way], hash))
            way++;
        if (way == WAYS)
            for (way = 0; way < WAYS && useful(map, set->ways[way]);)
                way++;
        if (way == WAYS)
            way = slot % WAYS;
    }
    set->ways[way] = tag_of(mixed) | slot;
}

/* The next slot, or the first one that the hand finds to have been of no use. */
static uint32_t choose(struct slot_map *map)
{
    struct slots *slots = map->slots;
    if (slots->used < slots->count)
        return slots->used;
    while (map->facts[map->hand].useful) {
        map->facts[map->hand].useful = false;
        map->hand = (map->hand + 1) % slots->count;
    }
    uint32_t slot = map->hand;
    map->hand = (map->hand + 1) % slots->count;
    return slot;
}

uint32_t slot_map_take(struct slot_map *map, uint32_t block, uint64_t address)
{
    uint32_t slot = choose(map);
    uint64_t key = make_key(block, address);
    map->facts[slot] = (struct slot_fact){.key = key};
    enter(map, set_of(map->by_key, map->sets, mix(key)), mix(key), false, slot);
    return slot;
}

void slot_map_filled(struct slot_map *map, uint32_t slot, uint64_t hash)
{
    map->facts[slot].hash = hash;
    enter(map, set_of(map->by_hash, map->sets, mix(hash)), mix(hash), true, slot);
}
