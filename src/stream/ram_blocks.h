/* SPDX-License-Identifier: Apache-2.0 */
/* A guest's RAM blocks ("pc.ram", ...) by number and by name. */
#ifndef STREAM_RAM_BLOCKS_H
#define STREAM_RAM_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "stream/ram_record.h"

struct ram_block {
    char name[RAM_BLOCK_NAME_MAX + 1];
    uint64_t size; /* bytes; 0 when the stream does not say */
};

/* Starts with all zero. */
struct ram_blocks {
    struct ram_block *list;
    uint32_t count;
    uint32_t capacity;
};

void ram_blocks_clear(struct ram_blocks *blocks);

/* The name is `length` bytes, not terminated. Returns whether it is there, and its index. */
bool ram_blocks_find(const struct ram_blocks *blocks, const uint8_t *name, size_t length,
                     uint32_t *index);

/* Adds a block at index count - 1. Returns false for a name that is empty, too long, taken or holds
 * a NUL, and when there are far too many or memory is out. */
bool ram_blocks_add(struct ram_blocks *blocks, const uint8_t *name, size_t length, uint64_t size);

#endif
