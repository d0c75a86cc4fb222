/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Post-copy, seen from its source: the guest changes sides first, and fetches the pages it misses.
 * Its commit point is its start: from then on each side holds a part of the VM.
 *
 * A stream that is lost (an agent died, or the network was away for too long) is begun anew, with
 * QEMU's own means, as often as it takes: the destination brings its QEMU to "postcopy-paused" and
 * waits (Recover), we do the same here, and both QEMUs agree over the new stream on the pages that
 * are missing. Only a QEMU that ends takes the guest with it.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "migrate/data_link.h"
#include "migrate/held_socket.h"
#include "migrate/migration_private.h"
#include "migrate/qemu_migration.h"

#define SAMPLE_MS 100
/* For what QEMU does at once, unless the machine is very busy. */
#define QEMU_MS 30000
/* Between two tries to begin the stream anew. */
#define TRY_AGAIN_MS 1000
/* Between two looks at what QEMU has still to send. */
#define REST_MS 100
/*
 * A source's QEMU that has written all of its pages waits for the destination's last word, and if
 * its stream breaks then, it does not pause: 10.0 says "failed" and lets its guest run, a second
 * time. So it is never cut off when less than this is left to send: more than fits into its own
 * buffer (64 pages) and its socket (less than 64 again).
 */
#define REST_MIN ((int64_t)512 << 10)

int post_copy_start(struct migration *m, struct error **err)
{
    if (fault_point(FAULT_SOURCE_POST_COPY_SWITCH, err) < 0)
        return -1;
    if (qmp_execute(m->vm->qmp, "migrate-start-postcopy", NULL, NULL, err) < 0)
        return error_prefix(err, "VM %s", m->vm->name);
    m->post_copy_started = true;
    relay_post_copy(m->relay);
    migration_note(m, "post-copy: the guest changes sides");
    return 0;
}

static bool qemu_gone(struct migration *m)
{
    LOCK_SCOPE(&m->vm->lock);
    return !m->vm->live || m->vm->guest.gone;
}

/* Sends what is left, until the destination has all of it. */
static int serve(struct migration *m, struct error **err)
{
    char status[32];
    for (;;) {
        migration_qemu_status(m, status);
        if (strcmp(status, "completed") == 0)
            relay_commit(m->relay);
        if (relay_status(m->relay).ended)
            return 0; /* the destination has waited for that */
        if (strcmp(status, "failed") == 0 || strcmp(status, "postcopy-paused") == 0)
            return error_set(err, ERROR_QEMU, "QEMU's stream broke");
        if (fault_point(FAULT_SOURCE_POST_COPY, err) < 0 ||
            migration_wait(m, clock_deadline_ns(SAMPLE_MS), err) < 0 ||
            migration_sample(m, err) < 0)
            return -1;
    }
}

int post_copy_ask(struct store *store, const struct peer *peer, const char *job, const char *stream,
                  bool gone, int cancel_fd, enum post_copy_answer *answer, struct error **err)
{
    struct varlink_connection *control = peer_find_control(store, peer, cancel_fd, err);
    if (!control)
        return -1;
    CLEANUP_JSON json_t *reply = NULL;
    int result = peer_call(control, peer, "Recover",
                           json_pack("{s:s, s:s, s:b}", "job", job, "stream", stream, "gone", gone),
                           &reply, cancel_fd, err);
    varlink_connection_free(control);
    if (result < 0)
        return -1;
    const char *word = json_opt_string(reply, "answer", "");
    if (strcmp(word, "ready") == 0)
        *answer = POST_COPY_READY;
    else if (strcmp(word, "complete") == 0)
        *answer = POST_COPY_COMPLETE;
    else if (strcmp(word, "lost") == 0)
        *answer = POST_COPY_LOST;
    else
        return error_set(err, ERROR_PEER, "host %s: unknown answer '%s'", peer->host.name, word);
    return 0;
}

static int await_paused(struct migration *m, struct error **err)
{
    int64_t deadline_ns = clock_deadline_ns(QEMU_MS);
    char status[32];
    for (;;) {
        migration_qemu_status(m, status);
        if (strcmp(status, "postcopy-paused") == 0)
            return 0;
        if (clock_now_ns() >= deadline_ns)
            return error_set(err, ERROR_TIMEOUT, "QEMU here does not pause its migration: it is %s",
                             status);
        if (migration_wait(m, deadline_ns, err) < 0)
            return -1;
    }
}

