/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The handover: the source gives up before the destination starts, in durable order.
 * docs/handover.md has the protocol and its proof; the comments here name its steps.
 */
#include <poll.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "migrate/migration_private.h"
#include "migrate/qemu_migration.h"

/* From the last byte to the destination's answer. What is slow here is device state, not RAM; a
 * peer that takes longer is treated as gone: the outcome is then asked for again and again. */
#define ANSWER_MS INT64_C(30000)
/* Between two questions for the outcome of a move in doubt. */
#define ASK_AGAIN_MS 1000

/* QEMU has stopped the guest itself, unless it stood already. */
static void note_stop(struct migration *m)
{
    LOCK_SCOPE(&m->vm->lock);
    if (!m->stopped_ns)
        m->stopped_ns = m->vm->guest.stopped_ns ? m->vm->guest.stopped_ns : clock_now_ns();
}

/* Step 2: from here on there is no way back without the destination's word. */
static int commit(struct migration *m, struct error **err)
{
    pthread_mutex_lock(&m->lock);
    bool cancelled = m->cancelled;
    m->past_return = !cancelled;
    pthread_mutex_unlock(&m->lock);
    if (cancelled)
        return error_set(err, ERROR_CANCELLED, "cancelled");
    const struct relay_status before = relay_status(m->relay);
    int64_t begin_ns = clock_now_ns();
    if (fault_point(FAULT_SOURCE_COMMIT_BEFORE, err) < 0 ||
        journal_move(m->context->store, m->job, true, JOURNAL_PREPARED, JOURNAL_COMMITTED, err) < 0)
        return error_prefix(err, "VM %s", m->vm->name);
    m->committed = true;
    log_debug(
        m->vm->name, "COMMIT was written in %lld us; the stream went on from %llu to %llu bytes",
        (long long)(clock_now_ns() - begin_ns) / 1000, (unsigned long long)before.stream_bytes,
        (unsigned long long)relay_status(m->relay).stream_bytes);
    fault_pass(FAULT_SOURCE_COMMIT_AFTER);
    return 0;
}

/* QEMU has written the whole stream, and can no longer resume the guest by itself. */
static int await_stream(struct migration *m, struct error **err)
{
    char status[32];
    int64_t since_ns = clock_now_ns();
    for (;;) {
        migration_qemu_status(m, status);
        if (strcmp(status, "completed") == 0)
            return 0;
        if (strcmp(status, "failed") == 0 || strcmp(status, "cancelled") == 0)
            return migration_qemu_failure(m, err);
        if (migration_wait_answer(m, since_ns, ANSWER_MS, "QEMU did not finish its stream in time",
                                  err) < 0)
            return -1;
    }
}

int handover_await_loaded(struct migration *m, struct error **err)
{
    /* Digests take a second for some GiB; a millisecond for each MiB is plenty. */
    int64_t since_ns = clock_now_ns(), ms = ANSWER_MS + (int64_t)(m->ram_total >> 20);
    while (!m->remote.loaded)
        if (migration_wait_answer(m, since_ns, ms, "the destination did not load the VM in time",
                                  err) < 0)
            return -1;
    return 0;
}

/* A QEMU that was told to switch to post-copy, but had hardly anything left, ends as pre-copy: it
 * says `completed` without having been in post-copy, and the destination waits for END. */
static void end_unswitched(struct migration *m)
{
    char status[32];
    migration_qemu_status(m, status);
    if (strcmp(status, "completed") == 0)
        relay_commit(m->relay);
}

static int await_running(struct migration *m, struct error **err)
{
    int64_t since_ns = clock_now_ns();
    while (!m->remote.running) {
        if (m->post_copy_started)
            end_unswitched(m);
        if (migration_wait_answer(m, since_ns, ANSWER_MS, "the destination did not answer in time",
                                  err) < 0)
            return -1;
    }
    return 0;
}

int handover_ask(struct store *store, const struct peer *peer, const char *job, int cancel_fd,
                 struct error **err)
{
    if (fault_point(FAULT_SOURCE_ASK, err) < 0)
        return -1;
    struct varlink_connection *control = peer_find_control(store, peer, cancel_fd, err);
    if (!control)
        return -1;
    CLEANUP_JSON json_t *answer = NULL;
    int result = peer_call(control, peer, "Outcome", json_pack("{s:s}", "job", job), &answer,
                           cancel_fd, err);
    varlink_connection_free(control);
    if (result < 0 || fault_point(FAULT_SOURCE_ANSWERED, err) < 0)
        return -1;
    const char *outcome = json_opt_string(answer, "outcome", "undecided");
    if (strcmp(outcome, "owner") == 0)
        return 1;
    if (strcmp(outcome, "aborted") == 0)
        return 0;
    return error_set(err, ERROR_PEER, "host %s: not decided yet", peer->host.name);
}

/* Asks until there is an answer, or a person's decision. 1 owner, 0 aborted, with the reason in
 * *err; -1 the agent ends. */
