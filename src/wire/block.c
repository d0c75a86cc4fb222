/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks: what a link carries. */
#include "wire/block.h"

#include <malloc.h>
#include <stddef.h>
#include <stdlib.h>

/* Blocks are cut from memory that stays; anything larger comes from the system and goes back. */
#define LARGE ((int)2 * BLOCK_SIZE_MAX)
/* A block may be larger than it must be by this part. */
#define LITTLE 16
/* Kept at the end of each of malloc's heaps while moves run: as much as a link holds. */
#define KEPT (64 * 1024 * 1024)

struct block *block_new(uint8_t kind, uint32_t size)
{
    struct block *block = malloc(sizeof(*block) + size);
    if (!block)
        return NULL;
    block->kind = kind;
    block->size = size;
    return block;
}

struct block *block_fit(struct block *block, size_t room)
{
    if (block->size > room - room / LITTLE)
        return block;
    struct block *smaller = realloc(block, sizeof(*block) + block->size);
    if (smaller)
        block = smaller;
    return block;
}

void block_memory_keep(void)
{
    mallopt(M_MMAP_THRESHOLD, LARGE);
    mallopt(M_TRIM_THRESHOLD, KEPT);
}

void block_memory_return(void)
{
    malloc_trim(0);
}

_Static_assert(offsetof(struct block, header) + FRAME_HEADER_SIZE == offsetof(struct block, data),
               "the payload follows its header without a gap");
