/* SPDX-License-Identifier: Apache-2.0 */
/* What became of a stream on its way: for the report. */
#ifndef STREAM_COUNTS_H
#define STREAM_COUNTS_H

#include <stddef.h>
#include <stdint.h>

#include "stream/stream_block.h"

/* Changes of the codec that are remembered; later ones replace the last. */
#define STREAM_HISTORY_MAX 32

struct stream_codec_since {
    int64_t since_ns; /* CLOCK_MONOTONIC */
    enum stream_codec codec;
};

struct stream_counts {
    /* Pages, each in one of them. */
    uint64_t zero;
    uint64_t repeated;   /* one word again and again, or equal to another page */
    uint64_t known;      /* the destination had it */
    uint64_t delta;      /* what had changed since it was sent before */
    uint64_t compressed; /* whole, compressed */
    uint64_t plain;      /* whole */

    uint64_t bytes_in;  /* of QEMU's stream */
    uint64_t bytes_out; /* of blocks */
    size_t memory;      /* bytes: most that can have been in use here so far */

    unsigned codec_changes; /* entries in the history */
    struct stream_codec_since history[STREAM_HISTORY_MAX];
};

#endif
