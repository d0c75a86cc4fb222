/* SPDX-License-Identifier: Apache-2.0 */
/* The pipeline: windows are compressed by several threads at once and leave in order. */
#include "stream/pipeline.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "stream/codec.h"

/* For each thread one that it works on and one that waits; and as many that wait to leave. */
#define DEPTH(threads) (3 * (threads) + 1)
#define DEPTH_MAX      DEPTH(STREAM_LANES_MAX)

/* A window's, before it is compressed. */
#define ROOM (STREAM_WINDOW_HEADER_SIZE + STREAM_WINDOW_RAW_MAX)

enum item_state { ITEM_WAITS, ITEM_WORKED_ON, ITEM_READY };

struct item {
    struct block *block;
    struct stream_window_header header;
    enum item_state state;
};

struct lane {
    struct codec_writer *writer;
    uint8_t *out; /* for a compressed window, until it is known how large it is */
};

struct pipeline {
    struct stream_sink sink;
    unsigned threads, depth, started;
    struct lane lanes[STREAM_LANES_MAX];
    pthread_t workers[STREAM_LANES_MAX];
    pthread_mutex_t lock;
    pthread_cond_t work_due; /* the workers': a window waits, or the end */
    pthread_cond_t moved;    /* the caller's: something has left, or is broken */
    /* Guarded by lock. */
    struct item items[DEPTH_MAX]; /* a ring */
    /* Rooms of windows that were compressed, for those to come. With the items `depth` at most. */
    struct block *spares[DEPTH_MAX];
    unsigned spare_count;
    uint64_t first, end; /* numbers of the oldest item and of the next one */
    uint64_t windows;    /* put in so far: deals the lanes out */
    uint64_t emitted;
    bool emitting, stopping;
    struct pipeline_use uses[STREAM_CODECS];
    struct error *error;
};

struct worker {
    struct pipeline *pipeline;
    unsigned lane;
};

static struct item *item_at(struct pipeline *pipeline, uint64_t number)
{
    return &pipeline->items[number % pipeline->depth];
}

/* Why nothing goes any more: a copy, as several threads may ask. */
static int broken(const struct pipeline *pipeline, struct error **err)
{
    if (!pipeline->error)
        return 0;
    error_set(err, pipeline->error->kind, "%s", pipeline->error->message);
    return pipeline->error->hint ? error_hint(err, "%s", pipeline->error->hint) : -1;
}

/* With the lock held, which is given back while the sink has the block. */
static void emit_locked(struct pipeline *pipeline, struct block *block)
{
    struct error *error = NULL;
    pipeline->emitting = true;
    pipeline->emitted += block->size;
    pthread_mutex_unlock(&pipeline->lock);
    int status = pipeline->sink.emit(pipeline->sink.context, block, &error);
    pthread_mutex_lock(&pipeline->lock);
    pipeline->emitting = false;
    if (status < 0 && !pipeline->error)
        pipeline->error = STEAL(error);
    error_free(error);
    pthread_cond_broadcast(&pipeline->moved);
}

/* With the lock held: everything at the front that is ready leaves. */
static void emit_ready(struct pipeline *pipeline)
{
    while (!pipeline->emitting && pipeline->first < pipeline->end &&
           item_at(pipeline, pipeline->first)->state == ITEM_READY) {
        struct block *block = STEAL(item_at(pipeline, pipeline->first)->block);
        pipeline->first++;
        if (pipeline->error)
            free(block);
        else
            emit_locked(pipeline, block);
    }
}

/* The block to send for a window: one that has just the size, or `*block` itself, if compression
 * gains nothing. NULL when that cannot be made. */
static struct block *compress(struct lane *lane, struct stream_window_header *header,
                              struct block **block)
{
    size_t size = (*block)->size - STREAM_WINDOW_HEADER_SIZE, made = 0;
    struct block *out;
    if (header->codec != STREAM_CODEC_NONE &&
        !codec_compress(lane->writer, header->codec, (*block)->data + STREAM_WINDOW_HEADER_SIZE,
                        size, header->payload / RAM_PAGE_SIZE, lane->out, &made))
        return NULL;
    if (made) {
        out = block_new(STREAM_WINDOW, (uint32_t)(STREAM_WINDOW_HEADER_SIZE + made));
        if (!out)
            return NULL;
        memcpy(out->data + STREAM_WINDOW_HEADER_SIZE, lane->out, made);
    } else {
        out = block_fit(STEAL(*block), ROOM);
        header->codec = STREAM_CODEC_NONE;
    }
    stream_window_header_put(header, out->data);
    return out;
}

