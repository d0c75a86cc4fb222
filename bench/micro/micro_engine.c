/* SPDX-License-Identifier: Apache-2.0 */
/* Micro-benchmarks: deltas, and encoder and decoder as a whole, all in one thread. */
#include "micro.h"

#include <stdlib.h>
#include <string.h>

#include "stream/decoder.h"
#include "stream/delta.h"
#include "stream/encoder.h"

/* Pages of which a later copy can be a delta: 128 MiB at either end. */
#define SLOTS 32768
/* The link's rate, bytes/s, when it is what all waits for. */
#define SCARCE_RATE 117e6

/* What an encoder emitted. */
struct blocks {
    struct block **list;
    size_t count, capacity;
    bool keep; /* for a decoder; otherwise only counted */
    uint64_t bytes;
};
static struct blocks kept_none, kept_lz4, kept_zstd;

/* What an encoder is to do. */
enum work {
    PASS,   /* nothing is scarce: the stream goes as it is */
    REDUCE, /* the link is scarce: repeated pages and changes are looked for */
    REDUCE_LZ4,
    REDUCE_ZSTD,
    FIRST_LZ4, /* the same while no page is kept, as in the first round of most guests */
    FIRST_ZSTD,
};

static int take_block(void *context, struct block *block, struct error **err)
{
    struct blocks *blocks = context;
    blocks->bytes += block->size;
    if (!blocks->keep) {
        free(block);
        return 0;
    }
    if (blocks->count == blocks->capacity) {
        blocks->capacity = blocks->capacity ? 2 * blocks->capacity : 1024;
        struct block **list = reallocarray(blocks->list, blocks->capacity, sizeof(struct block *));
        if (!list) {
            free(block);
            return error_set(err, ERROR_SYSTEM, "no memory for blocks");
        }
        blocks->list = list;
    }
    blocks->list[blocks->count++] = block;
    return 0;
}

/* The whole stream through an encoder. Returns its bytes; 0 on failure. */
static uint64_t encode(const struct micro_stream *stream, enum work work, struct blocks *blocks)
{
    static const enum chooser_wish codecs[] = {CHOOSER_NONE, CHOOSER_NONE, CHOOSER_LZ4,
                                               CHOOSER_ZSTD, CHOOSER_LZ4,  CHOOSER_ZSTD};
    const struct encoder_options options = {.codec = codecs[work], .slots = SLOTS};
    struct stream_sink sink = {.emit = take_block, .context = blocks};
    struct encoder *encoder = encoder_new(&options, sink, NULL);
    int status = encoder ? 0 : -1;
    if (encoder && work != PASS) {
        encoder_link(encoder, SCARCE_RATE, true);
        if (work < FIRST_LZ4)
            encoder_keep(encoder); /* the most that it may have to do */
    }
    for (size_t at = 0; status == 0 && at < stream->size; at += MICRO_PIECE) {
        size_t left = stream->size - at;
        status = encoder_write(encoder, stream->bytes + at, left < MICRO_PIECE ? left : MICRO_PIECE,
                               NULL);
    }
    if (status == 0)
        status = encoder_finish(encoder, NULL);
    encoder_free(encoder);
    return status == 0 ? stream->size : 0;
}

static uint64_t encode_counted(const struct micro_stream *stream, enum work work, uint64_t *out)
{
    struct blocks blocks = {.keep = false};
    uint64_t done = encode(stream, work, &blocks);
    *out = blocks.bytes;
    return done;
}

static uint64_t row_pass(const struct micro_stream *stream, uint64_t *out)
{
    return encode_counted(stream, PASS, out);
}

static uint64_t row_encode_none(const struct micro_stream *stream, uint64_t *out)
{
    return encode_counted(stream, REDUCE, out);
}

static uint64_t row_encode_lz4(const struct micro_stream *stream, uint64_t *out)
{
    return encode_counted(stream, REDUCE_LZ4, out);
}

static uint64_t row_encode_zstd(const struct micro_stream *stream, uint64_t *out)
{
    return encode_counted(stream, REDUCE_ZSTD, out);
}

static uint64_t row_encode_first_lz4(const struct micro_stream *stream, uint64_t *out)
{
    return encode_counted(stream, FIRST_LZ4, out);
}

static uint64_t row_encode_first_zstd(const struct micro_stream *stream, uint64_t *out)
{
    return encode_counted(stream, FIRST_ZSTD, out);
}

/* Where the decoder's output goes. */
struct output {
    const struct micro_stream *stream;
    uint64_t at;
    bool keep; /* to be looked at; otherwise only counted: taking it is the socket's work */
};

static int take_bytes(void *context, const uint8_t *bytes, size_t size, struct error **err)
{
    struct output *output = context;
    if (size > output->stream->size - output->at)
        return error_set(err, ERROR_CORRUPT, "more comes out than went in");
    if (output->keep)
        memcpy(output->stream->room + output->at, bytes, size);
    output->at += size;
    return 0;
}

static int drop_block(void *context, struct block *block, struct error **err)
{
    (void)context;
    (void)err;
    free(block);
    return 0;
}