static int await_outcome(struct migration *m, struct error **err)
{
    for (;;) {
        CLEANUP_ERROR struct error *why = NULL;
        int outcome = handover_ask(m->context->store, &m->peer, m->job, m->cancel_fd, &why);
        if (outcome == 0)
            error_set(err, ERROR_PEER, "host %s could not start the VM", m->peer.host.name);
        if (outcome >= 0)
            return outcome;
        enum decision decision = decide_taken(m);
        if (decision == DECISION_THERE) {
            decide_there(m);
            return 1;
        }
        if (decision == DECISION_HERE) {
            if (decide_here(m, err) == 0)
                return 0;
            decide_open(m, true);
            error_free(why);
            why = STEAL(*err);
        } else if (why->kind == ERROR_CANCELLED) { /* the journal remembers */
            struct error *ends = STEAL(why);
            return error_move(err, ends);
        }
        /* Post-copy: the destination may need more of the stream before it can decide. */
        struct error *trouble = NULL;
        bool in_post_copy = m->post_copy_started || (m->found && m->options.post_copy);
        int complete = in_post_copy ? post_copy_carry_on(m, &trouble) : 0;
        if (complete == 1)
            return 1;
        if (!m->committed)
            return error_move(err, trouble);
        error_free(trouble);
        migration_note(m, "in doubt, the VM stays paused here: %s; asking again", why->message);
        fd_wait(m->cancel_fd, POLLIN, -1, clock_deadline_ns(ASK_AGAIN_MS), NULL);
    }
}

int handover_resolve(struct migration *m, struct error **err)
{
    vm_set_in_doubt(m->vm, true);
    decide_open(m, true);
    int outcome = await_outcome(m, err);
    decide_open(m, false);
    if (outcome < 0 && m->committed)
        return -1;
    vm_set_in_doubt(m->vm, false);
    if (outcome < 0)
        return -1;
    if (outcome == 1) {
        m->remote.running_ns = clock_now_ns();
        return 0;
    }
    m->committed = false; /* it is ours again */
    return -1;
}

/* Step 4, with everything that can go wrong on the way to it. */
static int learn_outcome(struct migration *m, struct error **err)
{
    CLEANUP_ERROR struct error *why = NULL;
    /* A QEMU whose migration fails resumes its guest by itself, so END goes only when that can no
     * longer happen. Post-copy's guest changes sides before its stream is complete. */
    if (!m->post_copy_started && await_stream(m, &why) == 0 &&
        fault_point(FAULT_SOURCE_END_BEFORE, &why) == 0)
        relay_commit(m->relay);
    if (!why && await_running(m, &why) == 0)
        return 0;
    if (m->remote.failed) {
        m->committed = false; /* it says that it never ran it, and has journalled that */
        return error_move(err, STEAL(why));
    }
    log_warning(m->vm->name, "handover to %s: %s; asking for the outcome", m->peer.host.name,
                why ? why->message : "no answer");
    if (handover_resolve(m, err) == 0)
        return 0;
    return error_prefix(err, "%s", why ? why->message : "no answer");
}

static int go_on(struct migration *m, struct error **err)
{
    if (qmp_execute(m->vm->qmp, "migrate-continue", json_pack("{s:s}", "state", "pre-switchover"),
                    NULL, err) < 0)
        return error_prefix(err, "VM %s", m->vm->name);
    return fault_point(FAULT_SOURCE_CONTINUED, err);
}

/* Post-copy's COMMIT is written, and then QEMU did not go on: the destination decides, as always
 * after COMMIT, and *err stays what it was. -1, unless it owns the VM all the same. */
static int take_back(struct migration *m, struct error **err)
{
    CLEANUP_ERROR struct error *doubt = NULL;
    log_warning(m->vm->name, "handover to %s: %s; asking for the outcome", m->peer.host.name,
                err && *err ? (*err)->message : "QEMU did not go on");
    if (handover_resolve(m, &doubt) < 0)
        return -1;
    if (err) {
        error_free(*err);
        *err = NULL;
    }
    return 0;
}

/* What QEMU says from here on outlives this agent. */
static int await_spool(struct migration *m, struct error **err)
{
    char status[32];
    while (!relay_status(m->relay).spooled) {
        migration_qemu_status(m, status);
        if (strcmp(status, "failed") == 0 || strcmp(status, "cancelled") == 0)
            return migration_qemu_failure(m, err);
        if (migration_wait(m, DEADLINE_NEVER, err) < 0)
            return -1;
    }
    return 0;
}

int handover_run(struct migration *m, struct error **err)
{
    note_stop(m);
    relay_urgent(m->relay);
    if (fault_point(FAULT_SOURCE_PRE_SWITCHOVER, err) < 0)
        return -1;
    /* Post-copy: the guest may run there as soon as the stream goes on, so COMMIT comes first. */
    if (m->post_copy_started && (await_spool(m, err) < 0 || commit(m, err) < 0))
        return -1;
    if (go_on(m, err) < 0)
        return m->committed ? take_back(m, err) : -1;
    if ((m->options.verify || m->mends) && (await_stream(m, err) < 0 || verify_run(m, err) < 0 ||
                                            fault_point(FAULT_SOURCE_VERIFIED, err) < 0))
        return -1;
    /* Else the fsync goes on while QEMU writes device state, and costs nothing. */
    if (!m->committed && commit(m, err) < 0)
        return -1;
    if (learn_outcome(m, err) < 0)
        return -1;
    fault_pass(FAULT_SOURCE_OWNER);
    return m->post_copy_started ? post_copy_finish(m, err) : 0;
}
