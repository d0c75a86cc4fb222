/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread of a relay.
 *
 * The source's reads from QEMU while the link has room, and the engine's encoder makes blocks of
 * it; these go into the link from the encoder's threads. What QEMU has not filled a window with
 * goes as soon as nothing is before it: a window that waits for more costs nothing only as long as
 * it would have to wait anyway. With multifd it reads from QEMU's channels, of which it makes one
 * stream first. The destination's takes blocks from the link while QEMU takes their bytes.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "migrate/relay_private.h"
#include "stream/stream_block.h"

/* QEMU's next bytes are awaited so long while others are on their way. */
#define PARTIAL_MS 1
/* The destination tells what memory it uses at most so often. */
#define TELL_MEMORY_NS (100 * NS_PER_MS)

static void set_flag(struct relay *relay, bool *flag)
{
    pthread_mutex_lock(&relay->lock);
    *flag = true;
    pthread_mutex_unlock(&relay->lock);
    fd_event_signal(relay->event_fd);
}

static void count(struct relay *relay, size_t stream)
{
    LOCK_SCOPE(&relay->lock);
    relay->status.stream_bytes += stream;
}

static int emit(struct relay *relay, uint8_t kind, const void *bytes, size_t size,
                struct error **err)
{
    struct block *block = block_new(kind, (uint32_t)size);
    if (!block)
        return error_set(err, ERROR_SYSTEM, "out of memory");
    memcpy(block->data, bytes, size);
    return link_send(relay->link, block, relay->stop_fd, err);
}

/* --- what is inside the blocks --- */

/* The engine's sink for blocks, at either end. */
int relay_send_block(void *context, struct block *block, struct error **err)
{
    struct relay *relay = context;
    return link_send(relay->link, block, relay->stop_fd, err);
}

/* QEMU's bytes into blocks. Those to the source are in the link when it returns. */
static int encode(struct relay *relay, const uint8_t *bytes, size_t size, struct error **err)
{
    return relay->source ? encoder_write(relay->encoder, bytes, size, err)
                         : emit(relay, RELAY_BACK, bytes, size, err);
}

static int pass_out(struct relay *relay, struct error **err);

/* While QEMU takes nothing, what it has to say must not wait: it may be what it waits for. */
static int await_qemu(struct relay *relay, struct error **err)
{
    struct pollfd polls[] = {
        {.fd = relay->qemu.held.socket,
         .events = (short)(POLLOUT | (!relay->source && relay->qemu.open ? POLLIN : 0))},
        {.fd = relay->stop_fd, .events = POLLIN},
    };
    if (poll(polls, ARRAY_SIZE(polls), -1) < 0 && errno != EINTR)
        return error_errno(err, errno, "poll");
    if (polls[1].revents)
        return error_set(err, ERROR_CANCELLED, "stopped");
    return (polls[0].revents & POLLIN) ? pass_out(relay, err) : 0;
}

static int emit_number(struct relay *relay, uint8_t kind, uint64_t number, struct error **err)
{
    uint8_t bytes[8];
    bytes_put64(bytes, number);
    return emit(relay, kind, bytes, sizeof(bytes), err);
}

/* The bytes are in QEMU's socket, or spool, when it returns. */
static int put_to_qemu(struct relay *relay, const uint8_t *bytes, size_t size, struct error **err)
{
    while (size)
        if (relay_qemu_write(&relay->qemu, &bytes, &size, err) < 0 ||
            (size && await_qemu(relay, err) < 0))
            return -1;
    return 0;
}

static int write_to_qemu(struct relay *relay, const uint8_t *bytes, size_t size, struct error **err)
{
    if (put_to_qemu(relay, bytes, size, err) < 0)
        return -1;
    if (!relay->source)
        count(relay, size);
    if (!relay_qemu_should_tell(&relay->qemu))
        return 0;
    relay->qemu.told = relay->qemu.given;
    return emit_number(relay, RELAY_GIVEN, relay->qemu.told, err);
}

/* Every byte before END is in QEMU's socket by now: blocks come in order. */
static int take_end(struct relay *relay, uint64_t length, struct error **err)
{
    uint64_t have = relay_status(relay).stream_bytes;
    if (length != have)
        return error_set(err, ERROR_CORRUPT,
                         "the stream has %" PRIu64 " bytes, but %" PRIu64 " came", length, have);
    set_flag(relay, &relay->status.ended);
    return 0;
}

