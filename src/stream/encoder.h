/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The encoder: QEMU's stream in, blocks out that are fewer bytes.
 *
 * All calls come from one thread, but for encoder_counts. The sink is called from this thread and
 * from the encoder's own, never twice at once.
 */
#ifndef STREAM_ENCODER_H
#define STREAM_ENCODER_H

#include <stdbool.h>

#include "base/error.h"
#include "stream/chooser.h"
#include "stream/page_hash.h"
#include "stream/pipeline.h"
#include "stream/stream_counts.h"

/* Pages in a window: a history that goes on makes short ones as good as long ones. */
#define ENCODER_WINDOW_PAGES 128

struct encoder_options {
    enum chooser_wish codec;
    unsigned threads; /* that compress; 0: the caller's */
    uint32_t slots;   /* as the decoder has; 0: nothing is repeated or sent as a delta */
    /* The dictionary's key, copied; NULL: pages are never offered. */
    const struct page_hash_key *dictionary_key;
    bool copies; /* the decoder can read the guest's RAM (decoder.h) */
    bool middle; /* the stream has begun before: nothing in it is taken for a record */
};

struct encoder;

struct encoder *encoder_new(const struct encoder_options *options, struct stream_sink sink,
                            struct error **err);
/* The sink must not wait for ever any more. */
void encoder_free(struct encoder *encoder);

/* Slots for which `memory` bytes are enough at either end, with all else that an encoder of so many
 * threads needs; 0 when that alone takes more. */
uint32_t encoder_slots_for(uint64_t memory, unsigned threads);

/* The next bytes of the stream. May wait for the sink. */
int encoder_write(struct encoder *encoder, const uint8_t *bytes, size_t size, struct error **err);

/* Too many windows wait for answers: answers should be fetched before more is written. */
bool encoder_full(const struct encoder *encoder);
/* Some of what was written waits for more to come. */
bool encoder_partial(const struct encoder *encoder);
/* Nothing else is inside: what waits for more to come might as well go. */
bool encoder_idle(struct encoder *encoder);
/* What waits for more to come is on its way. Does not wait until it has left. */
int encoder_push(struct encoder *encoder, struct error **err);
/* Everything written so far has left when this returns, but for the beginning of a record whose
 * rest has not come. Offers that are not answered yet are given up. */
int encoder_flush(struct encoder *encoder, struct error **err);
/* That beginning, which is still inside; borrowed until the next call. */
const uint8_t *encoder_held(const struct encoder *encoder, size_t *size);
/* The stream has ended: the same without an exception. */
int encoder_finish(struct encoder *encoder, struct error **err);

/* A block from the decoder: an answer, a part of the filter, its pace. It stays the caller's. */
int encoder_answer(struct encoder *encoder, const struct block *block, struct error **err);

/* Bytes of all blocks that have left. */
uint64_t encoder_emitted(struct encoder *encoder);

/*
 * Pages that are sent from now on go into slots, so that what the guest changes of them later
 * travels as a delta. At first they do not: most pages of most guests travel once, and a copy at
 * either end costs as much as all else together.
 */
void encoder_keep(struct encoder *encoder);

/* What the link did lately, see chooser_link(). */
void encoder_link(struct encoder *encoder, double rate, bool waited);

/* The guest stands still, or waits for pages: small windows, no questions; those asked are given
 * up. */
int encoder_urgent(struct encoder *encoder, bool urgent, struct error **err);

/* From any thread. */
struct stream_counts encoder_counts(struct encoder *encoder);

#endif
