/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks from a hostile peer: the decoder takes them or refuses them with ERROR_CORRUPT, and what
 * it writes and holds stays within its bounds. */
#include <stdlib.h>
#include <string.h>

#include "stream/decoder.h"
#include "stream/stream_block.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct output {
    size_t size;
    uint8_t sum; /* so that every byte is read */
};

static int on_write(void *context, const uint8_t *bytes, size_t size, struct error **err)
{
    (void)err;
    struct output *output = context;
    for (size_t i = 0; i < size; i++)
        output->sum ^= bytes[i];
    output->size += size;
    return 0;
}

static int on_emit(void *context, struct block *block, struct error **err)
{
    (void)context;
    (void)err;
    free(block);
    return 0;
}

/* Half of all pages are here. */
static void on_lookup(void *context, const uint8_t *hashes, size_t n, uint8_t *const *to,
                      bool *found)
{
    (void)context;
    for (size_t i = 0; i < n; i++, hashes += PAGE_HASH_SIZE) {
        memset(to[i], hashes[1], RAM_PAGE_SIZE);
        found[i] = hashes[0] & 1;
    }
}

static int on_read_ram(void *context, uint64_t address, uint8_t *page, struct error **err)
{
    (void)context;
    (void)err;
    memset(page, (int)(address / RAM_PAGE_SIZE), RAM_PAGE_SIZE);
    return 0;
}

/* The input: kind, size (3 bytes), so many bytes; again and again. What a block announces more than
 * there is is zero, so that short inputs make whole pages. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct output output = {0};
    size_t blocks = 0;
    struct decoder *decoder = decoder_new(
        &(struct decoder_options){.slots = 8, .lookup = on_lookup, .read_ram = on_read_ram},
        (struct decoder_sink){on_write, on_emit, &output}, NULL);
    if (!decoder)
        return 0;
    while (size >= 4 && blocks++ < 64) {
        CLEANUP_ERROR struct error *err = NULL;
        uint32_t announced = bytes_get32(data) & 0xffffff;
        CLEANUP_FREE struct block *block = block_new(data[0], announced % BLOCK_SIZE_MAX);
        if (!block)
            abort();
        size_t piece = size - 4 < block->size ? size - 4 : block->size;
        memcpy(block->data, data + 4, piece);
        memset(block->data + piece, 0, block->size - piece);
        data += 4 + piece;
        size -= 4 + piece;
        if (decoder_take(decoder, block, &err) < 0) {
            if (!err || err->kind != ERROR_CORRUPT)
                abort();
            break;
        }
    }
    if (output.size > blocks * STREAM_WINDOW_OUTPUT_MAX)
        abort();
    decoder_free(decoder);
    return 0;
}
