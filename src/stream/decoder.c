/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The decoder.
 *
 * A window is decompressed whole, if it is compressed, then its control is walked from front to
 * back; what it makes goes to QEMU in pieces of a size that stays in the processor's cache. Nothing
 * that a block says is used before it was compared with what is there: the header by its gate, the
 * compressed data by what it must come to, each item by what is left of the window's output,
 * payload, control, and by the slots in use.
 */
#include "stream/decoder.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "stream/codec.h"
#include "stream/control.h"
#include "stream/copies.h"
#include "stream/delta.h"
#include "stream/fast_hash.h"
#include "stream/offers.h"
#include "stream/slots.h"
#include "stream/stream_block.h"

#define OUT_SIZE ((size_t)256 * 1024)
/* A page's record, or a piece of bytes, fits behind what is not full. */
#define OUT_ROOM (RAM_RECORD_HEADER_MAX + RAM_PAGE_SIZE)

/* The other end hears how busy this one is about so often. */
#define PACE_NS (20 * NS_PER_MS)

struct decoder {
    struct decoder_options options;
    struct decoder_sink sink;
    struct slots slots;
    struct codec_reader *lanes[STREAM_LANES_MAX];
    unsigned lanes_used;
    struct offers offers;
    struct copies_digest digest; /* of the window's copies so far */
    uint64_t window;             /* the next one */
    uint64_t address;            /* see control.h */
    uint32_t slot;
    size_t out_size;
    int64_t pace_since_ns, busy_ns;
    uint8_t out[OUT_SIZE];
    uint8_t raw[STREAM_WINDOW_RAW_MAX];
};

/* The window that is walked. */
struct walk {
    struct decoder *decoder;
    struct control_reader control, payload;
    struct offer *offer; /* answered; NULL: none is here */
    uint32_t offered;    /* pages of the offer so far */
    uint32_t hits;       /* of them, found here */
    size_t output_left;
    uint64_t check;
    bool bare;
};

struct decoder *decoder_new(const struct decoder_options *options, struct decoder_sink sink,
                            struct error **err)
{
    if (options->slots > STREAM_SLOTS_MAX) {
        error_set(err, ERROR_INVALID, "%u slots, %u are the most", options->slots,
                  STREAM_SLOTS_MAX);
        return NULL;
    }
    struct decoder *decoder = malloc(sizeof(*decoder));
    if (!decoder) {
        error_set(err, ERROR_SYSTEM, "out of memory");
        return NULL;
    }
    memset(decoder, 0, offsetof(struct decoder, out));
    decoder->options = *options;
    decoder->sink = sink;
    if (slots_init(&decoder->slots, options->slots, err) < 0) {
        decoder_free(decoder);
        return NULL;
    }
    return decoder;
}

void decoder_free(struct decoder *decoder)
{
    if (!decoder)
        return;
    for (unsigned lane = 0; lane < STREAM_LANES_MAX; lane++)
        codec_reader_free(decoder->lanes[lane]);
    offers_clear(&decoder->offers);
    copies_digest_clear(&decoder->digest);
    slots_clear(&decoder->slots);
    free(decoder);
}

size_t decoder_memory(const struct decoder *decoder)
{
    return sizeof(*decoder) + (size_t)decoder->slots.used * RAM_PAGE_SIZE +
           decoder->lanes_used * CODEC_LANE_MEMORY + decoder->offers.memory;
}

static int put_out(struct decoder *decoder, struct error **err)
{
    size_t size = decoder->out_size;
    decoder->out_size = 0;
    return size ? decoder->sink.write(decoder->sink.context, decoder->out, size, err) : 0;
}

/* `size` bytes fit behind what is in `out` when this returned. */
static int need_room(struct decoder *decoder, size_t size, struct error **err)
{
    return OUT_SIZE - decoder->out_size < size ? put_out(decoder, err) : 0;
}

static int need_output(struct walk *walk, uint64_t size, struct error **err)
{
    if (size > walk->output_left)
        return error_set(err, ERROR_CORRUPT, "more than it announces");
    walk->output_left -= size;
    return 0;
}

static void put_header(struct decoder *decoder, uint64_t kind)
{
    decoder->out_size +=
        ram_record_header(decoder->out + decoder->out_size, kind, decoder->address, NULL);
    decoder->address += RAM_PAGE_SIZE;
}

