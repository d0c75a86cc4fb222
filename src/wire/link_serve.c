/* SPDX-License-Identifier: Apache-2.0 */
/* One connection at work: frames out, frames in, heartbeats, and the end. */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "base/clock.h"
#include "base/fd.h"
#include "wire/link_internal.h"

/* Heartbeats in the time after which silence counts as death. */
#define PINGS_IN_SILENCE 4
/* After so many bytes in one direction the other one gets its turn. */
#define TURN_BYTES ((size_t)1024 * 1024)
/* At the end: for what was begun, and the goodbye. */
#define GOODBYE_MS 500

struct connection {
    struct slot *slot;
    struct link *link;
    struct tls *tls;
    int64_t heard_ns, pinged_ns;
    int64_t peer_ns; /* how long the other end had not read, by the last look */
    bool pong_due;
    uint64_t pong;

    /* Going out: `block` itself, or `small`. */
    const uint8_t *out;
    size_t out_size, out_done;
    struct block *block;
    uint64_t number;
    uint8_t small[FRAME_HEADER_SIZE + FRAME_HAVE_MAX];

    /* Coming in. */
    uint8_t header[FRAME_HEADER_SIZE];
    struct frame_header frame;
    size_t have; /* of the header, then of the payload */
    bool in_payload;
    struct block *in_block; /* FRAME_DATA's */
    uint8_t body[FRAME_HAVE_MAX];
};

/* Rule of the protocol broken, by a peer whose bytes are authentic: no use in trying again. */
static int fail_link(struct connection *c, struct error *problem, struct error **err)
{
    error_prefix(&problem, "%s: stream", c->link->peer);
    error_set(err, problem->kind, "%s", problem->message);
    pthread_mutex_lock(&c->link->lock);
    link_fail(c->link, problem);
    pthread_mutex_unlock(&c->link->lock);
    return -1;
}

/* --- out --- */

static void put_small(struct connection *c, enum frame_type type, uint64_t number, uint32_t length)
{
    const struct frame_header header = {.type = type, .length = length, .number = number};
    frame_encode(&header, c->small);
    c->out = c->small;
    c->out_size = FRAME_HEADER_SIZE + length;
}

/* The other end lost a connection: once it is closed here too, what came over it is known. */
static bool pick_have(struct connection *c)
{
    struct link *link = c->link;
    for (unsigned i = 0; i < link->options.connections; i++) {
        uint32_t generation = c->slot->have_due[i];
        const struct slot *slot = &link->slots[i];
        if (!generation || (slot->serving && slot->serving <= generation))
            continue;
        c->slot->have_due[i] = 0;
        struct frame_have have;
        inbox_have(&link->in, &have);
        put_small(c, FRAME_HAVE, frame_connection(i, generation),
                  frame_encode_have(&have, c->small + FRAME_HEADER_SIZE));
        return true;
    }
    return false;
}

static bool pick_lost(struct connection *c)
{
    struct link *link = c->link;
    for (unsigned i = 0; i < link->options.connections; i++) {
        struct slot *slot = &link->slots[i];
        if (!slot->lost || slot->lost_carrier)
            continue;
        slot->lost_carrier = c->slot->index + 1;
        put_small(c, FRAME_LOST, frame_connection(i, slot->lost), 0);
        return true;
    }
    return false;
}

static bool pick_block(struct connection *c)
{
    struct outbox_entry *entry =
        outbox_take(&c->link->out, c->slot->index, c->slot->serving, &c->number);
    if (!entry)
        return false;
    struct block *block = c->block = entry->block;
    const struct frame_header header = {
        .type = FRAME_DATA, .kind = block->kind, .length = block->size, .number = c->number};
    frame_encode(&header, block->header);
    c->out = block->header;
    c->out_size = FRAME_HEADER_SIZE + block->size;
    link_queues_changed(c->link);
    return true;
}

static bool ping_due(const struct connection *c)
{
    return clock_now_ns() >=
           c->pinged_ns + c->link->options.silence_ms * NS_PER_MS / PINGS_IN_SILENCE;
}

