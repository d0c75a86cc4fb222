/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The encoder's side of slots.
 *
 * Both indexes are caches of slot numbers, in sets of WAYS beside each other. An entry is a hint:
 * what counts is what `facts` says of the slot, so that nothing has to be removed, and an entry
 * that was overwritten costs a page sent once more.
 */
#include "stream/slot_map.h"

#include <stdlib.h>
#include <string.h>

#define WAYS 8

struct slot_fact {
    uint64_t key;  /* block and address of the page it belongs to */
    uint64_t hash; /* of its content */
    bool useful;   /* since the hand passed */
};

struct slot_map {
    struct slots *slots;
    struct slot_fact *facts;
    uint32_t hand;
    size_t sets; /* a power of two */
    uint32_t *by_key, *by_hash;
};

static uint64_t make_key(uint32_t block, uint64_t address)
{
    return (uint64_t)block << 52 ^ address / RAM_PAGE_SIZE;
}

static uint32_t *set_of(uint32_t *table, size_t sets, uint64_t value)
{
    uint64_t mixed = value * UINT64_C(0x9e3779b97f4a7c15);
    return table + ((mixed >> 32) & (sets - 1)) * WAYS;
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
    size_t entries = map->sets * WAYS;
    map->facts = calloc(slots->count ? slots->count : 1, sizeof(*map->facts));
    map->by_key = malloc(entries * sizeof(*map->by_key));
    map->by_hash = malloc(entries * sizeof(*map->by_hash));
    if (!map->facts || !map->by_key || !map->by_hash) {
        slot_map_free(map);
        return NULL;
    }
    memset(map->by_key, 0xff, entries * sizeof(*map->by_key));
    memset(map->by_hash, 0xff, entries * sizeof(*map->by_hash));
    return map;
}

void slot_map_free(struct slot_map *map)
{
    if (!map)
        return;
    free(map->facts);
    free(map->by_key);
    free(map->by_hash);
    free(map);
}

uint32_t slot_map_find(struct slot_map *map, uint32_t block, uint64_t address)
{
    uint64_t key = make_key(block, address);
    const uint32_t *set = set_of(map->by_key, map->sets, key);
    for (unsigned i = 0; i < WAYS; i++)
        if (set[i] != SLOT_NONE && map->facts[set[i]].key == key) {
            map->facts[set[i]].useful = true;
            return set[i];
        }
    return SLOT_NONE;
}

uint32_t slot_map_find_content(struct slot_map *map, uint64_t hash,
                               const uint8_t page[RAM_PAGE_SIZE])
{
    const uint32_t *set = set_of(map->by_hash, map->sets, hash);
    for (unsigned i = 0; i < WAYS; i++)
        if (set[i] != SLOT_NONE && map->facts[set[i]].hash == hash &&
            memcmp(slots_page(map->slots, set[i]), page, RAM_PAGE_SIZE) == 0) {
            map->facts[set[i]].useful = true;
            return set[i];
        }
    return SLOT_NONE;
}

/* The way of a set that is free, or no longer says the truth, or else one that `slot` decides. */
static uint32_t *way_for(const struct slot_map *map, uint32_t *table, uint64_t value, bool hash,
                         uint32_t slot)
{
    uint32_t *set = set_of(table, map->sets, value);
    for (unsigned i = 0; i < WAYS; i++) {
        if (set[i] == SLOT_NONE || set[i] == slot)
            return &set[i];
        const struct slot_fact *fact = &map->facts[set[i]];
        if (set_of(table, map->sets, hash ? fact->hash : fact->key) != set)
            return &set[i];
    }
    return &set[slot % WAYS];
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
    *way_for(map, map->by_key, key, false, slot) = slot;
    return slot;
}

void slot_map_filled(struct slot_map *map, uint32_t slot, uint64_t hash)
{
    map->facts[slot].hash = hash;
    *way_for(map, map->by_hash, hash, true, slot) = slot;
}