static int put_page(struct walk *walk, const uint8_t *page, struct error **err)
{
    struct decoder *decoder = walk->decoder;
    size_t header = walk->bare ? 0 : 8;
    if (need_output(walk, header + RAM_PAGE_SIZE, err) < 0 || need_room(decoder, OUT_ROOM, err) < 0)
        return -1;
    if (!walk->bare)
        put_header(decoder, RAM_RECORD_PAGE);
    walk->bare = false;
    memcpy(decoder->out + decoder->out_size, page, RAM_PAGE_SIZE);
    decoder->out_size += RAM_PAGE_SIZE;
    return 0;
}

static int bytes_item(struct walk *walk, uint64_t count, struct error **err)
{
    struct decoder *decoder = walk->decoder;
    const uint8_t *bytes = control_take(&walk->control, count);
    if (!bytes)
        return error_set(err, ERROR_CORRUPT, "bytes that are not there");
    if (need_output(walk, count, err) < 0)
        return -1;
    if (count > OUT_ROOM)
        return put_out(decoder, err) < 0
                   ? -1
                   : decoder->sink.write(decoder->sink.context, bytes, count, err);
    if (need_room(decoder, count, err) < 0)
        return -1;
    memcpy(decoder->out + decoder->out_size, bytes, count);
    decoder->out_size += count;
    return 0;
}

static int seek_item(struct walk *walk, struct error **err)
{
    int64_t pages;
    if (!control_take_signed(&walk->control, &pages))
        return error_set(err, ERROR_CORRUPT, "no number of pages");
    walk->decoder->address += (uint64_t)pages * RAM_PAGE_SIZE;
    return 0;
}

static int slot_item(struct walk *walk, struct error **err)
{
    struct decoder *decoder = walk->decoder;
    int64_t distance;
    if (!control_take_signed(&walk->control, &distance))
        return error_set(err, ERROR_CORRUPT, "no slot");
    if (distance < -(int64_t)decoder->slot ||
        distance > (int64_t)decoder->slots.count - (int64_t)decoder->slot)
        return error_set(err, ERROR_CORRUPT, "slot %u%+" PRId64 ", there are %u", decoder->slot,
                         distance, decoder->slots.count);
    decoder->slot = (uint32_t)(decoder->slot + distance);
    return 0;
}

/* The slot at which the position is, which is left behind; NULL when nothing was put there. */
static uint8_t *used_slot(struct decoder *decoder, struct error **err)
{
    if (decoder->slot >= decoder->slots.used) {
        error_set(err, ERROR_CORRUPT, "slot %u, %u are in use", decoder->slot, decoder->slots.used);
        return NULL;
    }
    return slots_page(&decoder->slots, decoder->slot++);
}

static int zero_item(struct walk *walk, uint64_t count, struct error **err)
{
    struct decoder *decoder = walk->decoder;
    if (walk->bare || count > STREAM_WINDOW_OUTPUT_MAX)
        return error_set(err, ERROR_CORRUPT, "%" PRIu64 " zero pages", count);
    if (need_output(walk, count * 9, err) < 0)
        return -1;
    for (; count; count--) {
        if (need_room(decoder, OUT_ROOM, err) < 0)
            return -1;
        put_header(decoder, RAM_RECORD_ZERO);
        decoder->out[decoder->out_size++] = 0;
    }
    return 0;
}

static int payload_page(struct walk *walk, const uint8_t **page, struct error **err)
{
    *page = control_take(&walk->payload, RAM_PAGE_SIZE);
    return *page ? 0 : error_set(err, ERROR_CORRUPT, "a page that is not there");
}

static int keep_page(struct walk *walk, const uint8_t **page, struct error **err)
{
    struct decoder *decoder = walk->decoder;
    if (payload_page(walk, page, err) < 0)
        return -1;
    if (decoder->slot > decoder->slots.used || decoder->slot >= decoder->slots.count)
        return error_set(err, ERROR_CORRUPT, "page for slot %u, %u of %u are in use", decoder->slot,
                         decoder->slots.used, decoder->slots.count);
    slots_put(&decoder->slots, decoder->slot++, *page);
    return 0;
}

static int repeat_page(struct walk *walk, uint8_t made[RAM_PAGE_SIZE], struct error **err)
{
    const uint8_t *word = control_take(&walk->control, 8);
    if (!word)
        return error_set(err, ERROR_CORRUPT, "no word to repeat");
    for (size_t at = 0; at < RAM_PAGE_SIZE; at += 8)
        memcpy(made + at, word, 8);
    return 0;
}