static bool pick_sign_of_life(struct connection *c)
{
    if (c->slot->ack_due) {
        c->slot->ack_due = false;
        put_small(c, FRAME_ACK, c->link->in.taken, 0);
    } else if (c->pong_due) {
        c->pong_due = false;
        put_small(c, FRAME_PONG, c->pong, 0);
    } else if (ping_due(c)) {
        c->pinged_ns = clock_now_ns();
        put_small(c, FRAME_PING, (uint64_t)c->pinged_ns, 0);
    } else {
        return false;
    }
    return true;
}

/* The next frame; what is small goes first. False when there is none: the thread may wait then. */
static bool pick(struct connection *c)
{
    LOCK_SCOPE(&c->link->lock);
    c->out_done = 0;
    bool picked = pick_have(c) || pick_lost(c) || pick_sign_of_life(c) || pick_block(c);
    c->slot->idle = !picked;
    if (picked)
        c->link->wire_out += c->out_size;
    return picked;
}

/* The frame is out, or never will be. */
static void put_down(struct connection *c)
{
    c->out_size = 0;
    if (!c->block)
        return;
    LOCK_SCOPE(&c->link->lock);
    outbox_sent(&c->link->out, STEAL(c->block), c->number);
}

/* Sends until the kernel takes no more, nothing is left, or the turn is over. *want is POLLOUT in
 * the first case. Returns 1 when the turn was over, else 0; -1 on error. */
static int send_frames(struct connection *c, short *want, struct error **err)
{
    for (size_t turn = 0; turn < TURN_BYTES;) {
        if (!c->out_size && !pick(c))
            return 0;
        ssize_t sent =
            tls_try_write(c->tls, c->out + c->out_done, c->out_size - c->out_done, want, err);
        if (sent <= 0)
            return (int)sent;
        turn += (size_t)sent;
        c->out_done += (size_t)sent;
        if (c->out_done == c->out_size)
            put_down(c);
    }
    return 1;
}

/* --- in --- */

static int begin_block(struct connection *c, struct error **err)
{
    struct error *problem = NULL;
    pthread_mutex_lock(&c->link->lock);
    int result = inbox_reserve(&c->link->in, c->frame.number, c->frame.length, &problem);
    pthread_mutex_unlock(&c->link->lock);
    if (result < 0)
        return fail_link(c, problem, err);
    c->in_block = block_new(c->frame.kind, c->frame.length);
    if (c->in_block)
        return 0;
    pthread_mutex_lock(&c->link->lock);
    inbox_release(&c->link->in, c->frame.length);
    pthread_mutex_unlock(&c->link->lock);
    return error_set(err, ERROR_SYSTEM, "%s: out of memory", c->link->peer);
}

static int begin_frame(struct connection *c, struct error **err)
{
    struct error *problem = NULL;
    if (frame_decode(c->header, &c->frame, &problem) < 0)
        return fail_link(c, problem, err);
    c->have = 0;
    c->in_payload = true;
    if (c->frame.type == FRAME_DATA)
        return begin_block(c, err);
    if (c->frame.length <= sizeof(c->body))
        return 0;
    error_set(&problem, ERROR_CORRUPT, "resume in the middle of a connection");
    return fail_link(c, problem, err);
}

static void block_came(struct connection *c)
{
    struct link *link = c->link;
    LOCK_SCOPE(&link->lock);
    bool was_ready = inbox_ready(&link->in);
    inbox_put(&link->in, c->frame.number, STEAL(c->in_block));
    link->data_slot = c->slot->index;
    link_queues_changed(link);
    if (!was_ready && inbox_ready(&link->in))
        fd_event_signal(link->receive_fd);
}

