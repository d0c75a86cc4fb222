/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The relay: QEMU's migration stream between its socket and a link.
 *
 * The source's thread reads from QEMU while the link has room, and the engine's encoder makes
 * blocks of it; these go into the link from the encoder's threads. What QEMU has not filled a
 * window with goes as soon as nothing is before it: a window that waits for more costs nothing only
 * as long as it would have to wait anyway. The destination's thread takes blocks from the link
 * while QEMU takes their bytes.
 */
#include "migrate/relay.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "migrate/relay_pace.h"
#include "stream/stream_block.h"

/* One read from QEMU. Larger pieces gain nothing measurable; smaller ones cost system calls. */
#define RELAY_PIECE ((size_t)256 * 1024)
/* What an agent that dies in post-copy may take with it, but for a piece: as little as a fast
 * network needs. */
#define POST_COPY_IN_FLIGHT ((size_t)256 * 1024)
/* QEMU's next bytes are awaited so long while others are on their way. */
#define PARTIAL_MS 1

struct relay {
    int qemu_fd;
    struct link *link;
    bool source;
    struct encoder *encoder; /* of the source */
    struct decoder *decoder; /* of the destination */
    struct dictionary *dictionary;
    struct relay_pace pace;
    bool hurries;   /* the encoder knows that it is urgent */
    bool qemu_open; /* QEMU may still send */
    bool end_sent;
    int event_fd, wake_fd, stop_fd, quit_fd; /* stop: no more of the link; quit: no more at all */
    atomic_bool committed, urgent;
    atomic_bool post_copy; /* what was read is in the link before more is */
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
static int send_block(void *context, struct block *block, struct error **err)
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
        {.fd = relay->qemu_fd,
         .events = (short)(POLLOUT | (!relay->source && relay->qemu_open ? POLLIN : 0))},
        {.fd = relay->stop_fd, .events = POLLIN},
    };
    if (poll(polls, ARRAY_SIZE(polls), -1) < 0 && errno != EINTR)
        return error_errno(err, errno, "poll");
    if (polls[1].revents)
        return error_set(err, ERROR_CANCELLED, "stopped");
    return (polls[0].revents & POLLIN) ? pass_out(relay, err) : 0;
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
    if (relay->source || block->size != sizeof(uint64_t))
        return error_set(err, ERROR_CORRUPT, "end of the stream with %u bytes", block->size);
    uint64_t length = bytes_get64(block->data);
    uint64_t have = relay_status(relay).stream_bytes;
    if (length != have)
        return error_set(err, ERROR_CORRUPT,
                         "the stream has %" PRIu64 " bytes, but %" PRIu64 " came", length, have);
    set_flag(relay, &relay->status.ended);
    return 0;
}

/* The decoder's sink for the stream. */
static int write_stream(void *context, const uint8_t *bytes, size_t size, struct error **err)
{
    return write_to_qemu(context, bytes, size, err);
}