static int slot_page(struct walk *walk, bool changed, const uint8_t **page, struct error **err)
{
    uint8_t *held = used_slot(walk->decoder, err);
    if (!held)
        return -1;
    if (changed && !delta_apply(&walk->control, held))
        return error_set(err, ERROR_CORRUPT, "this is no delta");
    walk->check = stream_check_add(walk->check, fast_hash(held));
    *page = held;
    return 0;
}

static int offered_page(struct walk *walk, const uint8_t **page, struct error **err)
{
    if (!walk->offer)
        return payload_page(walk, page, err);
    if (walk->offered >= walk->offer->count)
        return error_set(err, ERROR_CORRUPT, "more pages than were offered");
    if (!offer_has(walk->offer, walk->offered++))
        return payload_page(walk, page, err);
    *page = walk->offer->pages + (size_t)walk->hits++ * RAM_PAGE_SIZE;
    return 0;
}

static int copied_page(struct walk *walk, uint8_t made[RAM_PAGE_SIZE], struct error **err)
{
    struct decoder *decoder = walk->decoder;
    const struct decoder_options *options = &decoder->options;
    uint64_t distance;
    if (!options->read_ram)
        return error_set(err, ERROR_CORRUPT, "a copy, where the guest's RAM is not read");
    if (!control_take_number(&walk->control, &distance) || !distance || walk->bare ||
        distance > decoder->address / RAM_PAGE_SIZE)
        return error_set(err, ERROR_CORRUPT, "a copy of no page");
    if (put_out(decoder, err) < 0 ||
        options->read_ram(options->context, decoder->address - distance * RAM_PAGE_SIZE, made,
                          err) < 0)
        return -1;
    return copies_digest_add(&decoder->digest, made)
               ? 0
               : error_set(err, ERROR_INTERNAL, "OpenSSL has no SHA-256");
}

static int digest_item(struct walk *walk, struct error **err)
{
    uint8_t digest[COPIES_DIGEST_SIZE];
    const uint8_t *expected = control_take(&walk->control, sizeof(digest));
    if (!expected || !walk->decoder->digest.pages)
        return error_set(err, ERROR_CORRUPT, "this is no digest of copies");
    if (!copies_digest_end(&walk->decoder->digest, digest))
        return error_set(err, ERROR_INTERNAL, "OpenSSL has no SHA-256");
    return memcmp(digest, expected, sizeof(digest)) == 0
               ? 0
               : error_set(err, ERROR_CORRUPT, "the guest's RAM does not hold what was sent");
}

static int page_item(struct walk *walk, enum control_op op, struct error **err)
{
    uint8_t made[RAM_PAGE_SIZE];
    const uint8_t *page = made;
    int status = op == CONTROL_PLAIN    ? payload_page(walk, &page, err)
                 : op == CONTROL_KEEP   ? keep_page(walk, &page, err)
                 : op == CONTROL_REPEAT ? repeat_page(walk, made, err)
                 : op == CONTROL_SAME   ? slot_page(walk, false, &page, err)
                 : op == CONTROL_DELTA  ? slot_page(walk, true, &page, err)
                 : op == CONTROL_COPY   ? copied_page(walk, made, err)
                                        : offered_page(walk, &page, err);
    return status < 0 ? -1 : put_page(walk, page, err);
}

static int window_item(struct walk *walk, enum control_op op, uint64_t count, struct error **err)
{
    switch (op) {
    case CONTROL_BYTES:
        return bytes_item(walk, count, err);
    case CONTROL_SEEK:
        return seek_item(walk, err);
    case CONTROL_SLOT:
        return slot_item(walk, err);
    case CONTROL_BARE:
        walk->bare = true;
        return 0;
    case CONTROL_ZERO:
        return zero_item(walk, count, err);
    case CONTROL_DIGEST:
        return digest_item(walk, err);
    default:
        for (; count; count--)
            if (page_item(walk, op, err) < 0)
                return -1;
        return 0;
    }
}

static int walk_window(struct walk *walk, const struct stream_window_header *header,
                       struct error **err)
{
    while (walk->control.at < walk->control.end) {
        enum control_op op;
        uint64_t count;
        if (!control_next(&walk->control, &op, &count))
            return error_set(err, ERROR_CORRUPT, "this is no control");
        if (window_item(walk, op, count, err) < 0)
            return -1;
    }
    if (walk->output_left || walk->payload.at != walk->payload.end)
        return error_set(err, ERROR_CORRUPT, "less than it announces");
    if (walk->decoder->digest.pages)
        return error_set(err, ERROR_CORRUPT, "copies without their digest");
    if (walk->check != header->check)
        return error_set(err, ERROR_CORRUPT, "the slots do not hold what they must");
    return 0;
}

