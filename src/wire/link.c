/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The link as its user sees it. link_slot.c makes connections and makes them again, link_serve.c
 * carries blocks over one, link_queue.c knows which block is where.
 *
 * Theory of operation. Each connection has a thread, since a TLS session belongs to one. They share
 * one queue of blocks to send: whichever has room in its socket takes the next one. A block stays
 * in memory until the other end's *user* has taken it, so the acknowledgement is also what bounds
 * the receiver's memory: a sender never has more on the way than the window it was told.
 *
 * When a connection breaks, nobody knows which of its last blocks arrived. Both ends close it
 * before either tells the other what it has: with FRAME_RESUME when the same slot connects again,
 * or, so that the others can carry on meanwhile, with FRAME_LOST and FRAME_HAVE on one of them.
 * Only then are the missing ones queued again. So no block is sent that the other end has.
 *
 * Connections of a slot are numbered by their generation. Only a higher one takes the place of
 * another, and a session number, which the source makes up for each link, keeps out a source that
 * has lost its memory.
 */
#include "wire/link.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "wire/link_internal.h"

/* Bytes that may wait for a connection: what is queued here adds to downtime, and too little
 * leaves a connection idle while the next block is made. */
#define UNSENT_MAX        ((size_t)1024 * 1024)
#define UNSENT_MAX_URGENT ((size_t)256 * 1024)
/* The same in the kernel, of each connection; tls_socket.c has the reason for the first. */
#define KERNEL_UNSENT_MAX        (256 * 1024)
#define KERNEL_UNSENT_MAX_URGENT (16 * 1024)
/* How often the rate is taken. */
#define RATE_EACH_NS (100 * NS_PER_MS)
/* Consumed bytes that are acknowledged at once, though more is here to be taken. */
#define ACK_EACH_FRACTION 8
/* One turn of a sender may add this many blocks before it looks for room again. */
#define ROOM_BLOCKS 64

/* --- inside; the caller holds the lock --- */

bool link_lives(const struct link *link)
{
    return !link->stopping && !link->error;
}

void link_wake_all(struct link *link)
{
    for (unsigned i = 0; i < link->options.connections; i++)
        fd_event_signal(link->slots[i].wake_fd);
}

static void wake(struct slot *slot)
{
    if (!slot->idle)
        return;
    slot->idle = false;
    fd_event_signal(slot->wake_fd);
}

void link_wake_sender(struct link *link)
{
    for (unsigned i = 0; i < link->options.connections; i++) {
        struct slot *slot = &link->slots[link->wake_next++ % link->options.connections];
        if (slot->alive && slot->idle) {
            wake(slot);
            return;
        }
    }
}

static bool has_room(const struct link *link)
{
    size_t unsent_max = link->urgent ? UNSENT_MAX_URGENT : UNSENT_MAX;
    if (link->in_flight_max && outbox_bytes(&link->out) >= link->in_flight_max)
        return false;
    return link->out.unsent < unsent_max &&
           outbox_bytes(&link->out) + QUEUE_WINDOW_MIN <= link->options.memory_limit &&
           link->out.next - link->out.acked + ROOM_BLOCKS <= FRAME_WINDOW;
}

void link_queues_changed(struct link *link)
{
    size_t held = outbox_bytes(&link->out) + link->in.bytes;
    if (held > link->memory_peak)
        link->memory_peak = held;
    bool room = has_room(link) || link->error;
    if (room && !link->room)
        fd_event_signal(link->room_fd);
    else if (!room && link->room)
        fd_event_clear(link->room_fd);
    link->room = room;
}

void link_fail(struct link *link, struct error *error)
{
    if (link->error) {
        error_free(error);
        return;
    }
    link->error = error;
    link_queues_changed(link);
    fd_event_signal(link->receive_fd);
    fd_event_signal(link->flush_fd);
    fd_event_signal(link->event_fd);
    fd_event_signal(link->stop_fd); /* ends attempts to connect */
    link_wake_all(link);
}

void link_check_lost(struct link *link, int64_t now_ns)
{
    if (link->alive || !link_lives(link) ||
        now_ns - link->lost_since_ns < link->options.lost_ms * NS_PER_MS)
        return;
    struct error *error = NULL;
    error_set(&error, ERROR_UNREACHABLE, "%s: no connection for %g s%s%s", link->peer,
              (double)link->options.lost_ms / 1000, link->trouble ? ": " : "",
              link->trouble ? link->trouble->message : "");
    error_hint(&error, "check that mudanzad runs there and the network between the hosts; "
                       "peer-lost in mudanzad.conf says how long a lost host is waited for");
    link_fail(link, error);
}