/* With the lock held. */
static void keep_spare(struct pipeline *pipeline, struct block *block)
{
    if (block && pipeline->end - pipeline->first + pipeline->spare_count < pipeline->depth)
        pipeline->spares[pipeline->spare_count++] = block;
    else
        free(block);
}

/* With the lock held, which is given back meanwhile. */
static void work(struct pipeline *pipeline, struct item *item, unsigned lane)
{
    struct stream_window_header header = item->header;
    struct block *block = STEAL(item->block);
    size_t in = block->size;
    item->state = ITEM_WORKED_ON;
    pthread_mutex_unlock(&pipeline->lock);
    int64_t start_ns = clock_now_ns();
    header.lane = (uint8_t)lane;
    struct block *out = compress(&pipeline->lanes[lane], &header, &block);
    int64_t spent_ns = clock_now_ns() - start_ns;
    pthread_mutex_lock(&pipeline->lock);
    struct pipeline_use *use = &pipeline->uses[header.codec];
    use->windows++;
    use->pages += header.payload / RAM_PAGE_SIZE;
    use->in += in;
    use->spent_ns += spent_ns;
    if (out)
        use->out += out->size;
    else if (!pipeline->error)
        error_set(&pipeline->error, ERROR_SYSTEM, "out of memory for compression");
    item->block = out;
    item->state = ITEM_READY;
    emit_ready(pipeline);
    keep_spare(pipeline, block);
    pthread_cond_broadcast(&pipeline->moved);
}

/* The oldest item of this lane that nobody works on. */
static struct item *next_item(struct pipeline *pipeline, unsigned lane)
{
    for (uint64_t number = pipeline->first; number < pipeline->end; number++) {
        struct item *item = item_at(pipeline, number);
        if (item->state == ITEM_WAITS && item->header.lane == lane)
            return item;
    }
    return NULL;
}

static void *worker_run(void *argument)
{
    CLEANUP_FREE struct worker *worker = argument;
    struct pipeline *pipeline = worker->pipeline;
    LOCK_SCOPE(&pipeline->lock);
    while (!pipeline->stopping) {
        struct item *item = next_item(pipeline, worker->lane);
        if (item)
            work(pipeline, item, worker->lane);
        else
            pthread_cond_wait(&pipeline->work_due, &pipeline->lock);
    }
    return NULL;
}

static int start_worker(struct pipeline *pipeline, unsigned lane, struct error **err)
{
    struct worker *worker = malloc(sizeof(*worker));
    if (!worker)
        return error_set(err, ERROR_SYSTEM, "out of memory");
    *worker = (struct worker){pipeline, lane};
    int failed = pthread_create(&pipeline->workers[lane], NULL, worker_run, worker);
    if (failed) {
        free(worker);
        return error_errno(err, failed, "compression thread");
    }
    pipeline->started++;
    return 0;
}

static int make_lane(struct lane *lane, struct error **err)
{
    lane->writer = codec_writer_new(err);
    if (!lane->writer)
        return -1;
    lane->out = malloc(codec_bound(STREAM_WINDOW_RAW_MAX));
    return lane->out ? 0 : error_set(err, ERROR_SYSTEM, "out of memory");
}

struct pipeline *pipeline_new(unsigned threads, struct stream_sink sink, struct error **err)
{
    struct pipeline *pipeline = calloc(1, sizeof(*pipeline));
    if (!pipeline) {
        error_set(err, ERROR_SYSTEM, "out of memory");
        return NULL;
    }
    pipeline->sink = sink;
    pipeline->threads = threads < STREAM_LANES_MAX ? threads : STREAM_LANES_MAX;
    pipeline->depth = DEPTH(pipeline->threads);
    pthread_mutex_init(&pipeline->lock, NULL);
    pthread_cond_init(&pipeline->work_due, NULL);
    pthread_cond_init(&pipeline->moved, NULL);
    int status = 0;
    for (unsigned lane = 0; status == 0 && (lane < pipeline->threads || lane == 0); lane++)
        status = make_lane(&pipeline->lanes[lane], err);
    for (unsigned lane = 0; status == 0 && lane < pipeline->threads; lane++)
        status = start_worker(pipeline, lane, err);
    if (status < 0) {
        pipeline_free(pipeline);
        return NULL;
    }
    return pipeline;
}