/* From here on QEMU gets the stream as it is. */
static int stop_placing(struct relay *relay, struct error **err)
{
    if (!relay->placer)
        return 0;
    if (placer_end(relay->placer, err) < 0)
        return -1;
    relay_qemu_given(&relay->qemu, placer_position(relay->placer));
    pthread_mutex_lock(&relay->lock);
    relay->status.placed = placer_pages(relay->placer);
    pthread_mutex_unlock(&relay->lock);
    placer_free(STEAL(relay->placer));
    return 0;
}

static int take_memory(struct relay *relay, uint64_t bytes)
{
    pthread_mutex_lock(&relay->lock);
    relay->status.peer_memory = bytes;
    pthread_mutex_unlock(&relay->lock);
    fd_event_signal(relay->event_fd);
    return 0;
}

static bool is_number(uint8_t kind)
{
    return kind == RELAY_END || kind == RELAY_SPOOL || kind == RELAY_GIVEN || kind == RELAY_MEMORY;
}

/* A block that is a number: a position in the stream, or bytes of memory. */
static int take_number(struct relay *relay, const struct block *block, struct error **err)
{
    bool expected = block->kind == RELAY_GIVEN || relay->source == (block->kind == RELAY_MEMORY);
    if (block->size != sizeof(uint64_t) || !expected)
        return error_set(err, ERROR_CORRUPT, "block of kind %u with %u bytes", block->kind,
                         block->size);
    uint64_t number = bytes_get64(block->data);
    if (block->kind == RELAY_GIVEN)
        return relay_qemu_released(&relay->qemu, number, err);
    if (block->kind == RELAY_MEMORY)
        return take_memory(relay, number);
    if (stop_placing(relay, err) < 0)
        return -1;
    return block->kind == RELAY_SPOOL ? relay_qemu_spool_to(&relay->qemu, number, err)
                                      : take_end(relay, number, err);
}

/* The decoder's sink for the stream. */
int relay_write_stream(void *context, const uint8_t *bytes, size_t size, struct error **err)
{
    struct relay *relay = context;
    if (!relay->placer)
        return write_to_qemu(relay, bytes, size, err);
    if (placer_feed(relay->placer, bytes, size, err) < 0)
        return -1;
    count(relay, size);
    return 0;
}

int relay_write_rest(void *context, const uint8_t *bytes, size_t size, struct error **err)
{
    return put_to_qemu(context, bytes, size, err);
}

int relay_await_pong(void *context, struct error **err)
{
    struct relay *relay = context;
    while (!relay->answers.answered) {
        if (!relay->qemu.open)
            return error_set(err, ERROR_QEMU, "QEMU ended the stream at its beginning");
        if (fd_wait(relay->qemu.held.socket, POLLIN, relay->stop_fd, DEADLINE_NEVER, err) < 0 ||
            pass_out(relay, err) < 0)
            return -1;
    }
    return 0;
}

/* A block into QEMU's bytes; all of them are in its socket when it returns. */
static int decode(struct relay *relay, const struct block *block, struct error **err)
{
    if (is_number(block->kind))
        return take_number(relay, block, err);
    if (!relay->source && fault_point(FAULT_DESTINATION_BYTES, err) < 0)
        return -1;
    if (!relay->source)
        return decoder_take(relay->decoder, block, err);
    if (block->kind == RELAY_BACK)
        return write_to_qemu(relay, block->data, block->size, err);
    return encoder_answer(relay->encoder, block, err);
}

/* --- the thread --- */

/* END may go, and nothing comes behind it. */
static int send_end(struct relay *relay, struct error **err)
{
    relay->end_sent = true;
    if (emit_number(relay, RELAY_END, relay->qemu.taken, err) < 0 ||
        link_flush(relay->link, relay->stop_fd, DEADLINE_NEVER, err) < 0)
        return -1;
    set_flag(relay, &relay->status.ended);
    return fault_point(FAULT_SOURCE_END_AFTER, err);
}

int relay_take_merged(void *context, const uint8_t *bytes, size_t size, struct error **err)
{
    struct relay *relay = context;
    relay->qemu.taken += size;
    if (encode(relay, bytes, size, err) < 0)
        return -1;
    count(relay, size);
    return 0;
}

