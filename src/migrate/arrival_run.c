/* SPDX-License-Identifier: Apache-2.0 */
/* The thread of an arrival: feeds QEMU, takes the VM over, or undoes what there is. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "migrate/arrival_private.h"
#include "migrate/held.h"

/* Between two tries at what must not fail: ending QEMU, the journal on a full disk. */
#define TRY_AGAIN_MS 1000

static void tell(struct arrival *a, json_t *event)
{
    LOCK_SCOPE(&a->lock);
    json_array_append_new(a->events, event);
    pthread_cond_broadcast(&a->changed);
}

int arrival_wait(struct arrival *a, int64_t deadline_ns, struct error **err)
{
    struct pollfd polls[] = {
        {.fd = a->wake_fd, .events = POLLIN},
        {.fd = a->vm->changed_fd, .events = POLLIN},
    };
    if (poll(polls, ARRAY_SIZE(polls), clock_poll_ms(deadline_ns)) < 0 && errno != EINTR)
        return error_errno(err, errno, "poll");
    fd_event_clear(a->wake_fd);
    fd_event_clear(a->vm->changed_fd);
    pthread_mutex_lock(&a->lock);
    int stopped = arrival_refuse_stopped(a, err);
    pthread_mutex_unlock(&a->lock);
    if (stopped < 0)
        return -1;
    if (clock_now_ns() >= deadline_ns)
        return error_set(err, ERROR_TIMEOUT, "not in time");
    return 0;
}

/* Before another try at what must succeed. True when the agent ends. */
static bool wait_again(struct arrival *a)
{
    fd_wait(a->wake_fd, POLLIN, -1, clock_deadline_ns(TRY_AGAIN_MS), NULL);
    fd_event_clear(a->wake_fd);
    LOCK_SCOPE(&a->lock);
    return a->ending;
}

/* What the events say so far; -1 when QEMU here or the stream has failed. */
static int look(struct arrival *a, char status[32], struct relay_status *stream, struct error **err)
{
    pthread_mutex_lock(&a->vm->lock);
    bool gone = a->vm->guest.gone;
    memcpy(status, a->vm->guest.migration_status, 32);
    pthread_mutex_unlock(&a->vm->lock);
    *stream = arrival_stream(a);
    if (gone || strcmp(status, "failed") == 0) {
        CLEANUP_FREE char *tail = vm_log_tail(a->vm);
        return error_set(err, ERROR_QEMU, "QEMU could not load the VM: %s",
                         *tail ? tail : "it does not say why");
    }
    /* An owner in post-copy needs its source, which comes again (arrival_recover). */
    if (stream->failed && !(a->owner && a->post_copy)) {
        LOCK_SCOPE(&a->lock);
        relay_failure(a->relay, err);
        return error_prefix(err, "the stream broke before its end");
    }
    return 0;
}

/* Until the source has its first connection; the link gives that its time. */
static int await_data(struct arrival *a, struct error **err)
{
    char status[32];
    struct relay_status stream;
    for (;;) {
        if (look(a, status, &stream, err) < 0)
            return -1;
        if (stream.link.connections || stream.link.cuts)
            return fault_point(FAULT_DESTINATION_ATTACHED, err);
        if (arrival_wait(a, DEADLINE_NEVER, err) < 0)
            return -1;
    }
}

static int tell_loaded(struct arrival *a, struct error **err)
{
    json_t *event = json_pack("{s:s}", "event", "loaded");
    if (a->key) {
        a->ram = memory_locate(a->vm->qmp, a->vm->process.pid, a->memory, err);
        CLEANUP_FREE char *digests = a->ram ? verify_digests(a->ram, a->key, err) : NULL;
        if (!digests) {
            json_decref(event);
            return error_prefix(err, "digest of RAM");
        }
        json_object_set_new(event, "digests", json_string(digests));
    }
    tell(a, event);
    return 0;
}

/* J(OWNER): from here on the VM may run here. An abort that was asked for first wins. */
static int become_owner(struct arrival *a, struct error **err)
{
    if (fault_point(FAULT_DESTINATION_END, err) < 0)
        return -1;
    LOCK_SCOPE(&a->lock);
    if (arrival_refuse_stopped(a, err) < 0)
        return -1;
    if (fault_point(FAULT_DESTINATION_OWNER_BEFORE, err) < 0 ||
        journal_move(a->context->store, a->job, false, JOURNAL_PREPARED, JOURNAL_OWNER, err) < 0)
        return -1;
    a->owner = true;
    return fault_point(FAULT_DESTINATION_OWNER_AFTER, err);
}

/* Receives until the VM is ours and loaded. */
static int receive(struct arrival *a, struct error **err)
{
    bool loaded = false;
    for (;;) {
        char status[32];
        struct relay_status stream;
        if (look(a, status, &stream, err) < 0)
            return -1;
        bool in_post_copy = a->post_copy && strcmp(status, "postcopy-active") == 0;
        bool complete = strcmp(status, "completed") == 0;
        /* Post-copy's switch comes only after the source's COMMIT, so it stands for END. */
        if (!a->owner && (stream.ended || in_post_copy) && become_owner(a, err) < 0)
            return -1;
        if (complete && !loaded &&
            (fault_point(FAULT_DESTINATION_LOADED, err) < 0 || tell_loaded(a, err) < 0))
            return -1;
        loaded |= complete;
        if (a->owner && loaded)
            return 0;
        if (a->owner && in_post_copy)
            return arrival_await_devices(a, err);
        if (arrival_wait(a, DEADLINE_NEVER, err) < 0)
            return -1;
    }
}