/* The destination has taken the new stream's first connection. */
static int await_connection(struct migration *m, struct error **err)
{
    while (!relay_status(m->relay).link.connections)
        if (migration_wait(m, DEADLINE_NEVER, err) < 0)
            return -1;
    return 0;
}

/* What QEMU has still to send, once nobody takes its bytes any more and it has come to rest. */
static int count_rest(struct migration *m, int64_t *rest, struct error **err)
{
    if (qemu_migration_set_bandwidth(m->vm->qmp, 0, err) < 0)
        return -1;
    for (int64_t before = -1;; before = *rest) {
        CLEANUP_JSON json_t *state = qemu_migration_query(m->vm->qmp, err);
        if (!state)
            return -1;
        *rest = json_opt_int(json_object_get(state, "ram"), "remaining", 0);
        if (*rest == before)
            return 0;
        if (fd_wait(m->cancel_fd, POLLIN, -1, clock_deadline_ns(REST_MS), NULL) == 0)
            return error_set(err, ERROR_CANCELLED, "cancelled");
    }
}

/* QEMU's migration stands, and waits for a new stream. */
static int pause_qemu(struct migration *m, struct error **err)
{
    char status[32];
    int64_t rest;
    if (!m->vm->qmp && vm_reconnect(m->vm, m->cancel_fd, err) < 0)
        return -1;
    migration_qemu_status(m, status);
    if (strcmp(status, "postcopy-paused") == 0)
        return held_socket_cut(m->vm->qmp, &m->vm->process, err); /* of an earlier try */
    if (count_rest(m, &rest, err) < 0)
        return -1;
    m->too_late = rest < REST_MIN;
    if (m->too_late)
        return error_set(err, ERROR_QEMU, "it lost the last pages on their way");
    if (held_socket_cut(m->vm->qmp, &m->vm->process, err) < 0)
        return -1;
    return await_paused(m, err);
}

/* The destination is ready: the same here, then the stream goes on. */
static int begin_stream(struct migration *m, struct error **err)
{
    struct link_options options;
    CLEANUP_FREE char *peer = text_format("host %s", m->peer.host.name);
    if (pause_qemu(m, err) < 0 ||
        data_link_options(m->context, m->vm->name, peer, m->stream, 1, &options, err) < 0)
        return -1;
    int ours = qemu_migration_socket(m->vm->qmp, "mudanza", &m->holder_fdset, err);
    if (ours < 0)
        return -1;
    m->target_host = (struct data_link_target){
        .context = m->context, .job = m->stream, .fingerprint = m->peer.host.fingerprint};
    /* A stream that goes on in the middle says nothing of its pages: only its bytes are compressed.
     */
    const struct encoder_options encoder = {.codec = m->options.compress,
                                            .threads = data_link_threads()};
    m->relay =
        relay_start_source(&options, &encoder, ours, data_link_connect, &m->target_host, err);
    if (!m->relay)
        return -1;
    relay_post_copy(m->relay);
    if (await_connection(m, err) < 0 ||
        qemu_migration_set_bandwidth(m->vm->qmp, m->options.bandwidth, err) < 0)
        return -1;
    return qemu_migration_resume(m->vm->qmp, "mudanza", err);
}

/* The pages that were only in one of the two QEMUs are gone: nothing of the guest can go on. */
static int give_up(struct migration *m, bool here, struct error **err)
{
    CLEANUP_ERROR struct error *why = NULL;
    const char *host = here ? m->context->host_name : m->peer.host.name;
    if (vm_end(m->vm, &why) < 0 || journal_close(m->context->store, m->job, NULL, &why) < 0)
        return error_move(err, STEAL(why));
    m->committed = m->journalled = m->prepared = false;
    m->closing = true; /* the destination is yet to forget the job */
    error_set(err, ERROR_QEMU,
              "VM %s is lost: %s on host %s in post-copy, and with it a part of the guest's memory "
              "that was nowhere else",
              m->vm->name,
              m->too_late
                  ? "an agent ended while the last pages were on their way, or the network did,"
                  : "its QEMU ended",
              host);
    return error_hint(err, "its disks are as the guest left them: start it again as after a crash");
}