static int read_qemu(struct relay *relay, struct error **err)
{
    if (relay->channels)
        return relay_channels_turn(relay->channels, &relay->qemu.open, err);
    ssize_t got = relay_qemu_read(&relay->qemu, relay->buffer, RELAY_PIECE, err);
    if (got <= 0)
        return (int)got;
    if (relay->placer)
        return_path_see(&relay->answers, relay->buffer, (size_t)got);
    if (encode(relay, relay->buffer, (size_t)got, err) < 0 ||
        (relay->source && relay->post_copy && encoder_flush(relay->encoder, err) < 0))
        return -1;
    if (relay->source)
        count(relay, (size_t)got);
    return 0;
}

/* QEMU has bytes for the peer, or closed its end. */
static int pass_out(struct relay *relay, struct error **err)
{
    if (read_qemu(relay, err) < 0)
        return -1;
    if (relay->qemu.open || !relay->source)
        return 0;
    if (encoder_finish(relay->encoder, err) < 0)
        return -1;
    set_flag(relay, &relay->status.complete);
    return 0;
}

/* Everything that is here in order. */
static int pass_in(struct relay *relay, struct error **err)
{
    for (;;) {
        CLEANUP_FREE struct block *block = NULL;
        int got = link_receive(relay->link, &block, relay->stop_fd, 0, err);
        if (got <= 0)
            return got;
        if (decode(relay, block, err) < 0)
            return error_prefix(err, "stream from the peer");
    }
}

/* May more come from QEMU? If not, it waits, and sees a slower network. */
static bool has_room(const struct relay *relay)
{
    struct pollfd room = {.fd = link_room_fd(relay->link), .events = POLLIN};
    return poll(&room, 1, 0) > 0;
}

/* How long to wait for anything, milliseconds: for ever, unless a part of a window might go. */
static int turn_wait(const struct relay *relay, bool room)
{
    if (!relay->source || !room || !encoder_partial(relay->encoder))
        return -1;
    return relay->urgent || encoder_idle(relay->encoder) ? 0 : PARTIAL_MS;
}

static void note_scarce(struct relay *relay)
{
    LOCK_SCOPE(&relay->lock);
    relay->status.scarce = true;
}

/* Every moment counts, and RAM at the other end may not be what was sent for much longer. */
static int hurry(struct relay *relay, struct error **err)
{
    if (relay->hurries)
        return 0;
    relay->hurries = true;
    return encoder_urgent(relay->encoder, true, err);
}

/* Source: what is due between two looks at QEMU. `waited`: QEMU had to, for the link's sake. */
static int tend_encoder(struct relay *relay, bool waited, bool quiet, struct error **err)
{
    double rate;
    bool scarce;
    relay->pace.far = relay->far && !relay->urgent;
    if (relay_pace_look(&relay->pace, waited, encoder_emitted(relay->encoder), relay->link, &rate,
                        &scarce)) {
        encoder_link(relay->encoder, rate, scarce);
        if (scarce)
            note_scarce(relay);
        link_limit(relay->link,
                   relay->post_copy ? relay->pace.post_copy_max : relay->pace.under_way_max);
    }
    if (relay->keeps)
        encoder_keep(relay->encoder);
    if (relay->urgent && hurry(relay, err) < 0)
        return -1;
    if (quiet && (!waited || relay->urgent) && encoder_partial(relay->encoder))
        return encoder_push(relay->encoder, err);
    return 0;
}

/* Destination: what it knows of the guest's pages goes to the source as it becomes known. */
static int send_filter(struct relay *relay, struct error **err)
{
    size_t size;
    CLEANUP_FREE uint8_t *part = dictionary_next_part(relay->dictionary, &size);
    return part ? emit(relay, STREAM_FILTER, part, size, err) : 0;
}

/* Destination: the most memory that the stream has taken here. */
static int tell_memory(struct relay *relay, struct error **err)
{
    const struct link_status link = link_status(relay->link);
    uint64_t most = decoder_memory(relay->decoder) + link.memory_peak;
    int64_t now_ns = clock_now_ns();
    if (most == relay->memory_told ||
        (!relay->status.ended && now_ns - relay->memory_told_ns < TELL_MEMORY_NS))
        return 0;
    relay->memory_told = most;
    relay->memory_told_ns = now_ns;
    return emit_number(relay, RELAY_MEMORY, most, err);
}