/* The other end's connection broke: this one is of no use either. */
static int other_lost(struct connection *c, struct error **err)
{
    struct link *link = c->link;
    uint32_t index = (uint32_t)(c->frame.number >> 32), generation = (uint32_t)c->frame.number;
    if (index >= link->options.connections)
        return error_set(err, ERROR_CORRUPT, "connection %u of %u is lost", index,
                         link->options.connections);
    struct slot *slot = &link->slots[index];
    c->slot->have_due[index] = generation;
    if (slot->serving && slot->serving <= generation) {
        slot->drop = true;
        fd_event_signal(slot->wake_fd);
    }
    if (link->source && generation > slot->generation)
        return error_set(err, ERROR_CORRUPT, "a connection is lost that there never was");
    if (generation > slot->generation)
        slot->generation = generation; /* it can no longer come */
    return 0;
}

static int other_has(struct connection *c, struct error **err)
{
    struct frame_have have;
    uint32_t index = (uint32_t)(c->frame.number >> 32), generation = (uint32_t)c->frame.number;
    if (frame_decode_have(c->body, c->frame.length, &have, err) < 0)
        return -1;
    if (index >= c->link->options.connections || c->link->slots[index].lost < generation)
        return 0; /* the slot is back already, and knows */
    return link_settle(&c->link->slots[index], generation, &have, err);
}

/* A whole frame that is no block. The caller holds the lock. */
static int take_small(struct connection *c, struct error **err)
{
    switch (c->frame.type) {
    case FRAME_ACK:
        return link_acked(c->link, c->frame.number, err);
    case FRAME_PING:
        c->pong_due = true;
        c->pong = c->frame.number;
        return 0;
    case FRAME_PONG:
        if (c->frame.number > (uint64_t)c->pinged_ns)
            return error_set(err, ERROR_CORRUPT, "an answer to a heartbeat that was not sent");
        c->link->rtt_ns = clock_now_ns() - (int64_t)c->frame.number;
        return 0;
    case FRAME_LOST:
        return other_lost(c, err);
    case FRAME_HAVE:
        return other_has(c, err);
    case FRAME_BYE:
        return error_set(err, ERROR_PEER, "ended by the other side");
    default:
        return error_set(err, ERROR_CORRUPT, "resume in the middle of a connection");
    }
}

static int frame_came(struct connection *c, struct error **err)
{
    c->have = 0;
    c->in_payload = false;
    if (c->frame.type == FRAME_DATA) {
        block_came(c);
        return 0;
    }
    struct error *problem = NULL;
    pthread_mutex_lock(&c->link->lock);
    int result = take_small(c, &problem);
    pthread_mutex_unlock(&c->link->lock);
    return result < 0 ? fail_link(c, problem, err) : 0;
}

/* Where the next bytes go, and how many of them there are. */
static uint8_t *in_place(struct connection *c, size_t *left)
{
    if (!c->in_payload) {
        *left = FRAME_HEADER_SIZE - c->have;
        return c->header + c->have;
    }
    *left = c->frame.length - c->have;
    return (c->in_block ? c->in_block->data : c->body) + c->have;
}

/* Takes what is here, but no more than a turn's. Returns 1 when more may be here, else 0; -1. */
static int take_frames(struct connection *c, short *want, struct error **err)
{
    size_t turn = 0;
    while (turn < TURN_BYTES) {
        size_t left;
        uint8_t *place = in_place(c, &left);
        ssize_t got = left ? tls_try_read(c->tls, place, left, want, err) : 0;
        if (got < 0)
            return -1;
        if (left && got == 0)
            break;
        c->have += (size_t)got;
        turn += (size_t)got;
        if ((size_t)got == left && (c->in_payload ? frame_came(c, err) : begin_frame(c, err)) < 0)
            return -1;
    }
    if (!turn)
        return 0;
    c->heard_ns = clock_now_ns();
    LOCK_SCOPE(&c->link->lock);
    c->link->wire_in += turn;
    return turn >= TURN_BYTES;
}

/* --- the loop --- */

/* 1: it goes on. 0: it is to end. */
static int may_go_on(struct connection *c)
{
    LOCK_SCOPE(&c->link->lock);
    return link_lives(c->link) && !c->slot->drop;
}

/* The kernel took nothing more since then. The other end may have been why: its window was closed.
 */
