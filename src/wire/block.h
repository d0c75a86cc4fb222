/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks: what a link carries, in order, each whole or not at all. */
#ifndef WIRE_BLOCK_H
#define WIRE_BLOCK_H

#include <stddef.h>
#include <stdint.h>

#include "wire/frame.h"

/* The most a block holds, bytes. */
#define BLOCK_SIZE_MAX FRAME_DATA_MAX

/* From malloc; whoever holds it owns it, and frees it with free(). */
struct block {
    uint32_t size; /* of data, bytes */
    uint8_t kind;  /* means something to the link's user only */
    /* The link's: the frame's header stands right before its payload, so that both leave in one
     * write, and nothing is copied. */
    uint8_t header[FRAME_HEADER_SIZE];
    uint8_t data[];
};

/* Room for `size` bytes, at most BLOCK_SIZE_MAX; NULL when memory is out. */
struct block *block_new(uint8_t kind, uint32_t size);

/* Gives back what a block with room for `room` bytes has beyond its size, unless that is little:
 * where all blocks are about as large, each fits where another was. Returns where it is now. */
struct block *block_fit(struct block *block, size_t room);

/* Once, when a process that moves VMs starts: what blocks leave behind stays with the process.
 * Memory that is new from the system costs several times what it takes to fill it. */
void block_memory_keep(void);
/* What is kept and not in use goes back to the system: at the end of a move. */
void block_memory_return(void);

#endif