/* A window's payload and control: in the block itself, or in `raw` once decompressed. */
static const uint8_t *decompress(struct decoder *decoder, const struct stream_window_header *header,
                                 const struct block *block, struct error **err)
{
    const uint8_t *in = block->data + STREAM_WINDOW_HEADER_SIZE;
    size_t in_size = block->size - STREAM_WINDOW_HEADER_SIZE;
    size_t size = (size_t)header->payload + header->control;
    if (header->codec == STREAM_CODEC_NONE) {
        if (in_size == size)
            return in;
        error_set(err, ERROR_CORRUPT, "%zu bytes where %zu are announced", in_size, size);
        return NULL;
    }
    struct codec_reader **lane = &decoder->lanes[header->lane];
    if (!*lane) {
        *lane = codec_reader_new(err);
        if (!*lane)
            return NULL;
        decoder->lanes_used++;
    }
    return codec_decompress(*lane, header->codec, in, in_size, decoder->raw, size, err) < 0
               ? NULL
               : decoder->raw;
}

static int take_window(struct decoder *decoder, const struct block *block, struct error **err)
{
    struct stream_window_header header;
    if (stream_window_header_get(block->data, block->size, decoder->window, &header, err) < 0)
        return -1;
    CLEANUP_OFFER struct offer *offer = offers_remove(&decoder->offers, header.number);
    bool answered = header.flags & STREAM_WINDOW_ANSWERED;
    if (answered && !offer)
        return error_set(err, ERROR_CORRUPT, "window %" PRIu64 ": nothing was offered",
                         header.number);
    const uint8_t *payload = decompress(decoder, &header, block, err);
    if (!payload)
        return error_prefix(err, "window %" PRIu64, header.number);
    const uint8_t *control = payload + header.payload;
    struct walk walk = {
        .decoder = decoder,
        .control = {control, control + header.control},
        .payload = {payload, control},
        .offer = answered ? offer : NULL,
        .output_left = header.output,
    };
    if (walk_window(&walk, &header, err) < 0 || put_out(decoder, err) < 0)
        return error_prefix(err, "window %" PRIu64, header.number);
    decoder->window++;
    return 0;
}

static int take_offer(struct decoder *decoder, const struct block *block, struct error **err)
{
    struct block *answer =
        offers_take(&decoder->offers, block, decoder->window, &decoder->options, err);
    return answer ? decoder->sink.emit(decoder->sink.context, answer, err) : -1;
}

static int take_block(struct decoder *decoder, const struct block *block, struct error **err)
{
    switch (block->kind) {
    case STREAM_RAW:
        if (block->size > STREAM_RAW_MAX)
            return error_set(err, ERROR_CORRUPT, "%u bytes in a block", block->size);
        return decoder->sink.write(decoder->sink.context, block->data, block->size, err);
    case STREAM_WINDOW:
        return take_window(decoder, block, err);
    case STREAM_OFFER:
        return take_offer(decoder, block, err);
    default:
        return error_set(err, ERROR_CORRUPT, "block of kind %u", block->kind);
    }
}

/* Tells the encoder how much of the time went into taking blocks. */
static int tell_pace(struct decoder *decoder, int64_t now_ns, struct error **err)
{
    int64_t elapsed_ns = now_ns - decoder->pace_since_ns;
    if (elapsed_ns < PACE_NS)
        return 0;
    struct block *pace = block_new(STREAM_PACE, 2);
    if (!pace)
        return error_set(err, ERROR_SYSTEM, "out of memory");
    bytes_put16(pace->data, (uint16_t)(decoder->busy_ns * 1000 / elapsed_ns));
    decoder->pace_since_ns = now_ns;
    decoder->busy_ns = 0;
    return decoder->sink.emit(decoder->sink.context, pace, err);
}

int decoder_take(struct decoder *decoder, const struct block *block, struct error **err)
{
    int64_t start_ns = clock_now_ns();
    if (!decoder->pace_since_ns)
        decoder->pace_since_ns = start_ns;
    if (take_block(decoder, block, err) < 0)
        return error_prefix(err, "stream from the peer");
    int64_t now_ns = clock_now_ns();
    decoder->busy_ns += now_ns - start_ns;
    return tell_pace(decoder, now_ns, err);
}
