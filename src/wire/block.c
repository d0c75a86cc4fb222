/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks: what a link carries. */
#include "wire/block.h"

#include <stddef.h>
#include <stdlib.h>

struct block *block_new(uint8_t kind, uint32_t size)
{
    struct block *block = malloc(sizeof(*block) + size);
    if (!block)
        return NULL;
    block->kind = kind;
    block->size = size;
    return block;
}

_Static_assert(offsetof(struct block, header) + FRAME_HEADER_SIZE == offsetof(struct block, data),
               "the payload follows its header without a gap");