static void count_wait(struct connection *c, int64_t since_ns)
{
    int64_t peer_ns = link_tcp_peer_ns(tls_fd(c->tls));
    int64_t network_ns = clock_now_ns() - since_ns - (peer_ns - c->peer_ns);
    c->peer_ns = peer_ns;
    LOCK_SCOPE(&c->link->lock);
    if (network_ns > 0 && c->link->alive)
        c->link->network_ns += network_ns / c->link->alive;
}

static int wait_turn(struct connection *c, short want, bool more, struct error **err)
{
    int64_t begin_ns = clock_now_ns();
    int64_t silence_ns = c->link->options.silence_ms * NS_PER_MS;
    int64_t dead_ns = c->heard_ns + silence_ns;
    int64_t ping_ns = c->pinged_ns + silence_ns / PINGS_IN_SILENCE;
    struct pollfd polls[] = {
        {.fd = tls_fd(c->tls), .events = (short)(POLLIN | want)},
        {.fd = c->slot->wake_fd, .events = POLLIN},
    };
    /* While the kernel takes nothing, a heartbeat that is due waits for that, too. */
    int64_t until_ns = ping_ns < dead_ns && !(want & POLLOUT) ? ping_ns : dead_ns;
    if (poll(polls, ARRAY_SIZE(polls), more ? 0 : clock_poll_ms(until_ns)) < 0 && errno != EINTR)
        return error_errno(err, errno, "poll");
    if (want & POLLOUT)
        count_wait(c, begin_ns);
    fd_event_clear(c->slot->wake_fd);
    /* What is here is read before anybody is called silent: it may be us who stood still. */
    if (polls[0].revents || clock_now_ns() < dead_ns)
        return 0;
    return error_set(err, ERROR_TIMEOUT, "nothing came for %g s",
                     (double)c->link->options.silence_ms / 1000);
}

static int work(struct connection *c, struct error **err)
{
    while (may_go_on(c)) {
        short in_want = 0, out_want = 0;
        int more_in = take_frames(c, &in_want, err);
        int more_out = more_in < 0 ? -1 : send_frames(c, &out_want, err);
        if (more_out < 0)
            return -1;
        short want = (short)(out_want | (in_want & POLLOUT));
        if (wait_turn(c, want, more_in || more_out, err) < 0)
            return -1;
    }
    return 0;
}

/* The link is over here: the other end need not wait for a connection, but must know what was
 * taken. */
static void say_bye(struct connection *c)
{
    pthread_mutex_lock(&c->link->lock);
    bool ends = c->link->stopping || c->link->error;
    pthread_mutex_unlock(&c->link->lock);
    int64_t deadline_ns = clock_deadline_ns(GOODBYE_MS);
    if (!ends || (c->out_size && tls_write(c->tls, c->out + c->out_done, c->out_size - c->out_done,
                                           -1, deadline_ns, NULL) < 0))
        return;
    put_down(c);
    pthread_mutex_lock(&c->link->lock);
    put_small(c, FRAME_ACK, c->link->in.taken, 0);
    pthread_mutex_unlock(&c->link->lock);
    const struct frame_header bye = {.type = FRAME_BYE};
    frame_encode(&bye, c->small + FRAME_HEADER_SIZE);
    tls_write(c->tls, c->small, (size_t)2 * FRAME_HEADER_SIZE, -1, deadline_ns, NULL);
    c->out_size = 0;
}

int link_serve(struct slot *slot, struct tls *tls, struct error **err)
{
    struct connection c = {.slot = slot, .link = slot->link, .tls = tls};
    c.heard_ns = c.pinged_ns = clock_now_ns();
    int result = work(&c, err);
    if (result == 0)
        say_bye(&c);
    put_down(&c);
    if (c.in_block) {
        pthread_mutex_lock(&c.link->lock);
        inbox_release(&c.link->in, c.frame.length);
        pthread_mutex_unlock(&c.link->lock);
        free(c.in_block);
    }
    return result;
}
