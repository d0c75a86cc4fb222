/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Post-copy, seen from its source: the guest changes sides first, and fetches the pages it misses.
 * Its commit point is its start: from then on each side holds a part of the VM.
 *
 * Neither QEMU ever sees the stream break. What is on its way is in spools that outlive the agents
 * (spool.h), so that after an agent died, or the network was away for too long, the two agents
 * agree on where each direction stands (Recover), and go on from there, as often as it takes. Only
 * a QEMU that ends takes the guest with it.
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
#include "migrate/held.h"
#include "migrate/migration_private.h"
#include "migrate/qemu_migration.h"

#define SAMPLE_MS 100
/* For what QEMU does at once, unless the machine is very busy. */
#define QEMU_MS 30000
/* Between two tries to begin the stream anew. */
#define TRY_AGAIN_MS 1000
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
            return error_set(err, ERROR_QEMU, "QEMU here gave its migration up: it is %s", status);
        if (fault_point(FAULT_SOURCE_POST_COPY, err) < 0 ||
            migration_wait(m, clock_deadline_ns(SAMPLE_MS), err) < 0 ||
            migration_sample(m, err) < 0)
            return -1;
    }
}

int post_copy_ask(struct store *store, const struct peer *peer, const struct post_copy_question *q,
                  int cancel_fd, struct post_copy_reply *reply, struct error **err)
{
    struct varlink_connection *control = peer_find_control(store, peer, cancel_fd, err);
    if (!control)
        return -1;
    CLEANUP_JSON json_t *got = NULL;
    int result = peer_call(control, peer, "Recover",
                           json_pack("{s:s, s:s, s:b, s:I}", "job", q->job, "stream", q->stream,
                                     "gone", q->gone, "given", (json_int_t)q->given),
                           &got, cancel_fd, err);
    varlink_connection_free(control);
    if (result < 0)
        return -1;
    const char *word = json_opt_string(got, "answer", "");
    int64_t given = json_opt_int(got, "given", 0);
    *reply = (struct post_copy_reply){.given = given < 0 ? 0 : (uint64_t)given};
    if (strcmp(word, "ready") == 0)
        reply->answer = POST_COPY_READY;
    else if (strcmp(word, "complete") == 0)
        reply->answer = POST_COPY_COMPLETE;
    else if (strcmp(word, "lost") == 0)
        reply->answer = POST_COPY_LOST;
    else
        return error_set(err, ERROR_PEER, "host %s: unknown answer '%s'", peer->host.name, word);
    return 0;
}

/* The destination waits for the stream: it goes on where its QEMU has it. */
static int go_on(struct migration *m, struct held *held, uint64_t from, struct error **err)
{
    struct relay_ends ends = {
        .held = *held, .event_fd = m->stream_fd, .goes_on = true, .from = from};
    CLEANUP_FREE char *peer = text_format("host %s", m->peer.host.name);
    *held = HELD_NONE;
    if (data_link_options(m->context, m->vm->name, peer, m->stream, 1, &ends.link, err) < 0) {
        held_close(&ends.held);
        return -1;
    }
    m->target_host = (struct data_link_target){
        .context = m->context, .job = m->stream, .fingerprint = m->peer.host.fingerprint};
    /* In the middle of a stream nothing says what its pages are: its bytes are compressed, no more.
     */
    const struct encoder_options encoder = {
        .codec = m->options.compress, .threads = data_link_threads(), .middle = true};
    m->relay = relay_start_source(&ends, &encoder, data_link_connect, &m->target_host, err);
    m->cuts = 0; /* of this one's connections */
    m->was_lost = false;
    return m->relay ? 0 : -1;
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
              "VM %s is lost: its QEMU ended on host %s in post-copy, and with it a part of the "
              "guest's memory that was nowhere else",
              m->vm->name, host);
    return error_hint(err, "its disks are as the guest left them: start it again as after a crash");
}

int post_copy_carry_on(struct migration *m, struct error **err)
{
    bool gone = qemu_gone(m);
    if (!gone && m->relay && !relay_status(m->relay).failed)
        return 0;
    relay_stop(STEAL(m->relay)); /* its spools stand still before anybody says where */
    struct held held = HELD_NONE;
    struct post_copy_reply reply = {.answer = POST_COPY_COMPLETE};
    if (job_id_make(m->stream, err) < 0 ||
        (!gone && held_take(&m->vm->process, m->job, &held, err) < 0))
        return -1;
    const struct post_copy_question question = {
        .job = m->job,
        .stream = m->stream,
        .gone = gone,
        .given = gone ? 0 : spool_position(&held.to),
    };
    int result = post_copy_ask(m->context->store, &m->peer, &question, m->cancel_fd, &reply, err);
    if (result == 0 && reply.answer == POST_COPY_READY)
        result = go_on(m, &held, reply.given, err);
    held_close(&held);
    if (result < 0)
        return -1;
    if (reply.answer == POST_COPY_READY)
        return 0;
    return reply.answer == POST_COPY_COMPLETE ? 1 : give_up(m, gone, err);
}

/* Until the next try. -1: the agent ends. */
static int pause_recovery(struct migration *m, const struct error *why, struct error **err)
{
    migration_note(m, "post-copy interrupted, recovering: %s", why ? why->message : "?");
    if (fd_wait(m->cancel_fd, POLLIN, -1, clock_deadline_ns(TRY_AGAIN_MS), NULL) < 0)
        return 0;
    error_set(err, ERROR_CANCELLED, "the agent of %s was told to end in post-copy",
              m->context->host_name);
    return error_hint(err, "the guest goes on, and gets the rest of its memory, once mudanzad runs "
                           "there again");
}

int post_copy_finish(struct migration *m, struct error **err)
{
    m->post_copy_started = true;
    migration_note(m, "post-copy: the guest runs on %s, and fetches the rest of its memory",
                   m->peer.host.name);
    for (;;) {
        CLEANUP_ERROR struct error *why = NULL;
        bool flowed = m->relay && !relay_status(m->relay).failed;
        int complete = post_copy_carry_on(m, &why);
        if (complete == 1)
            return 0;
        if (complete < 0 && !m->committed)
            return error_move(err, STEAL(why));
        if (complete == 0 && !flowed)
            migration_note(m,
                           "post-copy goes on: the guest runs on %s, and fetches the rest of its "
                           "memory",
                           m->peer.host.name);
        if (complete == 0 && (m->vm->qmp || vm_reconnect(m->vm, m->cancel_fd, &why) == 0) &&
            serve(m, &why) == 0)
            return 0;
        if (why && why->kind != ERROR_CANCELLED)
            log_warning(m->vm->name, "post-copy to %s: %s; recovering", m->peer.host.name,
                        why->message);
        if (pause_recovery(m, why, err) < 0)
            return -1;
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
    struct held held = HELD_NONE;
    if (fd < 0 && held_take(&m->vm->process, m->job, &held, err) < 0)
        return -1;
    if (fd < 0)
        fd = STEAL_FD(held.socket);
    held_close(&held);
    if (fd_write_full(fd, all_is_well, sizeof(all_is_well), err) < 0)
        return -1;
    return drain(m, fd, err);
}
