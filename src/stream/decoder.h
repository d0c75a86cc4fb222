/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The decoder: blocks from an encoder in, QEMU's stream out, byte for byte.
 *
 * Blocks are not trusted: whatever is out of bounds, out of order, or does not fit what came before
 * is refused with ERROR_CORRUPT. The sender can waste its own move, no more: memory stays within
 * the options' bounds whatever comes.
 */
#ifndef STREAM_DECODER_H
#define STREAM_DECODER_H

#include <stdbool.h>

#include "base/error.h"
#include "stream/page_hash.h"
#include "wire/block.h"

struct decoder_options {
    uint32_t slots; /* as the encoder has */
    /* Looks `n` hashes, one after the other, up in this host's RAM: found[i] when to[i] holds that
     * page now. NULL: never. */
    void (*lookup)(void *context, const uint8_t *hashes, size_t n, uint8_t *const *to, bool *found);
    /* The page at `address` of the guest's main RAM, as the stream up to here has made it: all
     * bytes of it have gone to the sink. NULL: pages cannot be taken from there. */
    int (*read_ram)(void *context, uint64_t address, uint8_t *page, struct error **err);
    void *context;
};

struct decoder_sink {
    /* The next bytes of QEMU's stream. */
    int (*write)(void *context, const uint8_t *bytes, size_t size, struct error **err);
    /* A block back to the encoder, which is taken over. */
    int (*emit)(void *context, struct block *block, struct error **err);
    void *context;
};

struct decoder;

struct decoder *decoder_new(const struct decoder_options *options, struct decoder_sink sink,
                            struct error **err);
void decoder_free(struct decoder *decoder);

/* Takes the next block of one of the encoder's kinds; it stays the caller's. ERROR_CORRUPT as
 * above, or the sink's error; the decoder is of no use then. */
int decoder_take(struct decoder *decoder, const struct block *block, struct error **err);

/* Bytes of memory in use, and the most there were. */
size_t decoder_memory(const struct decoder *decoder);

#endif