/* A block into QEMU's bytes; all of them are in its socket when it returns. */
static int decode(struct relay *relay, const struct block *block, struct error **err)
{
    if (!relay->source && block->kind != RELAY_END && fault_point(FAULT_DESTINATION_BYTES, err) < 0)
        return -1;
    if (block->kind == RELAY_END)
        return take_end(relay, block, err);
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
    uint8_t length[8];
    bytes_put64(length, relay_status(relay).stream_bytes);
    relay->end_sent = true;
    if (emit(relay, RELAY_END, length, sizeof(length), err) < 0 ||
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
        if (!relay->source)
            return 0;
        if (encoder_finish(relay->encoder, err) < 0)
            return -1;
        set_flag(relay, &relay->status.complete);
        return 0;
    }
    if (encode(relay, relay->buffer, (size_t)got, err) < 0 ||
        (relay->source && relay->post_copy && encoder_flush(relay->encoder, err) < 0))
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

/* Source: what is due between two looks at QEMU. `waited`: QEMU had to, for the link's sake. */
static int tend_encoder(struct relay *relay, bool waited, bool quiet, struct error **err)
{
    double rate;
    bool scarce;
    if (relay_pace_look(&relay->pace, waited, encoder_emitted(relay->encoder), relay->link, &rate,
                        &scarce)) {
        encoder_link(relay->encoder, rate, scarce);
        if (scarce)
            note_scarce(relay);
        link_limit(relay->link, relay->post_copy ? POST_COPY_IN_FLIGHT : relay->pace.under_way_max);
    }
    if (relay->urgent && !relay->hurries) {
        relay->hurries = true;
        if (encoder_urgent(relay->encoder, true, err) < 0)
            return -1;
    }
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

static int relay_turn(struct relay *relay, struct error **err)
{
    bool room = !relay->qemu_open || has_room(relay);
    bool ready = relay->qemu_open && room && !(relay->source && encoder_full(relay->encoder));
    struct pollfd polls[] = {
        {.fd = link_receive_fd(relay->link), .events = POLLIN},
        {.fd = ready ? relay->qemu_fd : -1, .events = POLLIN},
        {.fd = room ? -1 : link_room_fd(relay->link), .events = POLLIN},
        {.fd = link_event_fd(relay->link), .events = POLLIN},
        {.fd = relay->wake_fd, .events = POLLIN},
        {.fd = relay->stop_fd, .events = POLLIN},
        {.fd = relay->dictionary ? dictionary_event_fd(relay->dictionary) : -1, .events = POLLIN},
    };
    if (poll(polls, ARRAY_SIZE(polls), turn_wait(relay, room)) < 0 && errno != EINTR)
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
    if (polls[6].revents && send_filter(relay, err) < 0)
        return -1;
    if (polls[1].revents && pass_out(relay, err) < 0)
        return -1;
    if (relay->source && relay->qemu_open && tend_encoder(relay, !room, !polls[1].revents, err) < 0)
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
    encoder_free(relay->encoder);
    decoder_free(relay->decoder);
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

static void look_up(void *dictionary, const uint8_t *hashes, size_t n, uint8_t *const *to,
                    bool *found)
{
    dictionary_lookup_many(dictionary, hashes, n, to, found);
}

static int start_encoder(struct relay *relay, const struct encoder_options *options,
                         struct error **err)
{
    relay->encoder = encoder_new(options, (struct stream_sink){send_block, relay}, err);
    return relay->encoder ? 0 : -1;
}

static int start_decoder(struct relay *relay, uint32_t slots, struct dictionary *dictionary,
                         struct error **err)
{
    const struct decoder_options options = {
        .slots = slots, .lookup = dictionary ? look_up : NULL, .context = dictionary};
    relay->dictionary = dictionary;
    relay->decoder =
        decoder_new(&options, (struct decoder_sink){write_stream, send_block, relay}, err);
    return relay->decoder ? 0 : -1;
}

/* Takes qemu_fd over, also on error. Its engine and link are not there yet. */
static struct relay *relay_new(int qemu_fd, bool source, struct error **err)
{
    struct relay *relay = calloc(1, sizeof(*relay));
    if (!relay) {
        close(qemu_fd);
        error_set(err, ERROR_SYSTEM, "out of memory");
        return NULL;
    }
    relay->qemu_fd = qemu_fd;
    relay->source = source;
    relay->qemu_open = true;
    relay->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    relay->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    relay->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    relay->quit_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&relay->lock, NULL);
    if (fd_set_nonblocking(qemu_fd, true, err) == 0)
        return relay;
    relay_free(relay);
    return NULL;
}

/* The link is there: the thread begins. Frees the relay on error. */
static struct relay *relay_begin(struct relay *relay, struct error **err)
{
    int failed = relay->link ? pthread_create(&relay->thread, NULL, relay_run, relay) : 0;
    if (failed)
        error_errno(err, failed, "relay thread");
    if (relay->link && !failed)
        return relay;
    relay_free(relay);
    return NULL;
}

struct relay *relay_start_source(const struct link_options *options,
                                 const struct encoder_options *encoder, int qemu_fd,
                                 link_connect *connect, void *context, struct error **err)
{
    struct relay *relay = relay_new(qemu_fd, true, err);
    if (!relay)
        return NULL;
    if (start_encoder(relay, encoder, err) == 0)
        relay->link = link_new_source(options, connect, context, err);
    relay_pace_begin(&relay->pace);
    if (relay->link)
        link_limit(relay->link, relay->pace.under_way_max);
    return relay_begin(relay, err);
}

struct relay *relay_start_destination(const struct link_options *options, uint32_t slots,
                                      struct dictionary *dictionary, int qemu_fd,
                                      struct error **err)
{
    struct relay *relay = relay_new(qemu_fd, false, err);
    if (!relay)
        return NULL;
    if (start_decoder(relay, slots, dictionary, err) == 0)
        relay->link = link_new_destination(options, err);
    return relay_begin(relay, err);
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
    if (relay->encoder)
        status.stream = encoder_counts(relay->encoder);
    return status;
}

int relay_failure(struct relay *relay, struct error **err)
{
    LOCK_SCOPE(&relay->lock);
    if (!relay->status.failed)
        return 0;
    return relay->error ? error_copy(err, relay->error)
                        : error_set(err, ERROR_STATE, "the stream was ended here");
}

int relay_trouble(struct relay *relay, struct error **err)
{
    return link_error(relay->link, err);
}

void relay_urgent(struct relay *relay)
{
    relay->urgent = true;
    link_urgent(relay->link, true);
    fd_event_signal(relay->wake_fd);
}

void relay_post_copy(struct relay *relay)
{
    relay->post_copy = true;
    relay_urgent(relay);
    link_limit(relay->link, POST_COPY_IN_FLIGHT); /* and again when tend_encoder would set more */
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
