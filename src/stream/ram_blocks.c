/* SPDX-License-Identifier: Apache-2.0 */
/* A guest's RAM blocks by number and by name. */
#include "stream/ram_blocks.h"

#include <stdlib.h>
#include <string.h>

#define BLOCKS_MAX 4096 /* far beyond what slots and option ROMs of one machine add up to */

void ram_blocks_clear(struct ram_blocks *blocks)
{
    free(blocks->list);
    *blocks = (struct ram_blocks){0};
}

bool ram_blocks_find(const struct ram_blocks *blocks, const uint8_t *name, size_t length,
                     uint32_t *index)
{
    for (uint32_t i = 0; i < blocks->count; i++) {
        const char *known = blocks->list[i].name;
        if (strlen(known) == length && memcmp(known, name, length) == 0) {
            *index = i;
            return true;
        }
    }
    return false;
}

bool ram_blocks_add(struct ram_blocks *blocks, const uint8_t *name, size_t length, uint64_t size)
{
    uint32_t index;
    if (blocks->count == BLOCKS_MAX || length == 0 || length > RAM_BLOCK_NAME_MAX ||
        memchr(name, 0, length) || ram_blocks_find(blocks, name, length, &index))
        return false;
    if (blocks->count == blocks->capacity) {
        uint32_t capacity = blocks->capacity ? 2 * blocks->capacity : 16;
        struct ram_block *list = reallocarray(blocks->list, capacity, sizeof(list[0]));
        if (!list)
            return false;
        blocks->list = list;
        blocks->capacity = capacity;
    }
    struct ram_block *block = &blocks->list[blocks->count++];
    memcpy(block->name, name, length);
    block->name[length] = '\0';
    block->size = size;
    return true;
}
