/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The encoder.
 *
 * Theory of operation. The parser cuts what QEMU writes into records (encoder_window.c decides what
 * becomes of each), which fill a window. A window is either coded or, while nothing is scarce, raw:
 * the stream's own bytes. A closed window goes into the pipeline, which compresses and emits it, in
 * order. When some of its pages may be at the destination, it is offered first: the hashes overtake
 * everything, the window waits for the answer, and all later ones wait behind it; then the pages
 * that are known are taken out of its payload. Nobody ever waits for an answer who was told that it
 * is urgent: the window then goes as if nothing was known.
 */
#include "stream/encoder.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "stream/codec.h"
#include "stream/encoder_private.h"

/* Windows that may wait for answers. Those that one encoder_write fills may come on top. */
#define WAITING_MAX 16
_Static_assert(WAITING_MAX < STREAM_OFFERS_MAX, "the decoder holds what is offered");
/* Of all parts of the page filter: enough for 50 GiB of other guests' RAM. */
#define FILTER_MEMORY ((size_t)16 * 1024 * 1024)
/* Before so many were hashed nobody can tell whether it pays. */
#define PAYS_MIN_PAGES 8192

/* What an encoder takes beside slots: itself, waiting windows, the pipeline. */
static size_t fixed_memory(unsigned threads)
{
    return sizeof(struct encoder) + FILTER_MEMORY + copies_memory() +
           STREAM_OFFERS_MAX *
               (sizeof(struct window) + STREAM_WINDOW_HEADER_SIZE + STREAM_WINDOW_RAW_MAX) +
           pipeline_memory(threads);
}

uint32_t encoder_slots_for(uint64_t memory, unsigned threads)
{
    size_t fixed = fixed_memory(threads);
    if (memory <= fixed)
        return 0;
    uint64_t slots = (memory - fixed) / (RAM_PAGE_SIZE + SLOT_MAP_OVERHEAD);
    return slots < STREAM_SLOTS_MAX ? (uint32_t)slots : STREAM_SLOTS_MAX;
}

static int make_parts(struct encoder *encoder, struct stream_sink sink, struct error **err)
{
    const struct encoder_options *options = &encoder->options;
    encoder->parser = ram_parser_new();
    if (!encoder->parser)
        return error_set(err, ERROR_SYSTEM, "out of memory");
    if (options->middle)
        ram_parser_set_opaque(encoder->parser);
    if (slots_init(&encoder->slots, options->slots, err) < 0)
        return -1;
    if (options->slots) {
        encoder->map = slot_map_new(&encoder->slots);
        if (!encoder->map)
            return error_set(err, ERROR_SYSTEM, "out of memory");
    }
    encoder->main_block = NO_BLOCK;
    if (options->copies && !(encoder->copies = copies_new(err)))
        return -1;
    if (options->dictionary_key) {
        encoder->filter = page_filter_new(FILTER_MEMORY);
        if (!encoder->filter)
            return error_set(err, ERROR_SYSTEM, "out of memory");
        encoder->hasher = page_hasher_new(options->dictionary_key, err);
        if (!encoder->hasher)
            return -1;
    }
    encoder->pipeline = pipeline_new(options->threads, sink, err);
    return encoder->pipeline ? 0 : -1;
}

struct encoder *encoder_new(const struct encoder_options *options, struct stream_sink sink,
                            struct error **err)
{
    struct encoder *encoder = malloc(sizeof(*encoder));
    if (!encoder) {
        error_set(err, ERROR_SYSTEM, "out of memory");
        return NULL;
    }
    memset(encoder, 0, offsetof(struct encoder, control_bytes));
    encoder->options = *options;
    encoder->control.bytes = encoder->control_bytes;
    encoder->waiting_end = &encoder->waiting;
    pthread_mutex_init(&encoder->lock, NULL);
    chooser_init(&encoder->chooser, options->codec, options->threads);
    if (make_parts(encoder, sink, err) < 0) {
        encoder_free(encoder);
        return NULL;
    }
    encoder->options.dictionary_key = NULL; /* the hasher has it */
    return encoder;
}

static void window_free(struct window *window)
{
    if (!window)
        return;
    free(window->block);
    free(window);
}