static void take_rate(struct link *link)
{
    int64_t now_ns = clock_now_ns(), passed_ns = now_ns - link->rate_ns;
    if (passed_ns < RATE_EACH_NS)
        return;
    uint64_t bytes = link->out.acked_end - link->rate_bytes;
    uint64_t rate = (uint64_t)((double)bytes * (double)NS_PER_S / (double)passed_ns);
    link->rate = link->rate ? (link->rate * 3 + rate) / 4 : rate;
    link->rate_bytes = link->out.acked_end;
    link->rate_ns = now_ns;
}

int link_acked(struct link *link, uint64_t number, struct error **err)
{
    bool was_held = link->out.acked < number;
    if (outbox_ack(&link->out, number, err) < 0)
        return -1;
    if (!was_held)
        return 0;
    take_rate(link);
    if (link->out.acked == link->out.next)
        fd_event_signal(link->flush_fd);
    if (link->out.scan < link->out.next)
        link_wake_sender(link); /* the window has moved */
    link_queues_changed(link);
    return 0;
}

static void tune(const struct link *link, int fd)
{
    int unsent = link->urgent ? KERNEL_UNSENT_MAX_URGENT : KERNEL_UNSENT_MAX;
    setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof(unsent));
}

void link_slot_up(struct slot *slot, int fd)
{
    struct link *link = slot->link;
    slot->alive = true;
    slot->ack_due = link->in.taken != slot->told; /* taken while nothing was alive to say so */
    slot->fd = fd;
    link->alive++;
    link->lost_since_ns = 0;
    tune(link, fd);
    fd_event_signal(link->event_fd);
}

/* An acknowledgement that was due on a broken connection is due on another. */
static void move_ack(struct link *link)
{
    for (unsigned i = 0; i < link->options.connections; i++)
        if (link->slots[i].alive) {
            link->slots[i].ack_due = true;
            wake(&link->slots[i]);
            return;
        }
}

void link_slot_down(struct slot *slot)
{
    struct link *link = slot->link;
    if (slot->alive) {
        link->alive--;
        link->cuts += link_lives(link); /* else that is how it ends */
        if (!link->alive)
            link->lost_since_ns = clock_now_ns();
        fd_event_signal(link->event_fd);
    }
    if (outbox_uses(&link->out, slot->index, slot->serving)) {
        slot->lost = slot->serving;
        slot->lost_carrier = 0;
    }
    slot->alive = slot->drop = slot->idle = slot->ack_due = false;
    slot->serving = 0;
    memset(slot->have_due, 0, sizeof(slot->have_due));
    for (unsigned i = 0; i < link->options.connections; i++)
        if (link->slots[i].lost_carrier == slot->index + 1)
            link->slots[i].lost_carrier = 0;
    move_ack(link);
    link_wake_all(link); /* questions to ask, answers that waited for this, the time of loss */
}

int link_settle(struct slot *slot, uint32_t generation, const struct frame_have *have,
                struct error **err)
{
    struct link *link = slot->link;
    if (outbox_settle(&link->out, slot->index, generation, have, err) < 0 ||
        link_acked(link, have->taken, err) < 0)
        return -1;
    if (generation >= slot->lost)
        slot->lost = 0;
    for (unsigned i = 0; i < link->options.connections; i++)
        wake(&link->slots[i]);
    link_queues_changed(link);
    return 0;
}

/* --- making and ending --- */

static void link_free(struct link *link)
{
    for (unsigned i = 0; i < link->options.connections; i++) {
        tls_close(link->slots[i].next_tls);
        if (link->slots[i].wake_fd >= 0)
            close(link->slots[i].wake_fd);
    }
    const int fds[] = {link->stop_fd, link->event_fd, link->receive_fd, link->room_fd,
                       link->flush_fd};
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        if (fds[i] >= 0)
            close(fds[i]);
    outbox_clear(&link->out);
    inbox_clear(&link->in);
    pthread_mutex_destroy(&link->lock);
    error_free(link->error);
    error_free(link->trouble);
    free(link->vm);
    free(link->peer);
    free(link);
}

