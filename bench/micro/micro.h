/* SPDX-License-Identifier: Apache-2.0 */
/* Micro-benchmarks: what one core does with a captured stream in a second. */
#ifndef BENCH_MICRO_H
#define BENCH_MICRO_H

#include <stddef.h>
#include <stdint.h>

/* As much as one read of the relay takes. */
#define MICRO_PIECE ((size_t)256 * 1024)
/* A row is compared with so many others. */
#define MICRO_BESIDE 2

/* A captured stream, all of it in memory. */
struct micro_stream {
    const uint8_t *bytes;
    size_t size;
    const uint8_t **pages; /* the pages in it that are not zero, where they lie */
    size_t n_pages;
    uint8_t *packed; /* the same, side by side */
    uint8_t *room;   /* as large as `bytes`, for output */
};

/* Bytes in pieces: what a codec gets, one call each, or what it made of them. */
struct micro_windows {
    const uint8_t **bytes;
    size_t *sizes;
    size_t count;
};

/* One thing to measure. */
struct micro_row {
    const char *name;
    /* The rows it is compared with, by name; none: memcpy. */
    const char *beside[MICRO_BESIDE];
    /* Called once before, untimed: makes the input of `run`. NULL if it needs none. -1 on failure.
     */
    int (*prepare)(const struct micro_stream *stream);
    /* Does it once over the stream. Returns the bytes it worked on; 0 when it failed. `out`: bytes
     * that came out of it, if that means anything. */
    uint64_t (*run)(const struct micro_stream *stream, uint64_t *out);
};

/* What the engine leaves for a codec: the windows of an encoder that does not compress, without
 * their headers. -1 on failure. */
int micro_engine_left(const struct micro_stream *stream, struct micro_windows *windows);

/* The tables of rows, each ended by one without a name. */
extern const struct micro_row micro_basic_rows[];  /* memcpy, parser, pages, hash */
extern const struct micro_row micro_codec_rows[];  /* the libraries as they are */
extern const struct micro_row micro_engine_rows[]; /* deltas, encoder, decoder */

#endif
