/* SPDX-License-Identifier: Apache-2.0 */
/* The relay: QEMU's migration stream between its socket and a data connection. */
#include "migrate/relay.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "wire/frame.h"

/* One read from QEMU, and one TLS write. Larger pieces gain nothing measurable; smaller ones cost
 * system calls. */
#define RELAY_PIECE ((size_t)256 * 1024)

/* What arrives in frames from the peer, on its way to QEMU. */
struct inflow {
    uint8_t header[FRAME_HEADER_SIZE];
    size_t header_have;
    uint32_t payload_left;
    uint64_t offset; /* of the next byte */
};

struct relay {
    char *vm;
    int qemu_fd;
    struct tls *tls;
    bool source;
    bool qemu_open; /* QEMU may still send */
    int event_fd, wake_fd, stop_fd;
    atomic_bool committed;
    pthread_t thread;
    pthread_mutex_t lock;
    struct relay_status status; /* guarded by lock */
    struct error *error;        /* guarded by lock */
    struct inflow in;
    uint64_t out_offset;
    uint8_t out[FRAME_HEADER_SIZE + RELAY_PIECE];
    uint8_t buffer[RELAY_PIECE];
};

static void count_out(struct relay *relay, size_t stream, size_t wire)
{
    LOCK_SCOPE(&relay->lock);
    relay->status.stream_bytes += stream;
    relay->status.wire_bytes += wire;
}

static void set_flag(struct relay *relay, bool *flag)
{
    pthread_mutex_lock(&relay->lock);
    *flag = true;
    pthread_mutex_unlock(&relay->lock);
    fd_event_signal(relay->event_fd);
}

static int send_end(struct relay *relay, struct error **err)
{
    uint8_t bytes[FRAME_HEADER_SIZE];
    const struct frame_header header = {.type = FRAME_END, .offset = relay->out_offset};
    frame_encode(&header, bytes);
    if (tls_write(relay->tls, bytes, sizeof(bytes), relay->stop_fd, DEADLINE_NEVER, err) < 0)
        return -1;
    count_out(relay, 0, sizeof(bytes));
    set_flag(relay, &relay->status.ended);
    return fault_point(FAULT_SOURCE_END_AFTER, err);
}

/* QEMU has bytes for the peer, or closed its end. */
static int pass_out(struct relay *relay, struct error **err)
{
    ssize_t got = read(relay->qemu_fd, relay->out + FRAME_HEADER_SIZE, RELAY_PIECE);
    if (got < 0)
        return errno == EINTR || errno == EAGAIN ? 0 : error_errno(err, errno, "reading from QEMU");
    if (got == 0) {
        relay->qemu_open = false;
        if (relay->source)
            set_flag(relay, &relay->status.complete);
        return 0;
    }
    const struct frame_header header = {
        .type = FRAME_BYTES, .length = (uint32_t)got, .offset = relay->out_offset};
    frame_encode(&header, relay->out);
    size_t size = FRAME_HEADER_SIZE + (size_t)got;
    if (tls_write(relay->tls, relay->out, size, relay->stop_fd, DEADLINE_NEVER, err) < 0)
        return error_prefix(err, "sending the stream");
    relay->out_offset += (uint64_t)got;
    count_out(relay, (size_t)got, size);
    return 0;
}

static int write_to_qemu(struct relay *relay, const uint8_t *bytes, size_t size, struct error **err)
{
    while (size) {
        ssize_t put = send(relay->qemu_fd, bytes, size, MSG_NOSIGNAL);
        if (put >= 0) {
            bytes += put;
            size -= (size_t)put;
        } else if (errno == EAGAIN) {
            if (fd_wait(relay->qemu_fd, POLLOUT, relay->stop_fd, DEADLINE_NEVER, err) < 0)
                return -1;
        } else if (errno != EINTR) {
            return error_errno(err, errno, "QEMU took no more of the stream");
        }
    }
    return 0;
}

static int header_complete(struct relay *relay, struct error **err)
{
    struct frame_header header;
    relay->in.header_have = 0;
    if (frame_decode(relay->in.header, relay->in.offset, &header, err) < 0)
        return error_prefix(err, "stream from the peer");
    if (header.type == FRAME_END)
        set_flag(relay, &relay->status.ended);
    relay->in.payload_left = header.length;
    return 0;
}

