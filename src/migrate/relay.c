/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The relay: QEMU's migration stream between its socket and a link.
 *
 * encode() and decode() are the one place that knows what is inside the blocks.
 */
#include "migrate/relay.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"

/* One read from QEMU. Larger pieces gain nothing measurable; smaller ones cost system calls. */
#define RELAY_PIECE ((size_t)256 * 1024)
/* What an agent that dies in post-copy may take with it, but for a piece: as little as a fast
 * network needs. */
#define POST_COPY_IN_FLIGHT ((size_t)256 * 1024)

struct relay {
    int qemu_fd;
    struct link *link;
    bool source;
    bool qemu_open; /* QEMU may still send */
    bool end_sent;
    int event_fd, wake_fd, stop_fd, quit_fd; /* stop: no more of the link; quit: no more at all */
    atomic_bool committed, post_copy;
    pthread_t thread;
    pthread_mutex_t lock;
    struct relay_status status; /* guarded by lock; but for `link` */
    struct error *error;        /* guarded by lock */
    uint8_t buffer[RELAY_PIECE];
};

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

static int emit(struct relay *relay, enum relay_block kind, const void *bytes, size_t size,
                struct error **err)
{
    struct block *block = block_new((uint8_t)kind, (uint32_t)size);
    if (!block)
        return error_set(err, ERROR_SYSTEM, "out of memory");
    memcpy(block->data, bytes, size);
    return link_send(relay->link, block, relay->stop_fd, err);
}

/* --- what is inside the blocks --- */

/* QEMU's bytes into blocks; all of them are in the link when it returns. */
static int encode(struct relay *relay, const uint8_t *bytes, size_t size, struct error **err)
{
    return emit(relay, RELAY_BYTES, bytes, size, err);
}

static int pass_out(struct relay *relay, struct error **err);

/* While QEMU takes nothing, what it has to say must not wait: it may be what it waits for. */
static int await_qemu(struct relay *relay, struct error **err)
{
    struct pollfd polls[] = {
        {.fd = relay->qemu_fd,
         .events = (short)(POLLOUT | (!relay->source && relay->qemu_open ? POLLIN : 0))},
        {.fd = relay->stop_fd, .events = POLLIN},
    };
    if (poll(polls, ARRAY_SIZE(polls), -1) < 0 && errno != EINTR)
        return error_errno(err, errno, "poll");
    if (polls[1].revents)
        return error_set(err, ERROR_CANCELLED, "stopped");
    return polls[0].revents & POLLIN ? pass_out(relay, err) : 0;
}

static int write_to_qemu(struct relay *relay, const uint8_t *bytes, size_t size, struct error **err)
{
    while (size) {
        ssize_t put = send(relay->qemu_fd, bytes, size, MSG_NOSIGNAL);
        if (put >= 0) {
            bytes += put;
            size -= (size_t)put;
            if (!relay->source)
                count(relay, (size_t)put);
        } else if (errno == EAGAIN) {
            if (await_qemu(relay, err) < 0)
                return -1;
        } else if (errno != EINTR) {
            return error_errno(err, errno, "QEMU took no more of the stream");
        }
    }
    return 0;
}

/* Every byte before END is in QEMU's socket by now: blocks come in order. */
static int take_end(struct relay *relay, const struct block *block, struct error **err)
{
    uint64_t length;
    if (relay->source || block->size != sizeof(length))
        return error_set(err, ERROR_CORRUPT, "end of the stream with %u bytes", block->size);
    memcpy(&length, block->data, sizeof(length));
    length = be64toh(length);
    uint64_t have = relay_status(relay).stream_bytes;
    if (length != have)
        return error_set(err, ERROR_CORRUPT,
                         "the stream has %" PRIu64 " bytes, but %" PRIu64 " came", length, have);
    set_flag(relay, &relay->status.ended);
    return 0;
}

/* A block into QEMU's bytes; all of them are in its socket when it returns. */
static int decode(struct relay *relay, const struct block *block, struct error **err)
{
    switch (block->kind) {
    case RELAY_BYTES:
        if (!relay->source && fault_point(FAULT_DESTINATION_BYTES, err) < 0)
            return -1;
        return write_to_qemu(relay, block->data, block->size, err);
    case RELAY_END:
        return take_end(relay, block, err);
    default:
        return error_set(err, ERROR_CORRUPT, "block of unknown kind %u", block->kind);
    }
}

/* --- the thread --- */

/* END may go, and nothing comes behind it. */
static int send_end(struct relay *relay, struct error **err)
{
    uint64_t length = htobe64(relay_status(relay).stream_bytes);
    relay->end_sent = true;
    if (emit(relay, RELAY_END, &length, sizeof(length), err) < 0 ||
        link_flush(relay->link, relay->stop_fd, DEADLINE_NEVER, err) < 0)
        return -1;
    set_flag(relay, &relay->status.ended);
    return fault_point(FAULT_SOURCE_END_AFTER, err);
}

