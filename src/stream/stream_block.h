/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The blocks that an encoder and a decoder exchange: kinds, layouts and limits (docs/protocol.md).
 *
 * All numbers are big-endian. A window stands for a piece of QEMU's stream: its payload are whole
 * pages, its control (control.h) says how these, slots, and the dictionary's pages make up the
 * stream's bytes. Payload and control, in this order, are compressed together.
 */
#ifndef STREAM_BLOCK_H
#define STREAM_BLOCK_H

#include <stddef.h>

#include "base/error.h"
#include "base/bytes.h"
#include "stream/ram_record.h"

enum stream_block_kind {
    /* From the encoder. */
    STREAM_RAW = 1,    /* bytes of the stream as they are */
    STREAM_WINDOW = 2, /* a window header, then payload and control */
    STREAM_OFFER = 3, /* the number of the window to come (8), then hashes of its pages (16 each) */
    /* From the decoder. */
    STREAM_ANSWER = 4, /* the window's number (8), then a bit for each hash, from bit 0 of the first
                          byte on: 1, the page is here, and held until the window comes */
    STREAM_FILTER = 5, /* a part of the page filter (page_filter.h) */
    STREAM_PACE = 6,   /* how busy the decoder and its QEMU were lately, in thousandths (2) */
};

enum stream_codec { STREAM_CODEC_NONE = 0, STREAM_CODEC_LZ4 = 1, STREAM_CODEC_ZSTD = 2 };
#define STREAM_CODECS 3

#define STREAM_RAW_MAX ((size_t)1 << 20) /* bytes in a raw block */

#define STREAM_WINDOW_HEADER_SIZE 32
#define STREAM_WINDOW_PAGES_MAX   256                       /* in the payload, and in an offer */
#define STREAM_WINDOW_CONTROL_MAX ((size_t)256 * 1024)      /* bytes of control */
#define STREAM_WINDOW_OUTPUT_MAX  ((size_t)4 * 1024 * 1024) /* bytes of the stream it stands for */
#define STREAM_WINDOW_RAW_MAX                                                                      \
    ((size_t)STREAM_WINDOW_PAGES_MAX * RAM_PAGE_SIZE + STREAM_WINDOW_CONTROL_MAX)

/* Compressed windows of one lane continue one zstd stream, whose history is so long. */
#define STREAM_LANES_MAX       16
#define STREAM_ZSTD_WINDOW_LOG 21

/* Slots hold pages at both ends; at most so many (16 GiB). */
#define STREAM_SLOTS_MAX UINT32_C(4194304)

/* Offers whose windows have not come yet. */
#define STREAM_OFFERS_MAX 32

/* The offer was answered, and the control goes by the answer; else it goes by "none is here". */
#define STREAM_WINDOW_ANSWERED 0x01

struct stream_window_header {
    uint8_t codec;
    uint8_t lane;
    uint8_t flags;
    uint32_t payload; /* bytes of whole pages */
    uint32_t control; /* bytes */
    uint32_t output;  /* bytes of the stream */
    uint64_t number;  /* counts windows, not raw blocks, from 0 */
    uint64_t check;   /* of the pages made from slots, see stream_check_add() */
};

static inline void stream_window_header_put(const struct stream_window_header *header,
                                            uint8_t out[STREAM_WINDOW_HEADER_SIZE])
{
    out[0] = header->codec;
    out[1] = header->lane;
    out[2] = header->flags;
    out[3] = 0;
    bytes_put32(out + 4, header->payload);
    bytes_put32(out + 8, header->control);
    bytes_put32(out + 12, header->output);
    bytes_put64(out + 16, header->number);
    bytes_put64(out + 24, header->check);
}

/* The one gate for a header that came from the peer: ERROR_CORRUPT for all that is out of bounds.
 * `number` is what the next window must have. */
int stream_window_header_get(const uint8_t *bytes, size_t size, uint64_t number,
                             struct stream_window_header *header, struct error **err);

/* Guards what slots hold: both ends fold in a hash of each page that was made from a slot. */
static inline uint64_t stream_check_add(uint64_t check, uint64_t hash)
{
    return (check ^ hash) * UINT64_C(0x9e3779b97f4a7c15) + (check >> 32);
}

#endif
