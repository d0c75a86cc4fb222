/* SPDX-License-Identifier: Apache-2.0 */
/* Micro-benchmarks: what one core does with a captured stream in a second. */
#ifndef BENCH_MICRO_H
#define BENCH_MICRO_H

#include <stddef.h>
#include <stdint.h>

/* As much as one read of the relay takes, and as one window of the engine holds. */
#define MICRO_PIECE ((size_t)256 * 1024)

/* A captured stream, all of it in memory. */
struct micro_stream {
    const uint8_t *bytes;
    size_t size;
    const uint8_t **pages; /* the pages in it that are not zero, where they lie */
    size_t n_pages;
    uint8_t *packed; /* the same, side by side */
    uint8_t *room;   /* as large as `bytes`, for output */
};

/* One thing to measure. */
struct micro_row {
    const char *name;
    /* The row it is compared with, by name; NULL for memcpy. */
    const char *beside;
    /* Called once before, untimed: makes the input of `run`. NULL if it needs none. -1 on failure.
     */
    int (*prepare)(const struct micro_stream *stream);
    /* Does it once over the stream. Returns the bytes it worked on; 0 when it failed. `out`: bytes
     * that came out of it, if that means anything. */
    uint64_t (*run)(const struct micro_stream *stream, uint64_t *out);
};

/* The tables of rows, each ended by one without a name. */
extern const struct micro_row micro_basic_rows[];  /* memcpy, parser, pages, hash */
extern const struct micro_row micro_codec_rows[];  /* the libraries as they are */
extern const struct micro_row micro_engine_rows[]; /* deltas, encoder, decoder */

#endif