static int start_slots(struct link *link, struct error **err)
{
    for (unsigned i = 0; i < link->options.connections; i++) {
        int failed = pthread_create(&link->slots[i].thread, NULL, link_slot_run, &link->slots[i]);
        if (failed)
            return error_errno(err, failed, "link thread");
        link->slots_started++;
    }
    return 0;
}

static int event_fd(void)
{
    return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

static int open_fds(struct link *link, struct error **err)
{
    bool good = true;
    int *const fds[] = {&link->stop_fd, &link->event_fd, &link->receive_fd, &link->room_fd,
                        &link->flush_fd};
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        good &= (*fds[i] = event_fd()) >= 0;
    for (unsigned i = 0; i < link->options.connections; i++)
        good &= (link->slots[i].wake_fd = event_fd()) >= 0;
    return good ? 0 : error_set(err, ERROR_SYSTEM, "link: no descriptors left");
}

/* The destination takes the source's over. */
static int make_session(struct link *link, struct error **err)
{
    if (link->source && getrandom(link->session, FRAME_ID_SIZE, 0) != FRAME_ID_SIZE)
        return error_errno(err, errno, "random numbers");
    pthread_mutex_lock(&link->lock);
    link_queues_changed(link); /* there is room */
    pthread_mutex_unlock(&link->lock);
    return 0;
}

static struct link *link_new(const struct link_options *options, link_connect *connect,
                             void *context, struct error **err)
{
    struct link *link = calloc(1, sizeof(*link));
    if (!link) {
        error_set(err, ERROR_SYSTEM, "out of memory");
        return NULL;
    }
    link->options = *options;
    if (link->options.connections > FRAME_SLOTS_MAX)
        link->options.connections = FRAME_SLOTS_MAX;
    if (link->options.connections == 0)
        link->options.connections = 1;
    if (link->options.memory_limit < 2 * QUEUE_WINDOW_MIN)
        link->options.memory_limit = 2 * QUEUE_WINDOW_MIN;
    link->vm = text_copy(options->vm);
    link->peer = text_copy(options->peer);
    link->options.vm = link->vm;
    link->options.peer = link->peer;
    link->source = connect != NULL;
    link->connect = connect;
    link->context = context;
    link->rate_ns = link->lost_since_ns = clock_now_ns();
    pthread_mutex_init(&link->lock, NULL);
    for (unsigned i = 0; i < link->options.connections; i++) {
        link->slots[i].link = link;
        link->slots[i].index = i;
    }
    if (open_fds(link, err) == 0 && outbox_init(&link->out, err) == 0 &&
        inbox_init(&link->in, link->options.memory_limit, err) == 0 &&
        make_session(link, err) == 0 && start_slots(link, err) == 0)
        return link;
    link_stop(link);
    return NULL;
}

struct link *link_new_source(const struct link_options *options, link_connect *connect,
                             void *context, struct error **err)
{
    return link_new(options, connect, context, err);
}

struct link *link_new_destination(const struct link_options *options, struct error **err)
{
    return link_new(options, NULL, NULL, err);
}

void link_renew(struct link *link)
{
    LOCK_SCOPE(&link->lock);
    for (unsigned i = 0; i < link->options.connections; i++) {
        link->slots[i].drop = link->slots[i].serving != 0;
        fd_event_signal(link->slots[i].wake_fd);
    }
}

void link_stop(struct link *link)
{
    if (!link)
        return;
    pthread_mutex_lock(&link->lock);
    link->stopping = true;
    fd_event_signal(link->stop_fd);
    link_wake_all(link);
    pthread_mutex_unlock(&link->lock);
    for (unsigned i = 0; i < link->slots_started; i++)
        pthread_join(link->slots[i].thread, NULL);
    if (link->in.repeated)
        log_warning(link->vm, "%s: %" PRIu64 " blocks came although they were here", link->peer,
                    link->in.repeated);
    link_free(link);
    block_memory_return();
}

/* --- sending --- */

/* May it be queued? The queue takes one block whatever its size, so that each can go. */
static bool fits(const struct link *link, const struct block *block)
{
    size_t held = outbox_bytes(&link->out);
    return !outbox_full(&link->out) &&
           (!held || held + block->size + QUEUE_OVERHEAD <= link->options.memory_limit);
}

/* 1: it is queued. 0: there is no room. -1: the link has failed. */
static int try_send(struct link *link, struct block *block, struct error **err)
{
    LOCK_SCOPE(&link->lock);
    if (link->error)
        return error_copy(err, link->error);
    if (!fits(link, block))
        return 0;
    outbox_push(&link->out, block);
    link_queues_changed(link);
    link_wake_sender(link);
    return 1;
}

int link_send(struct link *link, struct block *block, int cancel_fd, struct error **err)
{
    for (;;) {
        int sent = try_send(link, block, err);
        if (sent > 0)
            return 0;
        if (sent < 0 || fd_wait(link->room_fd, POLLIN, cancel_fd, DEADLINE_NEVER, err) < 0) {
            free(block);
            return -1;
        }
    }
}

int link_flush(struct link *link, int cancel_fd, int64_t deadline_ns, struct error **err)
{
    for (;;) {
        fd_event_clear(link->flush_fd);
        pthread_mutex_lock(&link->lock);
        bool done = link->out.acked == link->out.next;
        int failed = !done && link->error ? error_copy(err, link->error) : 0;
        pthread_mutex_unlock(&link->lock);
        if (done || failed < 0)
            return failed;
        if (fd_wait(link->flush_fd, POLLIN, cancel_fd, deadline_ns, err) < 0)
            return error_prefix(err, "%s", link->peer);
    }
}

/* --- receiving --- */

/* What was taken is told when it is much, or when nothing more is here. */
static void acknowledge(struct link *link, uint32_t size)
{
    link->in.unacked += size;
    if (inbox_ready(&link->in) && link->in.unacked < link->in.window / ACK_EACH_FRACTION)
        return;
    link->in.unacked = 0;
    struct slot *slot = &link->slots[link->data_slot];
    if (!slot->alive) {
        move_ack(link);
        return;
    }
    slot->ack_due = true;
    wake(slot);
}

static int try_receive(struct link *link, struct block **block, struct error **err)
{
    LOCK_SCOPE(&link->lock);
    if (!inbox_ready(&link->in)) {
        if (link->error)
            return error_copy(err, link->error);
        fd_event_clear(link->receive_fd);
        return 0;
    }
    *block = inbox_take(&link->in);
    if (!inbox_ready(&link->in) && !link->error)
        fd_event_clear(link->receive_fd);
    acknowledge(link, (*block)->size);
    return 1;
}

int link_receive(struct link *link, struct block **block, int cancel_fd, int64_t deadline_ns,
                 struct error **err)
{
    for (;;) {
        int got = try_receive(link, block, err);
        if (got != 0)
            return got;
        CLEANUP_ERROR struct error *problem = NULL;
        if (fd_wait(link->receive_fd, POLLIN, cancel_fd, deadline_ns, &problem) < 0)
            return problem->kind == ERROR_TIMEOUT ? 0 : error_move(err, STEAL(problem));
    }
}

/* --- the rest --- */

int link_room_fd(const struct link *link)
{
    return link->room_fd;
}

int link_receive_fd(const struct link *link)
{
    return link->receive_fd;
}

int link_event_fd(const struct link *link)
{
    return link->event_fd;
}

void link_urgent(struct link *link, bool urgent)
{
    LOCK_SCOPE(&link->lock);
    if (link->urgent == urgent)
        return;
    link->urgent = urgent;
    for (unsigned i = 0; i < link->options.connections; i++)
        if (link->slots[i].alive)
            tune(link, link->slots[i].fd);
    link_queues_changed(link);
}

void link_limit(struct link *link, size_t in_flight_max)
{
    LOCK_SCOPE(&link->lock);
    link->in_flight_max = in_flight_max;
    link_queues_changed(link);
}

struct link_status link_status(struct link *link)
{
    LOCK_SCOPE(&link->lock);
    return (struct link_status){
        .wire_out = link->wire_out,
        .wire_in = link->wire_in,
        .resent = link->out.resent,
        .repeated = link->in.repeated,
        .connections = link->alive,
        .cuts = link->cuts,
        .lost_since_ns = link->lost_since_ns,
        .rtt_ns = link->rtt_ns,
        .queued = outbox_bytes(&link->out),
        .memory_peak = link->memory_peak,
        .rate = link->rate,
        .network_ns = link->network_ns,
        .failed = link->error != NULL,
    };
}

int link_error(struct link *link, struct error **err)
{
    LOCK_SCOPE(&link->lock);
    if (link->error)
        return error_copy(err, link->error);
    return link->trouble && !link->alive
               ? error_set(err, link->trouble->kind, "%s", link->trouble->message)
               : 0;
}
