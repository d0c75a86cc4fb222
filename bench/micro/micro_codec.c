/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Micro-benchmarks: the codecs' libraries as they are.
 *
 * They do what the engine has them do: the same calls, levels and history, windows of the same
 * size, contexts that are used again. Once with all pages of the stream, so that their speed is
 * that of a tool that compresses a stream; and once with only what the engine leaves for them ("the
 * rest"), whose speed is in bytes of the stream, too: the engine could not be faster if all else it
 * does were free.
 */
#include "micro.h"

#include <lz4.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "stream/codec.h"
#include "stream/encoder.h"
#include "stream/ram_record.h"
#include "stream/stream_block.h"

#define WINDOW ((size_t)ENCODER_WINDOW_PAGES * RAM_PAGE_SIZE)
/* More than either library needs for anything that a window can hold. */
#define BOUND (2 * STREAM_WINDOW_RAW_MAX)

static struct micro_windows pages, rest;
static struct micro_windows lz4_pages, lz4_rest, zstd_pages, zstd_rest;
static uint8_t output[BOUND];

static int windows_init(struct micro_windows *windows, size_t count)
{
    windows->count = 0;
    if (count == 0)
        return -1;
    windows->bytes = calloc(count, sizeof(windows->bytes[0]));
    windows->sizes = calloc(count, sizeof(windows->sizes[0]));
    return windows->bytes && windows->sizes ? 0 : -1;
}

static int prepare_pages(const struct micro_stream *stream)
{
    size_t size = stream->n_pages * RAM_PAGE_SIZE;
    if (pages.count)
        return 0;
    if (windows_init(&pages, size / WINDOW + 1) < 0)
        return -1;
    for (size_t at = 0; at < size; at += WINDOW) {
        pages.sizes[pages.count] = size - at < WINDOW ? size - at : WINDOW;
        pages.bytes[pages.count++] = stream->packed + at;
    }
    return 0;
}

static int prepare_rest(const struct micro_stream *stream)
{
    return rest.count ? 0 : micro_engine_left(stream, &rest);
}

/* Compresses one window into BOUND bytes; 0 when it cannot. */
typedef size_t compress_fn(void *state, const uint8_t *in, size_t size, uint8_t *out);

/* Returns the bytes that went in. */
static uint64_t compress_all(const struct micro_windows *windows, compress_fn *compress,
                             void *state, uint64_t *out)
{
    uint64_t in = 0;
    *out = 0;
    for (size_t i = 0; i < windows->count; i++) {
        size_t made = compress(state, windows->bytes[i], windows->sizes[i], output);
        if (made == 0)
            return 0;
        in += windows->sizes[i];
        *out += made;
    }
    return in;
}

static size_t compress_lz4(void *state, const uint8_t *in, size_t size, uint8_t *out)
{
    return (size_t)LZ4_compress_fast_extState(state, (const char *)in, (char *)out, (int)size,
                                              (int)BOUND, 1);
}

static size_t compress_zstd(void *state, const uint8_t *in, size_t size, uint8_t *out)
{
    ZSTD_inBuffer from = {in, size, 0};
    ZSTD_outBuffer to = {out, BOUND, 0};
    size_t left = ZSTD_compressStream2(state, &to, &from, ZSTD_e_flush);
    return left == 0 ? to.pos : 0;
}

static uint64_t all_lz4(const struct micro_windows *windows, uint64_t *out)
{
    static LZ4_stream_t state;
    return compress_all(windows, compress_lz4, &state, out);
}

static uint64_t all_zstd(const struct micro_windows *windows, uint64_t *out)
{
    ZSTD_CCtx *state = ZSTD_createCCtx();
    codec_set_zstd(state);
    uint64_t done = compress_all(windows, compress_zstd, state, out);
    ZSTD_freeCCtx(state);
    return done;
}

static uint64_t row_lz4(const struct micro_stream *stream, uint64_t *out)
{
    (void)stream;
    return all_lz4(&pages, out);
}

static uint64_t row_zstd(const struct micro_stream *stream, uint64_t *out)
{
    (void)stream;
    return all_zstd(&pages, out);
}

static uint64_t row_lz4_rest(const struct micro_stream *stream, uint64_t *out)
{
    return all_lz4(&rest, out) ? stream->size : 0;
}

static uint64_t row_zstd_rest(const struct micro_stream *stream, uint64_t *out)
{
    return all_zstd(&rest, out) ? stream->size : 0;
}

/* --- and back --- */

/* Where compressed windows are kept. */
struct keep {
    compress_fn *compress;
    void *state;
    struct micro_windows *windows;
};

static size_t compress_and_keep(void *state, const uint8_t *in, size_t size, uint8_t *out)
{
    struct keep *keep = state;
    size_t made = keep->compress(keep->state, in, size, out);
    uint8_t *copy = made ? malloc(made) : NULL;
    if (!copy)
        return 0;
    memcpy(copy, out, made);
    keep->windows->bytes[keep->windows->count] = copy;
    keep->windows->sizes[keep->windows->count++] = made;
    return made;
}

static int compress_for(const struct micro_windows *from, compress_fn *compress, void *state,
                        struct micro_windows *windows)
{
    struct keep keep = {compress, state, windows};
    uint64_t out;
    if (windows_init(windows, from->count) < 0)
        return -1;
    return compress_all(from, compress_and_keep, &keep, &out) ? 0 : -1;
}

static int make_lz4(const struct micro_windows *from, struct micro_windows *windows)
{
    static LZ4_stream_t state;
    return compress_for(from, compress_lz4, &state, windows);
}

static int make_zstd(const struct micro_windows *from, struct micro_windows *windows)
{
    ZSTD_CCtx *state = ZSTD_createCCtx();
    codec_set_zstd(state);
    int status = compress_for(from, compress_zstd, state, windows);
    ZSTD_freeCCtx(state);
    return status;
}

static int prepare_unlz4(const struct micro_stream *stream)
{
    return prepare_pages(stream) < 0 ? -1 : make_lz4(&pages, &lz4_pages);
}

static int prepare_unlz4_rest(const struct micro_stream *stream)
{
    return prepare_rest(stream) < 0 ? -1 : make_lz4(&rest, &lz4_rest);
}

static int prepare_unzstd(const struct micro_stream *stream)
{
    return prepare_pages(stream) < 0 ? -1 : make_zstd(&pages, &zstd_pages);
}

static int prepare_unzstd_rest(const struct micro_stream *stream)
{
    return prepare_rest(stream) < 0 ? -1 : make_zstd(&rest, &zstd_rest);
}

/* Returns the bytes that came out. */
static uint64_t all_unlz4(const struct micro_windows *windows)
{
    uint64_t out = 0;
    for (size_t i = 0; i < windows->count; i++) {
        int made = LZ4_decompress_safe((const char *)windows->bytes[i], (char *)output,
                                       (int)windows->sizes[i], (int)BOUND);
        if (made <= 0)
            return 0;
        out += (uint64_t)made;
    }
    return out;
}

static uint64_t all_unzstd(const struct micro_windows *windows)
{
    ZSTD_DCtx *state = ZSTD_createDCtx();
    uint64_t out = 0;
    for (size_t i = 0; i < windows->count; i++) {
        ZSTD_inBuffer from = {windows->bytes[i], windows->sizes[i], 0};
        ZSTD_outBuffer to = {output, BOUND, 0};
        while (from.pos < from.size) {
            if (ZSTD_isError(ZSTD_decompressStream(state, &to, &from))) {
                ZSTD_freeDCtx(state);
                return 0;
            }
        }
        out += to.pos;
    }
    ZSTD_freeDCtx(state);
    return out;
}

static uint64_t row_unlz4(const struct micro_stream *stream, uint64_t *out)
{
    (void)stream;
    return *out = all_unlz4(&lz4_pages);
}

static uint64_t row_unlz4_rest(const struct micro_stream *stream, uint64_t *out)
{
    return (*out = all_unlz4(&lz4_rest)) ? stream->size : 0;
}

static uint64_t row_unzstd(const struct micro_stream *stream, uint64_t *out)
{
    (void)stream;
    return *out = all_unzstd(&zstd_pages);
}

static uint64_t row_unzstd_rest(const struct micro_stream *stream, uint64_t *out)
{
    return (*out = all_unzstd(&zstd_rest)) ? stream->size : 0;
}

const struct micro_row micro_codec_rows[] = {
    {"lz4, all pages", {NULL}, prepare_pages, row_lz4},
    {"lz4, the rest", {NULL}, prepare_rest, row_lz4_rest},
    {"zstd, all pages", {NULL}, prepare_pages, row_zstd},
    {"zstd, the rest", {NULL}, prepare_rest, row_zstd_rest},
    {"lz4 back, all pages", {NULL}, prepare_unlz4, row_unlz4},
    {"lz4 back, the rest", {NULL}, prepare_unlz4_rest, row_unlz4_rest},
    {"zstd back, all pages", {NULL}, prepare_unzstd, row_unzstd},
    {"zstd back, the rest", {NULL}, prepare_unzstd_rest, row_unzstd_rest},
    {NULL},
};