/* Source, at the commit point of post-copy: what QEMU says from here on outlives this agent. */
static int begin_spool(struct relay *relay, struct error **err)
{
    size_t held;
    if (hurry(relay, err) < 0 || encoder_flush(relay->encoder, err) < 0)
        return -1;
    const uint8_t *bytes = encoder_held(relay->encoder, &held);
    if (emit_number(relay, RELAY_SPOOL, relay->qemu.taken - held, err) < 0 ||
        relay_qemu_spool_from(&relay->qemu, bytes, held, err) < 0)
        return -1;
    link_limit(relay->link, relay->pace.post_copy_max);
    set_flag(relay, &relay->status.spooled);
    return 0;
}

static bool spool_due(const struct relay *relay)
{
    return relay->source && relay->post_copy && !relay->qemu.from_spooled && relay->qemu.open &&
           held_has_spools(&relay->qemu.held);
}

/* Readable when QEMU has something to say. */
static int qemu_fd(const struct relay *relay)
{
    return relay->channels ? relay_channels_fd(relay->channels) : relay->qemu.held.socket;
}

static int relay_turn(struct relay *relay, struct error **err)
{
    bool room = !relay->qemu.open || has_room(relay);
    bool more = relay_qemu_has_more(&relay->qemu);
    bool ready = relay->qemu.open && room && !(relay->source && encoder_full(relay->encoder));
    struct pollfd polls[] = {
        {.fd = link_receive_fd(relay->link), .events = POLLIN},
        {.fd = ready ? qemu_fd(relay) : -1, .events = POLLIN},
        {.fd = room ? -1 : link_room_fd(relay->link), .events = POLLIN},
        {.fd = link_event_fd(relay->link), .events = POLLIN},
        {.fd = relay->wake_fd, .events = POLLIN},
        {.fd = relay->stop_fd, .events = POLLIN},
        {.fd = relay->dictionary ? dictionary_event_fd(relay->dictionary) : -1, .events = POLLIN},
    };
    if (poll(polls, ARRAY_SIZE(polls), more && room ? 0 : turn_wait(relay, room)) < 0 &&
        errno != EINTR)
        return error_errno(err, errno, "poll");
    if (polls[5].revents)
        return error_set(err, ERROR_CANCELLED, "stopped");
    fd_event_clear(relay->wake_fd);
    if (polls[3].revents) {
        fd_event_clear(link_event_fd(relay->link));
        fd_event_signal(relay->event_fd);
    }
    if (polls[0].revents &&
        (pass_in(relay, err) < 0 || (!relay->source && tell_memory(relay, err) < 0)))
        return -1;
    if (polls[6].revents && send_filter(relay, err) < 0)
        return -1;
    if ((polls[1].revents || (more && room)) && pass_out(relay, err) < 0)
        return -1;
    if (spool_due(relay) && begin_spool(relay, err) < 0)
        return -1;
    if (relay->source && relay->qemu.open && tend_encoder(relay, !room, !polls[1].revents, err) < 0)
        return -1;
    if (relay->source && relay->committed && !relay->qemu.open && !relay->end_sent)
        return send_end(relay, err);
    return 0;
}

/*
 * What QEMU still says goes nowhere. It must be read all the same: QEMU has its big lock while it
 * writes the last bytes, and one whose socket is full answers nobody, not even a cancel.
 */
static void discard(struct relay *relay)
{
    for (;;) {
        struct pollfd polls[] = {
            {.fd = relay->qemu.open ? qemu_fd(relay) : -1, .events = POLLIN},
            {.fd = relay->quit_fd, .events = POLLIN},
        };
        if (poll(polls, ARRAY_SIZE(polls), -1) < 0 && errno != EINTR)
            return;
        if (polls[1].revents)
            return;
        if (!polls[0].revents)
            continue;
        if (relay->channels) {
            relay_channels_drop(relay->channels, &relay->qemu.open);
            continue;
        }
        ssize_t got = read(relay->qemu.held.socket, relay->buffer, RELAY_PIECE);
        if (got == 0 || (got < 0 && errno != EINTR && errno != EAGAIN))
            relay->qemu.open = false;
    }
}

void *relay_run(void *argument)
{
    struct relay *relay = argument;
    struct error *error = NULL;
    while (relay_turn(relay, &error) == 0)
        ;
    pthread_mutex_lock(&relay->lock);
    /* After END nothing more is due: the other end stopping the link is then how it ends. */
    relay->status.failed = !relay->status.ended;
    relay->error = error;
    pthread_mutex_unlock(&relay->lock);
    fd_event_signal(relay->event_fd);
    if (relay->source && !relay->post_copy) /* post-copy's bytes are needed for its recovery */
        discard(relay);
    return NULL;
}
