/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What compresses a window: nothing, lz4 or zstd.
 *
 * A lane is one zstd stream that goes on from window to window, flushed at the end of each: what
 * came in the last 2 MiB is its dictionary, so that windows can be short. Windows compressed with
 * lz4 stand for themselves. Both ends have the same lanes and see their windows in the same order.
 * Where one window after the other is noise, most are not compressed, and are no part of the
 * history.
 */
#ifndef STREAM_CODEC_H
#define STREAM_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "stream/stream_block.h"

/* What a lane's contexts take at an end, bytes (rounded up). */
#define CODEC_LANE_MEMORY ((size_t)4 * 1024 * 1024)

/* "none", "lz4", "zstd" */
const char *codec_name(enum stream_codec codec);

/* Sets what windows are compressed with, for who compares with the library as it is. False when it
 * refuses. */
struct ZSTD_CCtx_s;
bool codec_set_zstd(struct ZSTD_CCtx_s *zstd);

/* The most that `size` bytes become. */
size_t codec_bound(size_t size);

/* One for each lane; for one thread at a time. */
struct codec_writer;
struct codec_writer *codec_writer_new(struct error **err);
void codec_writer_free(struct codec_writer *writer);

/*
 * Compresses into `out`, which has codec_bound(size) bytes, what begins with `pages` pages. `*made`
 * is what it took; 0 when the window is to go uncompressed, as it would gain nothing: the pages are
 * noise, or lz4 has tried. After zstd has taken a window it must be sent, as its stream goes on
 * from there. False when the library fails: the lane is of no use any more.
 */
bool codec_compress(struct codec_writer *writer, enum stream_codec codec, const uint8_t *in,
                    size_t size, size_t pages, uint8_t *out, size_t *made);

struct codec_reader;
struct codec_reader *codec_reader_new(struct error **err);
void codec_reader_free(struct codec_reader *reader);

/* Exactly `size` bytes from exactly `in_size`; ERROR_CORRUPT otherwise. For lz4 and zstd. */
int codec_decompress(struct codec_reader *reader, enum stream_codec codec, const uint8_t *in,
                     size_t in_size, uint8_t *out, size_t size, struct error **err);

#endif