/* QEMU has bytes for the peer, or closed its end. */
static int pass_out(struct relay *relay, struct error **err)
{
    ssize_t got = read(relay->qemu_fd, relay->buffer, RELAY_PIECE);
    if (got < 0)
        return errno == EINTR || errno == EAGAIN ? 0 : error_errno(err, errno, "reading from QEMU");
    if (got == 0) {
        relay->qemu_open = false;
        if (relay->source)
            set_flag(relay, &relay->status.complete);
        return 0;
    }
    if (encode(relay, relay->buffer, (size_t)got, err) < 0)
        return -1;
    if (relay->source)
        count(relay, (size_t)got);
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

static int relay_turn(struct relay *relay, struct error **err)
{
    bool room = !relay->qemu_open || has_room(relay);
    struct pollfd polls[] = {
        {.fd = link_receive_fd(relay->link), .events = POLLIN},
        {.fd = relay->qemu_open && room ? relay->qemu_fd : -1, .events = POLLIN},
        {.fd = room ? -1 : link_room_fd(relay->link), .events = POLLIN},
        {.fd = link_event_fd(relay->link), .events = POLLIN},
        {.fd = relay->wake_fd, .events = POLLIN},
        {.fd = relay->stop_fd, .events = POLLIN},
    };
    if (poll(polls, ARRAY_SIZE(polls), -1) < 0 && errno != EINTR)
        return error_errno(err, errno, "poll");
    if (polls[5].revents)
        return error_set(err, ERROR_CANCELLED, "stopped");
    fd_event_clear(relay->wake_fd);
    if (polls[3].revents) {
        fd_event_clear(link_event_fd(relay->link));
        fd_event_signal(relay->event_fd);
    }
    if (polls[0].revents && pass_in(relay, err) < 0)
        return -1;
    if (polls[1].revents && pass_out(relay, err) < 0)
        return -1;
    if (relay->source && relay->committed && !relay->qemu_open && !relay->end_sent)
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
            {.fd = relay->qemu_open ? relay->qemu_fd : -1, .events = POLLIN},
            {.fd = relay->quit_fd, .events = POLLIN},
        };
        if (poll(polls, ARRAY_SIZE(polls), -1) < 0 && errno != EINTR)
            return;
        if (polls[1].revents)
            return;
        if (!polls[0].revents)
            continue;
        ssize_t got = read(relay->qemu_fd, relay->buffer, RELAY_PIECE);
        if (got == 0 || (got < 0 && errno != EINTR && errno != EAGAIN))
            relay->qemu_open = false;
    }
}

static void *relay_run(void *argument)
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

static void relay_free(struct relay *relay)
{
    link_stop(relay->link);
    if (relay->qemu_fd >= 0)
        close(relay->qemu_fd);
    close(relay->event_fd);
    close(relay->wake_fd);
    close(relay->stop_fd);
    close(relay->quit_fd);
    pthread_mutex_destroy(&relay->lock);
    error_free(relay->error);
    free(relay);
}

static struct relay *relay_start(const struct link_options *options, int qemu_fd,
                                 link_connect *connect, void *context, struct error **err)
{
    struct relay *relay = calloc(1, sizeof(*relay));
    if (!relay) {
        close(qemu_fd);
        error_set(err, ERROR_SYSTEM, "out of memory");
        return NULL;
    }
    relay->qemu_fd = qemu_fd;
    relay->source = connect != NULL;
    relay->qemu_open = true;
    relay->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    relay->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    relay->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    relay->quit_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&relay->lock, NULL);
    if (fd_set_nonblocking(qemu_fd, true, err) == 0)
        relay->link = connect ? link_new_source(options, connect, context, err)
                              : link_new_destination(options, err);
    if (!relay->link) {
        relay_free(relay);
        return NULL;
    }
    int failed = pthread_create(&relay->thread, NULL, relay_run, relay);
    if (failed) {
        error_errno(err, failed, "relay thread");
        relay_free(relay);
        return NULL;
    }
    return relay;
}

struct relay *relay_start_source(const struct link_options *options, int qemu_fd,
                                 link_connect *connect, void *context, struct error **err)
{
    return relay_start(options, qemu_fd, connect, context, err);
}

struct relay *relay_start_destination(const struct link_options *options, int qemu_fd,
                                      struct error **err)
{
    return relay_start(options, qemu_fd, NULL, NULL, err);
}

int relay_attach(struct relay *relay, struct tls *tls, const struct frame_resume *resume,
                 struct error **err)
{
    return link_attach(relay->link, tls, resume, err);
}

int relay_event_fd(const struct relay *relay)
{
    return relay->event_fd;
}

struct relay_status relay_status(struct relay *relay)
{
    LOCK_SCOPE(&relay->lock);
    struct relay_status status = relay->status;
    status.link = link_status(relay->link);
    status.wire_bytes = status.link.wire_out + status.link.wire_in;
    return status;
}

int relay_take_error(struct relay *relay, struct error **err)
{
    LOCK_SCOPE(&relay->lock);
    return relay->error ? error_move(err, STEAL(relay->error)) : 0;
}

int relay_trouble(struct relay *relay, struct error **err)
{
    return link_error(relay->link, err);
}

void relay_urgent(struct relay *relay)
{
    link_urgent(relay->link, true);
}

void relay_post_copy(struct relay *relay)
{
    relay->post_copy = true;
    relay_urgent(relay);
    link_limit(relay->link, POST_COPY_IN_FLIGHT);
}

void relay_commit(struct relay *relay)
{
    relay->committed = true;
    fd_event_signal(relay->wake_fd);
}

void relay_discard(struct relay *relay)
{
    fd_event_signal(relay->stop_fd);
}

void relay_stop(struct relay *relay)
{
    if (!relay)
        return;
    fd_event_signal(relay->stop_fd);
    fd_event_signal(relay->quit_fd);
    pthread_join(relay->thread, NULL);
    relay_free(relay);
}