void encoder_free(struct encoder *encoder)
{
    if (!encoder)
        return;
    pipeline_free(encoder->pipeline);
    window_free(encoder->open);
    while (encoder->waiting) {
        struct window *window = encoder->waiting;
        encoder->waiting = window->next;
        window_free(window);
    }
    page_hasher_free(encoder->hasher);
    page_filter_free(encoder->filter);
    copies_free(encoder->copies);
    copies_digest_clear(&encoder->digest);
    slot_map_free(encoder->map);
    slots_clear(&encoder->slots);
    ram_parser_free(encoder->parser);
    pthread_mutex_destroy(&encoder->lock);
    free(encoder);
}

/* --- windows --- */

static void remember_codec(struct encoder *encoder, enum stream_codec codec)
{
    LOCK_SCOPE(&encoder->lock);
    struct stream_counts *counts = &encoder->counts;
    if (counts->codec_changes && counts->history[counts->codec_changes - 1].codec == codec)
        return;
    if (counts->codec_changes == STREAM_HISTORY_MAX)
        counts->codec_changes--;
    counts->history[counts->codec_changes++] =
        (struct stream_codec_since){.since_ns = clock_now_ns(), .codec = codec};
}

static void tell_chooser(struct encoder *encoder)
{
    struct pipeline_use uses[STREAM_CODECS];
    pipeline_uses(encoder->pipeline, uses);
    for (enum stream_codec codec = 0; codec < STREAM_CODECS; codec++) {
        struct pipeline_use *seen = &encoder->seen[codec];
        chooser_measured(&encoder->chooser, codec, uses[codec].in - seen->in,
                         uses[codec].out - seen->out, uses[codec].spent_ns - seen->spent_ns);
        *seen = uses[codec];
    }
}

/* Does the destination know enough to be asked also where nothing is scarce? A page that it knows
 * costs less at both ends than one that travels; one that it does not know costs a hash in vain. */
static bool dictionary_pays(const struct encoder *encoder)
{
    return encoder->hasher && !encoder->urgent && !page_filter_empty(encoder->filter) &&
           (encoder->hashed < PAYS_MIN_PAGES || encoder->passed > encoder->hashed / 4);
}

int encoder_open(struct encoder *encoder, struct error **err)
{
    bool reduce;
    tell_chooser(encoder);
    enum stream_codec codec = chooser_next(&encoder->chooser, &reduce);
    bool raw = codec == STREAM_CODEC_NONE && !reduce && !dictionary_pays(encoder);
    struct window *window = malloc(sizeof(*window));
    struct block *block =
        raw ? block_new(STREAM_RAW, RAW_SIZE) : pipeline_window(encoder->pipeline);
    if (!window || !block) {
        free(window);
        free(block);
        return error_set(err, ERROR_SYSTEM, "out of memory");
    }
    memset(window, 0, offsetof(struct window, hashes));
    window->raw = raw;
    window->block = block;
    window->header.codec = codec;
    if (raw)
        block->size = 0;
    encoder->control.size = 0;
    remember_codec(encoder, codec);
    encoder->open = window;
    return 0;
}

/* Takes out of the payload what the other end says it has. */
static void take_known(struct encoder *encoder, struct window *window, const uint8_t *found)
{
    uint8_t *payload = window->block->data + STREAM_WINDOW_HEADER_SIZE;
    uint8_t *to = payload, *from = payload;
    unsigned known = 0;
    for (unsigned i = 0; i < window->offered; i++) {
        if (!(found[i / 8] & 1u << i % 8))
            continue;
        uint8_t *page = payload + (size_t)window->offered_at[i] * RAM_PAGE_SIZE;
        memmove(to, from, (size_t)(page - from));
        to += page - from;
        from = page + RAM_PAGE_SIZE;
        known++;
    }
    uint8_t *end = payload + window->header.payload + window->header.control;
    memmove(to, from, (size_t)(end - from));
    window->header.payload -= known * RAM_PAGE_SIZE;
    window->header.flags |= STREAM_WINDOW_ANSWERED;
    window->known = known;
    LOCK_SCOPE(&encoder->lock);
    encoder->counts.known += known;
}