void pipeline_free(struct pipeline *pipeline)
{
    if (!pipeline)
        return;
    pthread_mutex_lock(&pipeline->lock);
    pipeline->stopping = true;
    if (!pipeline->error)
        error_set(&pipeline->error, ERROR_CANCELLED, "stopped");
    pthread_cond_broadcast(&pipeline->work_due);
    pthread_mutex_unlock(&pipeline->lock);
    for (unsigned lane = 0; lane < pipeline->started; lane++)
        pthread_join(pipeline->workers[lane], NULL);
    for (; pipeline->first < pipeline->end; pipeline->first++)
        free(item_at(pipeline, pipeline->first)->block);
    while (pipeline->spare_count)
        free(pipeline->spares[--pipeline->spare_count]);
    for (unsigned lane = 0; lane < STREAM_LANES_MAX; lane++) {
        codec_writer_free(pipeline->lanes[lane].writer);
        free(pipeline->lanes[lane].out);
    }
    pthread_cond_destroy(&pipeline->moved);
    pthread_cond_destroy(&pipeline->work_due);
    pthread_mutex_destroy(&pipeline->lock);
    error_free(pipeline->error);
    free(pipeline);
}

/* With the lock held: a place at the end, NULL when there is none any more. */
static struct item *await_place(struct pipeline *pipeline, struct error **err)
{
    while (!pipeline->error && pipeline->end - pipeline->first >= pipeline->depth)
        pthread_cond_wait(&pipeline->moved, &pipeline->lock);
    return broken(pipeline, err) < 0 ? NULL : item_at(pipeline, pipeline->end++);
}

struct block *pipeline_window(struct pipeline *pipeline)
{
    LOCK_SCOPE(&pipeline->lock);
    if (pipeline->spare_count)
        return pipeline->spares[--pipeline->spare_count];
    return block_new(STREAM_WINDOW, ROOM);
}

int pipeline_put_window(struct pipeline *pipeline, struct block *block,
                        const struct stream_window_header *header, struct error **err)
{
    LOCK_SCOPE(&pipeline->lock);
    struct item *item = await_place(pipeline, err);
    if (!item) {
        free(block);
        return -1;
    }
    *item = (struct item){.block = block, .header = *header, .state = ITEM_WAITS};
    item->header.lane = (uint8_t)(pipeline->threads ? pipeline->windows++ % pipeline->threads : 0);
    if (pipeline->threads)
        pthread_cond_broadcast(&pipeline->work_due);
    else
        work(pipeline, item, 0);
    return broken(pipeline, err);
}

int pipeline_put(struct pipeline *pipeline, struct block *block, struct error **err)
{
    LOCK_SCOPE(&pipeline->lock);
    struct item *item = await_place(pipeline, err);
    if (!item) {
        free(block);
        return -1;
    }
    *item = (struct item){.block = block, .state = ITEM_READY};
    emit_ready(pipeline);
    return broken(pipeline, err);
}

int pipeline_overtake(struct pipeline *pipeline, struct block *block, struct error **err)
{
    LOCK_SCOPE(&pipeline->lock);
    while (pipeline->emitting && !pipeline->error)
        pthread_cond_wait(&pipeline->moved, &pipeline->lock);
    if (broken(pipeline, err) < 0) {
        free(block);
        return -1;
    }
    emit_locked(pipeline, block);
    emit_ready(pipeline); /* what became ready meanwhile found the sink taken */
    return broken(pipeline, err);
}

int pipeline_drain(struct pipeline *pipeline, struct error **err)
{
    LOCK_SCOPE(&pipeline->lock);
    while (!pipeline->error && (pipeline->first < pipeline->end || pipeline->emitting))
        pthread_cond_wait(&pipeline->moved, &pipeline->lock);
    return broken(pipeline, err);
}

bool pipeline_idle(struct pipeline *pipeline)
{
    LOCK_SCOPE(&pipeline->lock);
    return pipeline->first == pipeline->end && !pipeline->emitting;
}

void pipeline_uses(struct pipeline *pipeline, struct pipeline_use uses[STREAM_CODECS])
{
    LOCK_SCOPE(&pipeline->lock);
    memcpy(uses, pipeline->uses, sizeof(pipeline->uses));
}

uint64_t pipeline_emitted(struct pipeline *pipeline)
{
    LOCK_SCOPE(&pipeline->lock);
    return pipeline->emitted;
}

size_t pipeline_memory(unsigned threads)
{
    unsigned lanes = threads ? threads : 1;
    return lanes * (CODEC_LANE_MEMORY + codec_bound(STREAM_WINDOW_RAW_MAX)) +
           DEPTH(lanes) * (sizeof(struct block) + ROOM);
}
