/* SPDX-License-Identifier: Apache-2.0 */
/* What compresses a window: nothing, lz4 or zstd. */
#include "stream/codec.h"

#include <limits.h>
#include <lz4.h>
#include <stdlib.h>
#include <zstd.h>

#include "stream/noise.h"

/* Windows that look like noise are compressed until so many in a row gained next to nothing; from
 * then on one in NOISE_AGAIN is, to see whether that is still so. */
#define NOISE_IN_VAIN 4
#define NOISE_AGAIN   32
/* Next to nothing is less than this part. */
#define NOISE_GAIN 256

struct codec_writer {
    ZSTD_CCtx *zstd;
    unsigned noise; /* windows in a row that looked like it, and gained nothing as far as tried */
};

struct codec_reader {
    ZSTD_DCtx *zstd;
};

const char *codec_name(enum stream_codec codec)
{
    static const char *const names[STREAM_CODECS] = {"none", "lz4", "zstd"};
    return names[codec];
}

size_t codec_bound(size_t size)
{
    size_t lz4 = (size_t)LZ4_compressBound((int)size);
    /* Beside the compressed blocks: a frame's header, and an empty block for the flush. */
    size_t zstd = ZSTD_compressBound(size) + 64;
    return lz4 > zstd ? lz4 : zstd;
}

/* Of a Debian guest's 659 MiB of pages, 2 MiB of history, level 2 leaves 202.6 MiB at 0.29 GB/s a
 * core, level 3 193 MiB at 0.2 GB/s. This, which lies between, leaves 196.7 MiB at 0.28 GB/s: level
 * 3's strategy with tables so small that they stay in the processor's caches. */
bool codec_set_zstd(ZSTD_CCtx *zstd)
{
    static const struct {
        ZSTD_cParameter parameter;
        int value;
    } parameters[] = {
        {ZSTD_c_compressionLevel, 3}, {ZSTD_c_strategy, ZSTD_dfast},
        {ZSTD_c_hashLog, 16},         {ZSTD_c_chainLog, 15},
        {ZSTD_c_minMatch, 5},         {ZSTD_c_windowLog, STREAM_ZSTD_WINDOW_LOG},
    };
    for (size_t i = 0; i < ARRAY_SIZE(parameters); i++)
        if (ZSTD_isError(
                ZSTD_CCtx_setParameter(zstd, parameters[i].parameter, parameters[i].value)))
            return false;
    return true;
}

struct codec_writer *codec_writer_new(struct error **err)
{
    struct codec_writer *writer = calloc(1, sizeof(*writer));
    if (writer)
        writer->zstd = ZSTD_createCCtx();
    if (!writer || !writer->zstd || !codec_set_zstd(writer->zstd)) {
        codec_writer_free(writer);
        error_set(err, ERROR_SYSTEM, "out of memory for compression");
        return NULL;
    }
    return writer;
}

void codec_writer_free(struct codec_writer *writer)
{
    if (!writer)
        return;
    ZSTD_freeCCtx(writer->zstd);
    free(writer);
}

static bool compress_zstd(ZSTD_CCtx *zstd, const uint8_t *in, size_t size, uint8_t *out,
                          size_t *made)
{
    ZSTD_inBuffer from = {in, size, 0};
    ZSTD_outBuffer to = {out, codec_bound(size), 0};
    size_t left;
    do {
        left = ZSTD_compressStream2(zstd, &to, &from, ZSTD_e_flush);
        if (ZSTD_isError(left) || (left && to.pos == to.size))
            return false;
    } while (left);
    *made = to.pos;
    return true;
}

static bool compress_lz4(const uint8_t *in, size_t size, uint8_t *out, size_t *made)
{
    int took =
        LZ4_compress_default((const char *)in, (char *)out, (int)size, (int)codec_bound(size));
    *made = took > 0 && (size_t)took < size ? (size_t)took : 0;
    return true;
}

static bool compress(struct codec_writer *writer, enum stream_codec codec, const uint8_t *in,
                     size_t size, uint8_t *out, size_t *made)
{
    return codec == STREAM_CODEC_ZSTD ? compress_zstd(writer->zstd, in, size, out, made)
                                      : compress_lz4(in, size, out, made);
}

/* Whether the next window is worth an attempt. */
static bool is_tried(struct codec_writer *writer, bool noise)
{
    if (!noise)
        writer->noise = 0;
    else if (writer->noise++ >= NOISE_IN_VAIN)
        return writer->noise % NOISE_AGAIN == 0;
    return true;
}

bool codec_compress(struct codec_writer *writer, enum stream_codec codec, const uint8_t *in,
                    size_t size, size_t pages, uint8_t *out, size_t *made)
{
    size_t control = size - pages * RAM_PAGE_SIZE;
    *made = 0;
    if (!is_tried(writer, control <= size / 64 && noise_fills(in, pages)))
        return true;
    if (!compress(writer, codec, in, size, out, made))
        return false;
    if (*made && *made < size - size / NOISE_GAIN)
        writer->noise = 0;
    return true;
}

struct codec_reader *codec_reader_new(struct error **err)
{
    struct codec_reader *reader = calloc(1, sizeof(*reader));
    if (reader)
        reader->zstd = ZSTD_createDCtx();
    if (!reader || !reader->zstd ||
        ZSTD_isError(
            ZSTD_DCtx_setParameter(reader->zstd, ZSTD_d_windowLogMax, STREAM_ZSTD_WINDOW_LOG))) {
        codec_reader_free(reader);
        error_set(err, ERROR_SYSTEM, "out of memory for decompression");
        return NULL;
    }
    return reader;
}

void codec_reader_free(struct codec_reader *reader)
{
    if (!reader)
        return;
    ZSTD_freeDCtx(reader->zstd);
    free(reader);
}

static int decompress_zstd(ZSTD_DCtx *zstd, ZSTD_inBuffer from, ZSTD_outBuffer to,
                           struct error **err)
{
    while (from.pos < from.size || to.pos < to.size) {
        size_t in_before = from.pos, out_before = to.pos;
        size_t status = ZSTD_decompressStream(zstd, &to, &from);
        if (ZSTD_isError(status))
            return error_set(err, ERROR_CORRUPT, "zstd: %s", ZSTD_getErrorName(status));
        if (from.pos == in_before && to.pos == out_before)
            return error_set(err, ERROR_CORRUPT, "zstd: %zu of %zu bytes made %zu of %zu", from.pos,
                             from.size, to.pos, to.size);
    }
    return 0;
}

int codec_decompress(struct codec_reader *reader, enum stream_codec codec, const uint8_t *in,
                     size_t in_size, uint8_t *out, size_t size, struct error **err)
{
    if (codec == STREAM_CODEC_ZSTD)
        return decompress_zstd(reader->zstd, (ZSTD_inBuffer){in, in_size, 0},
                               (ZSTD_outBuffer){out, size, 0}, err);
    int made = LZ4_decompress_safe((const char *)in, (char *)out, (int)in_size, (int)size);
    if (made < 0 || (size_t)made != size)
        return error_set(err, ERROR_CORRUPT, "lz4: %zu bytes do not make %zu", in_size, size);
    return 0;
}