static int take_in(struct relay *relay, const uint8_t *bytes, size_t size, struct error **err)
{
    struct inflow *in = &relay->in;
    count_out(relay, 0, size);
    while (size) {
        size_t piece;
        if (in->payload_left) {
            piece = size < in->payload_left ? size : in->payload_left;
            if ((!relay->source && fault_point(FAULT_DESTINATION_BYTES, err) < 0) ||
                write_to_qemu(relay, bytes, piece, err) < 0)
                return -1;
            in->payload_left -= (uint32_t)piece;
            in->offset += piece;
            count_out(relay, piece, 0);
        } else {
            piece = FRAME_HEADER_SIZE - in->header_have;
            piece = size < piece ? size : piece;
            for (size_t i = 0; i < piece; i++)
                in->header[in->header_have++] = bytes[i];
            if (in->header_have == FRAME_HEADER_SIZE && header_complete(relay, err) < 0)
                return -1;
        }
        bytes += piece;
        size -= piece;
    }
    return 0;
}

/* Everything the peer has sent so far. */
static int pass_in(struct relay *relay, struct error **err)
{
    short want;
    ssize_t got;
    while ((got = tls_try_read(relay->tls, relay->buffer, sizeof(relay->buffer), &want, err)) > 0)
        if (take_in(relay, relay->buffer, (size_t)got, err) < 0)
            return -1;
    return got < 0 ? error_prefix(err, "receiving the stream") : 0;
}

static int relay_turn(struct relay *relay, struct error **err)
{
    struct pollfd polls[] = {
        {.fd = tls_fd(relay->tls), .events = POLLIN},
        {.fd = relay->qemu_open ? relay->qemu_fd : -1, .events = POLLIN},
        {.fd = relay->wake_fd, .events = POLLIN},
        {.fd = relay->stop_fd, .events = POLLIN},
    };
    if (poll(polls, ARRAY_SIZE(polls), tls_pending(relay->tls) ? 0 : -1) < 0 && errno != EINTR)
        return error_errno(err, errno, "poll");
    if (polls[3].revents)
        return error_set(err, ERROR_CANCELLED, "stopped");
    if (polls[2].revents)
        fd_event_clear(relay->wake_fd);
    if ((polls[0].revents || tls_pending(relay->tls)) && pass_in(relay, err) < 0)
        return -1;
    if (polls[1].revents && pass_out(relay, err) < 0)
        return -1;
    if (relay->source && relay->committed && !relay->qemu_open && !relay->status.ended)
        return send_end(relay, err);
    return 0;
}

static void *relay_run(void *argument)
{
    struct relay *relay = argument;
    struct error *error = NULL;
    while (relay_turn(relay, &error) == 0)
        ;
    pthread_mutex_lock(&relay->lock);
    /* After END nothing more is due: the peer closing the connection is then how it ends. */
    relay->status.failed = !relay->status.ended;
    relay->error = error;
    pthread_mutex_unlock(&relay->lock);
    fd_event_signal(relay->event_fd);
    return NULL;
}

static void relay_free(struct relay *relay)
{
    tls_close(relay->tls);
    close(relay->qemu_fd);
    close(relay->event_fd);
    close(relay->wake_fd);
    close(relay->stop_fd);
    pthread_mutex_destroy(&relay->lock);
    error_free(relay->error);
    free(relay->vm);
    free(relay);
}

static struct relay *relay_start(const char *vm, int qemu_fd, struct tls *tls, bool source,
                                 struct error **err)
{
    struct relay *relay = calloc(1, sizeof(*relay));
    if (!relay) {
        tls_close(tls);
        close(qemu_fd);
        error_set(err, ERROR_SYSTEM, "out of memory");
        return NULL;
    }
    relay->vm = text_copy(vm);
    relay->qemu_fd = qemu_fd;
    relay->tls = tls;
    relay->source = source;
    relay->qemu_open = true;
    relay->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    relay->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    relay->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&relay->lock, NULL);
    if (fd_set_nonblocking(qemu_fd, true, err) < 0) {
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

struct relay *relay_start_source(const char *vm, int qemu_fd, struct tls *tls, struct error **err)
{
    return relay_start(vm, qemu_fd, tls, true, err);
}

struct relay *relay_start_destination(const char *vm, int qemu_fd, struct tls *tls,
                                      struct error **err)
{
    return relay_start(vm, qemu_fd, tls, false, err);
}

int relay_event_fd(const struct relay *relay)
{
    return relay->event_fd;
}

struct relay_status relay_status(struct relay *relay)
{
    LOCK_SCOPE(&relay->lock);
    return relay->status;
}

int relay_take_error(struct relay *relay, struct error **err)
{
    LOCK_SCOPE(&relay->lock);
    return relay->error ? error_move(err, STEAL(relay->error)) : 0;
}

void relay_commit(struct relay *relay)
{
    relay->committed = true;
    fd_event_signal(relay->wake_fd);
}

void relay_stop(struct relay *relay)
{
    if (!relay)
        return;
    fd_event_signal(relay->stop_fd);
    pthread_join(relay->thread, NULL);
    relay_free(relay);
}
