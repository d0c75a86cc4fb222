/* SPDX-License-Identifier: Apache-2.0 */
/* Between the encoder's files. */
#ifndef STREAM_ENCODER_PRIVATE_H
#define STREAM_ENCODER_PRIVATE_H

#include <pthread.h>

#include "stream/control.h"
#include "stream/copies.h"
#include "stream/encoder.h"
#include "stream/page_filter.h"
#include "stream/ram_parser.h"
#include "stream/slot_map.h"

/* Bytes of a raw block. Each stage of the way, from QEMU to QEMU, takes a whole block before it
 * passes it on, and only so much may be under way: with blocks of 1 MiB the stages waited for each
 * other. */
#define RAW_SIZE ((size_t)256 * 1024)
_Static_assert(RAW_SIZE <= STREAM_RAW_MAX, "the decoder takes it");

/* No index of a RAM block. */
#define NO_BLOCK UINT32_MAX

/* A window that is being filled, or that waits to be put into the pipeline. */
struct window {
    struct window *next;
    struct block *block; /* room for the header, then payload, then (once closed) control */
    bool raw;            /* the block holds bytes of the stream, from its beginning */
    bool asked;          /* an offer is out, and not answered */
    struct stream_window_header header;
    unsigned offered, known;
    uint16_t offered_at[STREAM_WINDOW_PAGES_MAX]; /* pages of the payload */
    uint8_t hashes[STREAM_WINDOW_PAGES_MAX][PAGE_HASH_SIZE];
};

struct encoder {
    struct encoder_options options;
    struct ram_parser *parser;
    struct slots slots;
    struct slot_map *map;
    struct pipeline *pipeline;
    struct chooser chooser;
    struct pipeline_use seen[STREAM_CODECS]; /* what the chooser was told of */
    unsigned peer_busy;                      /* thousandths */
    struct page_hasher *hasher;              /* NULL: no dictionary */
    struct page_filter *filter;
    struct copies *copies;       /* NULL: none may be sent */
    struct copies_digest digest; /* of those in the open window */
    uint32_t main_block;         /* MEMORY_BLOCK's index, once it is known; else NO_BLOCK */
    uint64_t hashed, passed;     /* pages: asked the filter about, and let pass by it */
    bool urgent;
    bool keeps; /* pages go into slots */

    struct window *open; /* NULL: none */
    struct window *waiting, **waiting_end;
    unsigned waiting_count;
    uint64_t number;  /* of the next window */
    uint64_t address; /* see control.h */
    uint32_t slot;

    pthread_mutex_t lock;
    struct stream_counts counts;  /* guarded by lock */
    struct stream_counts pending; /* of the open window, added when it is closed */

    struct control_writer control;
    uint8_t control_bytes[STREAM_WINDOW_CONTROL_MAX];
};

/* Tokens into windows: the parser's callback. */
ram_token_fn encoder_window_token;

/* What the open window's control must say of its copies. */
int encoder_end_copies(struct encoder *encoder, struct error **err);

/* The next window begins: what kind of window is decided here. */
int encoder_open(struct encoder *encoder, struct error **err);
/* The open window, if any, gets on its way. */
int encoder_close(struct encoder *encoder, struct error **err);

#endif