/* Returns the bytes that came out; 0 on failure. */
static uint64_t decode(const struct micro_stream *stream, const struct blocks *blocks, bool keep)
{
    const struct decoder_options options = {.slots = SLOTS};
    struct output output = {.stream = stream, .keep = keep};
    struct decoder_sink sink = {.write = take_bytes, .emit = drop_block, .context = &output};
    struct decoder *decoder = decoder_new(&options, sink, NULL);
    int status = decoder ? 0 : -1;
    for (size_t i = 0; status == 0 && i < blocks->count; i++)
        status = decoder_take(decoder, blocks->list[i], NULL);
    decoder_free(decoder);
    return status == 0 && output.at == stream->size ? stream->size : 0;
}

/* Encodes for a decoder, and sees that it gives the stream back. */
static int prepare(const struct micro_stream *stream, enum work work, struct blocks *blocks)
{
    if (blocks->count)
        return 0;
    blocks->keep = true;
    bool same = encode(stream, work, blocks) > 0 && decode(stream, blocks, true) > 0 &&
                memcmp(stream->room, stream->bytes, stream->size) == 0;
    return same ? 0 : -1;
}

static int prepare_none(const struct micro_stream *stream)
{
    return prepare(stream, REDUCE, &kept_none);
}

static int prepare_lz4(const struct micro_stream *stream)
{
    return prepare(stream, REDUCE_LZ4, &kept_lz4);
}

static int prepare_zstd(const struct micro_stream *stream)
{
    return prepare(stream, REDUCE_ZSTD, &kept_zstd);
}

int micro_engine_left(const struct micro_stream *stream, struct micro_windows *windows)
{
    if (prepare_none(stream) < 0)
        return -1;
    windows->bytes = calloc(kept_none.count, sizeof(windows->bytes[0]));
    windows->sizes = calloc(kept_none.count, sizeof(windows->sizes[0]));
    if (!windows->bytes || !windows->sizes)
        return -1;
    for (size_t i = 0; i < kept_none.count; i++) {
        windows->bytes[i] = kept_none.list[i]->data + STREAM_WINDOW_HEADER_SIZE;
        windows->sizes[i] = kept_none.list[i]->size - STREAM_WINDOW_HEADER_SIZE;
    }
    windows->count = kept_none.count;
    return 0;
}

static uint64_t decode_counted(const struct micro_stream *stream, const struct blocks *blocks,
                               uint64_t *out)
{
    return *out = decode(stream, blocks, false);
}

static uint64_t row_decode_none(const struct micro_stream *stream, uint64_t *out)
{
    return decode_counted(stream, &kept_none, out);
}

static uint64_t row_decode_lz4(const struct micro_stream *stream, uint64_t *out)
{
    return decode_counted(stream, &kept_lz4, out);
}

static uint64_t row_decode_zstd(const struct micro_stream *stream, uint64_t *out)
{
    return decode_counted(stream, &kept_zstd, out);
}

/* The stream's pages with one counter of each changed: what a busy guest's pages often are. */
static uint8_t *changed;

static int prepare_delta(const struct micro_stream *stream)
{
    changed = malloc(stream->n_pages * RAM_PAGE_SIZE);
    if (!changed)
        return -1;
    memcpy(changed, stream->packed, stream->n_pages * RAM_PAGE_SIZE);
    for (size_t i = 0; i < stream->n_pages; i++)
        changed[i * RAM_PAGE_SIZE + i * 8 % RAM_PAGE_SIZE] ^= 1;
    return 0;
}

static uint64_t row_delta(const struct micro_stream *stream, uint64_t *out)
{
    uint8_t delta[DELTA_SIZE_MAX];
    *out = 0;
    for (size_t at = 0; at < stream->n_pages * RAM_PAGE_SIZE; at += RAM_PAGE_SIZE)
        *out += delta_make(stream->packed + at, changed + at, delta);
    return (uint64_t)stream->n_pages * RAM_PAGE_SIZE;
}

const struct micro_row micro_engine_rows[] = {
    {"delta of pages, one byte changed", {NULL}, prepare_delta, row_delta},
    {"encoder, passing on", {NULL}, NULL, row_pass},
    {"encoder, not compressing", {NULL}, NULL, row_encode_none},
    {"encoder with lz4", {"lz4, all pages", "lz4, the rest"}, NULL, row_encode_lz4},
    {"encoder with zstd", {"zstd, all pages", "zstd, the rest"}, NULL, row_encode_zstd},
    {"encoder with lz4, first round", {"lz4, all pages"}, NULL, row_encode_first_lz4},
    {"encoder with zstd, first round", {"zstd, all pages"}, NULL, row_encode_first_zstd},
    {"decoder, not compressed", {NULL}, prepare_none, row_decode_none},
    {"decoder with lz4",
     {"lz4 back, all pages", "lz4 back, the rest"},
     prepare_lz4,
     row_decode_lz4},
    {"decoder with zstd",
     {"zstd back, all pages", "zstd back, the rest"},
     prepare_zstd,
     row_decode_zstd},
    {NULL},
};