/* 0: the stream flows again. 1: no stream is needed, the destination has everything. */
static int recover(struct migration *m, struct error **err)
{
    enum post_copy_answer answer = POST_COPY_READY;
    bool gone = qemu_gone(m) || m->too_late;
    if (job_id_make(m->stream, err) < 0 ||
        post_copy_ask(m->context->store, &m->peer, m->job, m->stream, gone, m->cancel_fd, &answer,
                      err) < 0)
        return -1;
    if (answer == POST_COPY_COMPLETE)
        return 1;
    return answer == POST_COPY_LOST ? give_up(m, gone, err) : begin_stream(m, err);
}

/* Until the next try. -1: the agent ends. */
static int pause_recovery(struct migration *m, const struct error *why, struct error **err)
{
    migration_note(m, "post-copy interrupted, recovering: %s", why->message);
    relay_stop(STEAL(m->relay));
    if (fd_wait(m->cancel_fd, POLLIN, -1, clock_deadline_ns(TRY_AGAIN_MS), NULL) < 0)
        return 0;
    error_set(err, ERROR_CANCELLED, "the agent of %s was told to end in post-copy",
              m->context->host_name);
    return error_hint(err, "the guest goes on, and gets the rest of its memory, once mudanzad runs "
                           "there again");
}

int post_copy_finish(struct migration *m, struct error **err)
{
    CLEANUP_ERROR struct error *why = NULL;
    m->post_copy_started = true;
    migration_note(m, "post-copy: the guest runs on %s, and fetches the rest of its memory",
                   m->peer.host.name);
    if (m->relay && serve(m, &why) == 0)
        return 0;
    for (;;) {
        if (why && why->kind != ERROR_CANCELLED)
            log_warning(m->vm->name, "post-copy to %s: %s; recovering", m->peer.host.name,
                        why->message);
        if (why && pause_recovery(m, why, err) < 0)
            return -1;
        error_free(STEAL(why));
        int done = recover(m, &why);
        if (done == 1)
            return 0;
        if (done < 0 && !m->committed)
            return error_move(err, STEAL(why));
        if (done == 0) {
            migration_note(m,
                           "post-copy goes on: the guest runs on %s, and fetches the rest of its "
                           "memory",
                           m->peer.host.name);
            if (serve(m, &why) == 0)
                return 0;
        }
    }
}

/* --- the way back, when the destination never ran the guest --- */

/* What a destination answers that has loaded everything (SHUT of QEMU's return path, without an
 * error): with it, and with nobody who would mind, the source's migration completes. */
static const uint8_t all_is_well[] = {0, 1, 0, 4, 0, 0, 0, 0};

/* Reads QEMU's stream to its end and throws it away. */
static int drain(struct migration *m, int fd, struct error **err)
{
    uint8_t nowhere[16384];
    bool open = true;
    int64_t deadline_ns = clock_deadline_ns(QEMU_MS);
    for (;;) {
        char status[32];
        migration_qemu_status(m, status);
        if (strcmp(status, "completed") == 0 || strcmp(status, "failed") == 0 || qemu_gone(m))
            return 0;
        if (clock_now_ns() >= deadline_ns)
            return error_set(err, ERROR_TIMEOUT, "QEMU does not end its migration: it is %s",
                             status);
        struct pollfd polls[] = {{.fd = open ? fd : -1, .events = POLLIN},
                                 {.fd = m->vm->changed_fd, .events = POLLIN}};
        if (poll(polls, ARRAY_SIZE(polls), clock_poll_ms(deadline_ns)) < 0 && errno != EINTR)
            return error_errno(err, errno, "poll");
        fd_event_clear(m->vm->changed_fd);
        if (polls[0].revents) {
            open = recv(fd, nowhere, sizeof(nowhere), MSG_DONTWAIT) > 0;
            deadline_ns = clock_deadline_ns(QEMU_MS);
        }
    }
}

bool post_copy_way_back_needed(struct migration *m)
{
    char status[32];
    migration_qemu_status(m, status);
    return m->options.post_copy && m->vm->qmp && !qemu_gone(m) &&
           (strcmp(status, "postcopy-active") == 0 || strcmp(status, "device") == 0);
}

int post_copy_way_back(struct migration *m, struct error **err)
{
    CLEANUP_CLOSE int fd = STEAL_FD(m->qemu_end);
    if (fd < 0)
        fd = held_socket_take(m->vm->qmp, &m->vm->process, err);
    if (fd < 0 || fd_write_full(fd, all_is_well, sizeof(all_is_well), err) < 0)
        return -1;
    return drain(m, fd, err);
}