/* What the answer says makes for the choice of the codec, also of windows that waited for one. */
static void choose_again(struct encoder *encoder, struct window *window)
{
    if (!window->raw)
        chooser_known(&encoder->chooser,
                      window->header.payload / (unsigned)RAM_PAGE_SIZE + window->known,
                      window->known);
    if (window->offered)
        window->header.codec = chooser_again(&encoder->chooser);
}

static int put_window(struct encoder *encoder, struct window *window, struct error **err)
{
    choose_again(encoder, window);
    struct block *block = STEAL(window->block);
    int status;
    if (window->raw) {
        status = pipeline_put(encoder->pipeline, block_fit(block, RAW_SIZE), err);
    } else {
        block->size = STREAM_WINDOW_HEADER_SIZE + window->header.payload + window->header.control;
        status = pipeline_put_window(encoder->pipeline, block, &window->header, err);
    }
    window_free(window);
    return status;
}

/* Everything that does not wait for an answer any more goes on. */
static int advance(struct encoder *encoder, struct error **err)
{
    while (encoder->waiting && !encoder->waiting->asked) {
        struct window *window = encoder->waiting;
        encoder->waiting = window->next;
        if (!encoder->waiting)
            encoder->waiting_end = &encoder->waiting;
        encoder->waiting_count--;
        if (put_window(encoder, window, err) < 0)
            return -1;
    }
    return 0;
}

static int ask(struct encoder *encoder, struct window *window, struct error **err)
{
    size_t size = (size_t)window->offered * PAGE_HASH_SIZE;
    struct block *offer = block_new(STREAM_OFFER, (uint32_t)(8 + size));
    if (!offer)
        return error_set(err, ERROR_SYSTEM, "out of memory");
    bytes_put64(offer->data, window->header.number);
    memcpy(offer->data + 8, window->hashes, size);
    window->asked = true;
    return pipeline_overtake(encoder->pipeline, offer, err);
}

static void add_pending(struct encoder *encoder)
{
    LOCK_SCOPE(&encoder->lock);
    encoder->counts.zero += encoder->pending.zero;
    encoder->counts.repeated += encoder->pending.repeated;
    encoder->counts.delta += encoder->pending.delta;
    encoder->counts.plain += encoder->pending.plain;
    encoder->counts.bytes_in += encoder->pending.bytes_in;
    encoder->counts.memory = fixed_memory(encoder->options.threads) +
                             (size_t)encoder->slots.used * RAM_PAGE_SIZE +
                             (size_t)encoder->slots.count * SLOT_MAP_OVERHEAD;
    encoder->pending = (struct stream_counts){0};
}

int encoder_close(struct encoder *encoder, struct error **err)
{
    struct window *window = STEAL(encoder->open);
    if (!window)
        return 0;
    if (!window->raw) {
        if (encoder_end_copies(encoder, err) < 0) {
            window_free(window);
            return -1;
        }
        control_end(&encoder->control);
        window->header.number = encoder->number++;
        window->header.control = (uint32_t)encoder->control.size;
        memcpy(window->block->data + STREAM_WINDOW_HEADER_SIZE + window->header.payload,
               encoder->control_bytes, encoder->control.size);
    }
    add_pending(encoder);
    *encoder->waiting_end = window;
    encoder->waiting_end = &window->next;
    encoder->waiting_count++;
    if (window->offered && !encoder->urgent && encoder->waiting_count < STREAM_OFFERS_MAX &&
        ask(encoder, window, err) < 0)
        return -1;
    return advance(encoder, err);
}

/* --- what the caller does --- */

int encoder_write(struct encoder *encoder, const uint8_t *bytes, size_t size, struct error **err)
{
    return ram_parser_feed(encoder->parser, bytes, size, encoder_window_token, encoder, err);
}

bool encoder_full(const struct encoder *encoder)
{
    return encoder->waiting_count >= WAITING_MAX;
}

bool encoder_partial(const struct encoder *encoder)
{
    return encoder->open;
}

bool encoder_idle(struct encoder *encoder)
{
    return !encoder->waiting && pipeline_idle(encoder->pipeline);
}

int encoder_push(struct encoder *encoder, struct error **err)
{
    return encoder_close(encoder, err);
}

static int give_up_offers(struct encoder *encoder, struct error **err)
{
    for (struct window *window = encoder->waiting; window; window = window->next)
        window->asked = false;
    return advance(encoder, err);
}

