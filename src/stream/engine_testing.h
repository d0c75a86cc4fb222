/* SPDX-License-Identifier: Apache-2.0 */
/* For tests of encoder and decoder: made streams, and an encoder that is wired to a decoder. */
#ifndef STREAM_ENGINE_TESTING_H
#define STREAM_ENGINE_TESTING_H

#include <pthread.h>

#include "stream/decoder.h"
#include "stream/encoder.h"
#include "stream/page_filter.h"

/* A stream under construction; all zero is an empty one. */
struct made_stream {
    uint8_t *bytes;
    size_t size, capacity;
};

void made_put(struct made_stream *made, const void *bytes, size_t size);
void made_put8(struct made_stream *made, uint8_t value);
void made_put32(struct made_stream *made, uint32_t value); /* big-endian */
void made_put64(struct made_stream *made, uint64_t value);
void made_put_name(struct made_stream *made, const char *name); /* length, name */
void made_free(struct made_stream *made);
/* Header, and the list of one block "pc.ram" of so many bytes. */
void made_begin(struct made_stream *made, uint64_t ram);
/* A round's start and end. */
void made_part(struct made_stream *made);
void made_part_end(struct made_stream *made);
/* A page, or (NULL) a page of zeroes; `name` NULL: in the same block as before. */
void made_page(struct made_stream *made, uint64_t address, const char *name, const uint8_t *page);
/* A section of a device: opaque bytes to the end. */
void made_device(struct made_stream *made, const void *bytes, size_t size);

uint64_t made_random(uint64_t *state);

/*
 * Rounds over guest memory of `pages` pages in `memory`, of all kinds: zero, repeated, equal to
 * others, text, random; in later rounds changed a little or wholly. `memory` is what it was last.
 */
void made_rounds(struct made_stream *made, uint64_t *state, uint8_t *memory, size_t pages,
                 unsigned rounds);

/* Both ends, and what is between them. */
struct engine {
    struct encoder *encoder;
    struct decoder *decoder;
    struct block *answers[256]; /* from the decoder, not given to the encoder yet */
    unsigned answer_count;
    bool hold_answers;      /* the encoder does not get them by itself */
    struct made_stream out; /* what came out */
    uint64_t wire;          /* bytes of blocks */
    pthread_mutex_t lock;
};

/* Pages are kept from the start, unless they may be copies instead. */
void engine_start(struct engine *engine, const struct encoder_options *encoder,
                  const struct decoder_options *decoder);
/* Writes the stream in pieces of at most `piece` bytes (0: of random size, with pushes and flushes
 * in between), finishes, and compares what came out. */
void engine_carry(struct engine *engine, const struct made_stream *stream, size_t piece,
                  uint64_t *state);
/* Gives the encoder what the decoder has said. */
void engine_answer(struct engine *engine);
void engine_stop(struct engine *engine);

#endif
