/* SPDX-License-Identifier: Apache-2.0 */
/* Both ends of the engine: any bytes that QEMU writes, cut anywhere, arrive as they are; and what a
 * hostile decoder answers is taken or refused with ERROR_CORRUPT. */
#include <stdlib.h>
#include <string.h>

#include "stream/decoder.h"
#include "stream/encoder.h"
#include "stream/page_filter.h"
#include "stream/ram_parser.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define RAM_PAGES 64 /* of main RAM that copies are taken from */

struct ends {
    struct decoder *decoder;
    struct ram_parser *parser; /* of what came out */
    size_t parsed;
    bool beyond; /* a copy is from above these: more than is tested here */
    uint8_t ram[RAM_PAGES][RAM_PAGE_SIZE];
    const uint8_t *expected;
    size_t done, size;
};

static int on_write(void *context, const uint8_t *bytes, size_t size, struct error **err)
{
    struct ends *ends = context;
    (void)err;
    if (size > ends->size - ends->done || memcmp(bytes, ends->expected + ends->done, size) != 0)
        abort();
    ends->done += size;
    return 0;
}

static int place(void *context, const struct ram_token *token, struct error **err)
{
    struct ends *ends = context;
    uint64_t page = token->address / RAM_PAGE_SIZE;
    (void)err;
    if (token->kind == RAM_OTHER || page >= RAM_PAGES ||
        strcmp(ram_parser_block(ends->parser, token->block)->name, "pc.ram") != 0)
        return 0;
    if (token->kind == RAM_PAGE)
        memcpy(ends->ram[page], token->page, RAM_PAGE_SIZE);
    else
        memset(ends->ram[page], token->fill, RAM_PAGE_SIZE);
    return 0;
}

static int on_read_ram(void *context, uint64_t address, uint8_t *page, struct error **err)
{
    struct ends *ends = context;
    ends->beyond = address >= sizeof(ends->ram);
    if (ends->beyond)
        return error_set(err, ERROR_INVALID, "there is no so much memory");
    if (ram_parser_feed(ends->parser, ends->expected + ends->parsed, ends->done - ends->parsed,
                        place, ends, err) < 0)
        abort();
    ends->parsed = ends->done;
    memcpy(page, ends->ram[address / RAM_PAGE_SIZE], RAM_PAGE_SIZE);
    return 0;
}

static int drop(void *context, struct block *block, struct error **err)
{
    (void)context;
    (void)err;
    free(block);
    return 0;
}

static int on_block(void *context, struct block *block, struct error **err)
{
    struct ends *ends = context;
    int taken = decoder_take(ends->decoder, block, err);
    if (taken < 0 && !ends->beyond)
        abort();
    free(block);
    return taken;
}

/* Everything may be at the other end, as far as the filter knows. */
static void give_filter(struct encoder *encoder)
{
    static uint8_t hashes[64][PAGE_HASH_SIZE];
    size_t size;
    CLEANUP_FREE uint8_t *part = page_filter_make(hashes[0], 64, true, &size);
    CLEANUP_FREE struct block *block = block_new(STREAM_FILTER, (uint32_t)size);
    memcpy(block->data, part, size);
    memset(block->data + PAGE_FILTER_HEADER_SIZE, 0, size - PAGE_FILTER_HEADER_SIZE);
    encoder_answer(encoder, block, NULL);
}

/* The stream in pieces, and between them answers; false when one was refused, as it should be, or
 * the stream ends as one that is beyond what is tested. */
static bool feed(struct encoder *encoder, struct ends *ends, const uint8_t *answers,
                 size_t answers_size, size_t piece)
{
    const uint8_t *stream = ends->expected;
    for (size_t size = ends->size; size;) {
        size_t part = size < piece ? size : piece;
        int written = encoder_write(encoder, stream, part, NULL);
        if (written < 0 && !ends->beyond)
            abort();
        if (written < 0)
            return false;
        stream += part;
        size -= part;
        if (answers_size < 2)
            continue;
        CLEANUP_ERROR struct error *err = NULL;
        uint32_t length = answers[1] < answers_size - 2 ? answers[1] : (uint32_t)answers_size - 2;
        CLEANUP_FREE struct block *block = block_new(answers[0] % 8, length);
        memcpy(block->data, answers + 2, length);
        answers += 2 + length;
        answers_size -= 2 + length;
        /* A page that the decoder does not have cannot be said to be there: it would refuse. */
        if (block->kind == STREAM_ANSWER && length > 8)
            memset(block->data + 8, 0, length - 8);
        if (encoder_answer(encoder, block, &err) < 0) {
            if (ends->beyond)
                return false;
            if (!err || (err->kind != ERROR_CORRUPT && err->kind != ERROR_PEER))
                abort();
            return false;
        }
    }
    return true;
}

/* The input: size of pieces, share of the answers, both one byte; the answers; the stream. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct page_hash_key key = {{1}};
    if (size < 2)
        return 0;
    size_t piece = 1 + (size_t)data[0] * 37, answers = (size - 2) * data[1] / 1024;
    const uint8_t *stream = data + 2 + answers;
    struct ends ends = {.expected = stream, .size = size - 2 - answers};
    ends.decoder = decoder_new(
        &(struct decoder_options){.slots = 4, .read_ram = on_read_ram, .context = &ends},
        (struct decoder_sink){on_write, drop, &ends}, NULL);
    ends.parser = ram_parser_new();
    struct encoder *encoder =
        encoder_new(&(struct encoder_options){.codec = CHOOSER_LZ4,
                                              .slots = 4,
                                              .copies = true,
                                              .dictionary_key = data[0] & 1 ? &key : NULL},
                    (struct stream_sink){on_block, &ends}, NULL);
    if (!ends.decoder || !ends.parser || !encoder)
        abort();
    if (data[0] & 1)
        give_filter(encoder);
    if (data[0] & 2)
        encoder_keep(encoder);
    if (feed(encoder, &ends, data + 2, answers, piece) &&
        (encoder_finish(encoder, NULL) < 0 || ends.done != ends.size) && !ends.beyond)
        abort();
    encoder_free(encoder);
    decoder_free(ends.decoder);
    ram_parser_free(ends.parser);
    return 0;
}