/* Tells OWNER. */
static void announce(struct arrival *a)
{
    vm_arrived(a->vm);
    pthread_mutex_lock(&a->lock);
    a->running = true;
    pthread_mutex_unlock(&a->lock);
    tell(a, json_pack("{s:s}", "event", "running"));
    fault_pass(FAULT_DESTINATION_TOLD);
}

struct relay_status arrival_stream(struct arrival *a)
{
    LOCK_SCOPE(&a->lock);
    return a->relay ? relay_status(a->relay) : (struct relay_status){0};
}

void arrival_stop_relay(struct arrival *a)
{
    pthread_mutex_lock(&a->lock);
    struct relay *relay = STEAL(a->relay);
    pthread_mutex_unlock(&a->lock);
    relay_stop(relay);
}

static void let_go(struct arrival *a)
{
    a->placed = arrival_stream(a).placed;
    arrival_stop_relay(a);
    if (a->vm->qmp)
        held_drop(a->vm->qmp);
}

/* 1: what is to be durable is. 0: again. */
static int store(struct arrival *a)
{
    struct error *err = NULL;
    bool stored = fault_point(FAULT_DESTINATION_RECEIVED_BEFORE, &err) == 0 &&
                  vm_received(a->vm, a->job, a->definition, &err) == 0;
    if (err) {
        log_error(a->vm->name, "arrived and runs, but is not stored: %s; trying again",
                  err->message);
        CLEANUP_FREE char *claim = text_format(
            "running here, arrived from %s, but not stored yet: %s", a->peer_name, err->message);
        vm_set_claim(a->vm, claim);
    }
    LOCK_SCOPE(&a->lock);
    a->stored = stored;
    error_free(a->store_error);
    a->store_error = err;
    pthread_cond_broadcast(&a->changed);
    return stored;
}

static void settle(struct arrival *a)
{
    let_go(a);
    keeper_forget(a->context->keeper, a->vm->uuid);
    while (!store(a))
        if (wait_again(a))
            return; /* the journal's record has the next agent do it */
    fault_pass(FAULT_DESTINATION_RECEIVED_AFTER);
    if (!a->lost)
        log_info(a->vm->name, "arrived from %s", a->peer_name);
    if (a->placed)
        log_info(a->vm->name, "%" PRIu64 " of its pages went straight into its RAM", a->placed);
}

/* QEMU is gone and the journal says so. No entry is the durable word "never ran here": the job's
 * UUID never comes again. */
static bool undone(struct arrival *a)
{
    CLEANUP_ERROR struct error *err = NULL;
    if (vm_end_unused(a->vm, &err) == 0 &&
        fault_point(FAULT_DESTINATION_ABORTED_BEFORE, &err) == 0 &&
        journal_delete(a->context->store, a->job, false, &err) == 0) {
        mark_remove(a->context->vms->run_dir, a->job);
        return true;
    }
    log_error(a->vm->name, "undoing its arrival: %s; trying again", err->message);
    CLEANUP_FREE char *claim =
        text_format("what is left of an arrival from %s, which cannot be undone yet: %s",
                    a->peer_name, err->message);
    vm_set_claim(a->vm, claim);
    return false;
}

/* The source may resume the VM on our word alone, so that it is given only once it is durable.
 * Until then, and if the agent ends before, the source stays in doubt and asks. */
static void undo(struct arrival *a, const struct error *why)
{
    log_warning(a->vm->name, "arrival from %s is undone: %s", a->peer_name, why->message);
    fault_pass(FAULT_DESTINATION_UNDO);
    arrival_stop_relay(a); /* QEMU's duplicate of our end of its socket ends with QEMU */
    while (!undone(a))
        if (wait_again(a))
            return;
    fault_pass(FAULT_DESTINATION_ABORTED_AFTER);
    tell(a, json_pack("{s:s, s:o}", "event", "failed", "error", json_from_error(why)));
}

/* What the guest's first step led to. */
static void conclude(struct arrival *a, enum arrival_guest guest, const struct error *why)
{
    if (guest == GUEST_NEVER_RAN) {
        undo(a, why);
    } else if (guest == GUEST_OURS) {
        announce(a);
        enum arrival_rest rest = a->post_copy ? arrival_await_rest(a) : REST_COMPLETE;
        if (rest == REST_LOST)
            free(STEAL(a->definition));
        if (rest != REST_AGENT_ENDS)
            settle(a);
    } /* else the agent ends, and the next one asks again */
    vm_release(a->vm);
    arrival_finish(a);
}

void arrival_thread(void *argument)
{
    struct arrival *a = argument;
    CLEANUP_ERROR struct error *err = NULL;
    enum arrival_guest guest = GUEST_NEVER_RAN;
    if (await_data(a, &err) == 0 && receive(a, &err) == 0)
        guest = arrival_start_guest(a, &err);
    conclude(a, guest, err);
}

void arrival_resumed_thread(void *argument)
{
    struct arrival *a = argument;
    CLEANUP_ERROR struct error *err = NULL;
    enum arrival_guest guest = GUEST_NEVER_RAN;
    if (a->owner)
        guest = arrival_take_up_guest(a, &err);
    else
        error_set(&err, ERROR_STATE, "its agent ended before it had all of it");
    conclude(a, guest, err);
}