int encoder_flush(struct encoder *encoder, struct error **err)
{
    if (encoder_close(encoder, err) < 0 || give_up_offers(encoder, err) < 0)
        return -1;
    return pipeline_drain(encoder->pipeline, err);
}

const uint8_t *encoder_held(const struct encoder *encoder, size_t *size)
{
    return ram_parser_held(encoder->parser, size);
}

int encoder_finish(struct encoder *encoder, struct error **err)
{
    if (ram_parser_finish(encoder->parser, encoder_window_token, encoder, err) < 0)
        return -1;
    return encoder_flush(encoder, err);
}

int encoder_urgent(struct encoder *encoder, bool urgent, struct error **err)
{
    encoder->urgent = urgent;
    if (urgent && encoder->copies)
        copies_end(encoder->copies); /* the guest may run at the other end soon */
    return urgent ? give_up_offers(encoder, err) : 0;
}

static int take_answer(struct encoder *encoder, const struct block *block, struct error **err)
{
    if (block->size < 9)
        return error_set(err, ERROR_CORRUPT, "answer of %u bytes", block->size);
    uint64_t number = bytes_get64(block->data);
    for (struct window *window = encoder->waiting; window; window = window->next) {
        if (!window->asked || window->header.number != number)
            continue;
        if (block->size != 8 + (window->offered + 7) / 8)
            return error_set(err, ERROR_CORRUPT, "answer of %u bytes to an offer of %u pages",
                             block->size, window->offered);
        take_known(encoder, window, block->data + 8);
        window->asked = false;
        return advance(encoder, err);
    }
    if (number >= encoder->number)
        return error_set(err, ERROR_CORRUPT, "answer for window %" PRIu64 ", there were %" PRIu64,
                         number, encoder->number);
    return 0; /* the offer was given up meanwhile */
}

static int take_filter(struct encoder *encoder, const struct block *block, struct error **err)
{
    if (!encoder->filter)
        return error_set(err, ERROR_CORRUPT, "page filter for a move without dictionary");
    const bool empty = page_filter_empty(encoder->filter);
    if (page_filter_take(encoder->filter, block->data, block->size, err) < 0)
        return -1;
    if (empty && !page_filter_empty(encoder->filter))
        chooser_dictionary(&encoder->chooser);
    return 0;
}

static int take_pace(struct encoder *encoder, const struct block *block, struct error **err)
{
    unsigned busy = block->size == 2 ? bytes_get16(block->data) : UINT16_MAX;
    if (busy > 1000)
        return error_set(err, ERROR_CORRUPT, "pace of %u bytes", block->size);
    encoder->peer_busy = busy;
    return 0;
}

int encoder_answer(struct encoder *encoder, const struct block *block, struct error **err)
{
    int status;
    switch (block->kind) {
    case STREAM_ANSWER:
        status = take_answer(encoder, block, err);
        break;
    case STREAM_FILTER:
        status = take_filter(encoder, block, err);
        break;
    case STREAM_PACE:
        status = take_pace(encoder, block, err);
        break;
    default:
        status = error_set(err, ERROR_CORRUPT, "block of kind %u", block->kind);
    }
    return status < 0 ? error_prefix(err, "answers from the peer") : 0;
}

uint64_t encoder_emitted(struct encoder *encoder)
{
    return pipeline_emitted(encoder->pipeline);
}

void encoder_keep(struct encoder *encoder)
{
    encoder->keeps = true;
}

void encoder_link(struct encoder *encoder, double rate, bool waited)
{
    chooser_link(&encoder->chooser, rate, waited, encoder->peer_busy);
}

struct stream_counts encoder_counts(struct encoder *encoder)
{
    struct pipeline_use uses[STREAM_CODECS];
    pipeline_uses(encoder->pipeline, uses);
    pthread_mutex_lock(&encoder->lock);
    struct stream_counts counts = encoder->counts;
    pthread_mutex_unlock(&encoder->lock);
    counts.plain += uses[STREAM_CODEC_NONE].pages;
    for (enum stream_codec codec = STREAM_CODEC_NONE + 1; codec < STREAM_CODECS; codec++)
        counts.compressed += uses[codec].pages;
    counts.bytes_out = pipeline_emitted(encoder->pipeline);
    return counts;
}
