/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pipeline: windows are compressed by several threads at once and leave in order.
 *
 * Each thread is one lane (codec.h). What is ready at the front is given to the sink by whoever
 * finds it so, one at a time. The number of items inside is bounded: pipeline_put waits.
 */
#ifndef STREAM_PIPELINE_H
#define STREAM_PIPELINE_H

#include <stdbool.h>

#include "base/error.h"
#include "stream/stream_block.h"
#include "wire/block.h"

struct stream_sink {
    /* Takes the block over, also on error. May wait. Never called twice at once. */
    int (*emit)(void *context, struct block *block, struct error **err);
    void *context;
};

/* What the pipeline has done with windows of one codec. */
struct pipeline_use {
    uint64_t windows;
    uint64_t pages;   /* of payload */
    uint64_t in, out; /* bytes before and after */
    int64_t spent_ns; /* of all threads */
};

struct pipeline;

/* `threads` 0: whoever puts compresses, in one lane. At most STREAM_LANES_MAX. */
struct pipeline *pipeline_new(unsigned threads, struct stream_sink sink, struct error **err);
/* Drops what is inside. The sink must not wait for ever any more. */
void pipeline_free(struct pipeline *pipeline);

/* A block with room for a window's header and all that it can hold; NULL when memory is out. */
struct block *pipeline_window(struct pipeline *pipeline);

/*
 * Puts a window in: `block`, of pipeline_window(), holds its payload and control behind room for
 * the header, and says how much it is. Takes the block over, also on error. Waits while there is no
 * room. An error of the sink comes back from here, from then on.
 */
int pipeline_put_window(struct pipeline *pipeline, struct block *block,
                        const struct stream_window_header *header, struct error **err);
/* The same for a block that leaves as it is. */
int pipeline_put(struct pipeline *pipeline, struct block *block, struct error **err);
/* Emits a block at once, before all that is inside. */
int pipeline_overtake(struct pipeline *pipeline, struct block *block, struct error **err);

/* Waits until everything has left. */
int pipeline_drain(struct pipeline *pipeline, struct error **err);
bool pipeline_idle(struct pipeline *pipeline);

/* So far, by codec. */
void pipeline_uses(struct pipeline *pipeline, struct pipeline_use uses[STREAM_CODECS]);
/* Bytes of all blocks that have left. */
uint64_t pipeline_emitted(struct pipeline *pipeline);
/* The most bytes that a pipeline of so many threads takes. */
size_t pipeline_memory(unsigned threads);

#endif
