/* SPDX-License-Identifier: Apache-2.0 */
/* Micro-benchmarks: the codecs' libraries as they are, on windows of 64 pages. */
#include "micro.h"

#include <lz4.h>
#include <stdlib.h>
#include <zstd.h>

#include "stream/ram_record.h"
#include "stream/stream_block.h"

#define WINDOW MICRO_PIECE
#define BOUND  (2 * WINDOW) /* more than either library needs */

/* Compresses one window from `in` into BOUND bytes; 0 when it cannot. */
typedef size_t compress_fn(void *state, const uint8_t *in, size_t size, uint8_t *out);

static uint64_t compress_all(const struct micro_stream *stream, compress_fn *compress, void *state,
                             uint64_t *out)
{
    static uint8_t window[BOUND];
    size_t size = stream->n_pages * RAM_PAGE_SIZE;
    *out = 0;
    for (size_t at = 0; at < size; at += WINDOW) {
        size_t left = size - at;
        size_t made = compress(state, stream->packed + at, left < WINDOW ? left : WINDOW, window);
        if (made == 0)
            return 0;
        *out += made;
    }
    return size;
}

static size_t compress_lz4(void *state, const uint8_t *in, size_t size, uint8_t *out)
{
    return (size_t)LZ4_compress_fast_extState(state, (const char *)in, (char *)out, (int)size,
                                              (int)BOUND, 1);
}

static uint64_t row_lz4(const struct micro_stream *stream, uint64_t *out)
{
    static LZ4_stream_t state;
    return compress_all(stream, compress_lz4, &state, out);
}

static size_t compress_zstd(void *state, const uint8_t *in, size_t size, uint8_t *out)
{
    size_t made = ZSTD_compressCCtx(state, out, BOUND, in, size, 1);
    return ZSTD_isError(made) ? 0 : made;
}

/* As the engine does: one stream that goes on, flushed at the end of each window. */
static size_t compress_zstd_stream(void *state, const uint8_t *in, size_t size, uint8_t *out)
{
    ZSTD_inBuffer from = {in, size, 0};
    ZSTD_outBuffer to = {out, BOUND, 0};
    size_t left = ZSTD_compressStream2(state, &to, &from, ZSTD_e_flush);
    return left == 0 ? to.pos : 0;
}

static uint64_t row_zstd_stream(const struct micro_stream *stream, uint64_t *out)
{
    ZSTD_CCtx *state = ZSTD_createCCtx();
    ZSTD_CCtx_setParameter(state, ZSTD_c_compressionLevel, 2);
    ZSTD_CCtx_setParameter(state, ZSTD_c_windowLog, STREAM_ZSTD_WINDOW_LOG);
    uint64_t done = compress_all(stream, compress_zstd_stream, state, out);
    ZSTD_freeCCtx(state);
    return done;
}

static uint64_t row_zstd(const struct micro_stream *stream, uint64_t *out)
{
    ZSTD_CCtx *state = ZSTD_createCCtx();
    uint64_t done = compress_all(stream, compress_zstd, state, out);
    ZSTD_freeCCtx(state);
    return done;
}

/* Compressed windows, one after the other. */
struct windows {
    uint8_t *bytes;
    size_t *sizes;
    size_t count;
};
static struct windows lz4_windows, zstd_windows;

static int windows_make(const struct micro_stream *stream, compress_fn *compress, void *state,
                        struct windows *windows)
{
    size_t size = stream->n_pages * RAM_PAGE_SIZE;
    size_t count = (size + WINDOW - 1) / WINDOW;
    windows->bytes = malloc(count * BOUND);
    windows->sizes = calloc(count, sizeof(windows->sizes[0]));
    uint8_t *to = windows->bytes;
    for (size_t i = 0; to && windows->sizes && i < count; i++) {
        size_t left = size - i * WINDOW;
        windows->sizes[i] =
            compress(state, stream->packed + i * WINDOW, left < WINDOW ? left : WINDOW, to);
        if (windows->sizes[i] == 0)
            return -1;
        to += windows->sizes[i];
        windows->count++;
    }
    return windows->count == count ? 0 : -1;
}

static int prepare_lz4(const struct micro_stream *stream)
{
    static LZ4_stream_t state;
    return windows_make(stream, compress_lz4, &state, &lz4_windows);
}

static uint64_t row_unlz4(const struct micro_stream *stream, uint64_t *out)
{
    const uint8_t *from = lz4_windows.bytes;
    *out = 0;
    for (size_t i = 0; i < lz4_windows.count; i++) {
        int made = LZ4_decompress_safe((const char *)from, (char *)stream->room,
                                       (int)lz4_windows.sizes[i], (int)WINDOW);
        if (made <= 0)
            return 0;
        *out += (uint64_t)made;
        from += lz4_windows.sizes[i];
    }
    return *out;
}

static int prepare_zstd(const struct micro_stream *stream)
{
    ZSTD_CCtx *state = ZSTD_createCCtx();
    int status = windows_make(stream, compress_zstd, state, &zstd_windows);
    ZSTD_freeCCtx(state);
    return status;
}

static uint64_t row_unzstd(const struct micro_stream *stream, uint64_t *out)
{
    ZSTD_DCtx *state = ZSTD_createDCtx();
    const uint8_t *from = zstd_windows.bytes;
    *out = 0;
    for (size_t i = 0; i < zstd_windows.count; i++) {
        size_t made = ZSTD_decompressDCtx(state, stream->room, WINDOW, from, zstd_windows.sizes[i]);
        if (ZSTD_isError(made))
            break;
        *out += made;
        from += zstd_windows.sizes[i];
    }
    ZSTD_freeDCtx(state);
    return *out;
}

const struct micro_row micro_codec_rows[] = {
    {"lz4, windows of 256 KiB", NULL, NULL, row_lz4},
    {"lz4 back", NULL, prepare_lz4, row_unlz4},
    {"zstd -1, windows of 256 KiB", NULL, NULL, row_zstd},
    {"zstd -2, one stream, 2 MiB window", NULL, NULL, row_zstd_stream},
    {"zstd back", NULL, prepare_zstd, row_unzstd},
    {NULL},
};
