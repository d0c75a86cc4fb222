/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Post-copy, seen from its destination: the guest runs here, and the pages it misses come. The
 * connection may be lost and made anew any number of times (post_copy.c says how); QEMU, whose
 * socket nobody closes, waits meanwhile, and so do those of the guest's CPUs that need such a page,
 * or even its main loop, so that its monitor does not answer. What brings the stream back must not
 * ask QEMU, nor wait for a thread that does: arrival_recover runs in the thread of the call.
 */
#include <inttypes.h>
#include <poll.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "migrate/arrival_private.h"
#include "migrate/data_link.h"

/* Between two looks at whether QEMU has loaded the devices, which no event tells. */
#define LOOK_MS 1
/* Between two tries to end a QEMU that does not. */
#define TRY_AGAIN_MS 1000

static bool source_gone_or_ending(struct arrival *a)
{
    LOCK_SCOPE(&a->lock);
    return a->source_gone || a->ending;
}

int arrival_await_devices(struct arrival *a, struct error **err)
{
    for (;;) {
        CLEANUP_JSON json_t *state = NULL;
        struct error *why = NULL;
        if (qmp_execute(a->vm->qmp, "query-status", NULL, &state, &why) == 0) {
            if (strcmp(json_opt_string(state, "status", ""), "inmigrate") != 0)
                return 0;
        } else if (why->kind != ERROR_TIMEOUT || source_gone_or_ending(a)) {
            CLEANUP_FREE char *tail = vm_log_tail(a->vm);
            error_move(err, why);
            return error_prefix(err, "QEMU could not load the VM: %s", tail);
        }
        error_free(why); /* it may wait for a page, while the network is away */
        fd_wait(a->vm->changed_fd, POLLIN, -1, clock_deadline_ns(LOOK_MS), NULL);
    }
}

static void look(struct arrival *a, char status[32], bool *gone)
{
    LOCK_SCOPE(&a->vm->lock);
    *gone = !a->vm->live || a->vm->guest.gone;
    memcpy(status, a->vm->guest.migration_status, 32);
}

/* --- a new connection, or the end; in the thread of the source's call, which has the lock --- */

/* The source comes again, with a new connection. */
static int await_stream(struct arrival *a, const char *stream, uint64_t given, uint64_t *ours,
                        struct error **err)
{
    struct relay_ends ends = {.event_fd = a->wake_fd, .goes_on = true, .from = given};
    CLEANUP_FREE char *peer = text_format("host %s", a->peer_name);
    relay_stop(STEAL(a->relay)); /* its spools stand still before anybody says where */
    if (data_link_options(a->context, a->vm->name, peer, stream, 1, &ends.link, err) < 0 ||
        held_take(&a->vm->process, a->job, &ends.held, err) < 0)
        return -1;
    *ours = spool_position(&ends.held.to);
    if (*ours == 0) {
        held_close(&ends.held);
        return error_set(err, ERROR_STATE, "job %s had not come to post-copy here", a->job);
    }
    a->relay = relay_start_destination(&ends, 0, NULL, err);
    if (!a->relay)
        return -1;
    snprintf(a->stream, sizeof(a->stream), "%s", stream);
    CLEANUP_FREE char *claim = text_format("arriving from %s", a->peer_name);
    vm_set_claim(a->vm, claim);
    log_info(a->vm->name, "post-copy from %s goes on at byte %" PRIu64, a->peer_name, *ours);
    return 0;
}

/* The guest cannot go on: the thread ends our QEMU, and waits until the source knows. */
static int await_lost(struct arrival *a, struct error **err)
{
    a->source_gone = true;
    fd_event_signal(a->wake_fd);
    if (!a->running)
        return error_set(err, ERROR_STATE, "job %s: its guest is being started", a->job);
    while (!a->lost && !a->finished)
        pthread_cond_wait(&a->changed, &a->lock);
    return a->lost ? 0 : error_set(err, ERROR_STATE, "job %s is over", a->job);
}

int arrival_recover(struct arrival *a, const char *stream, bool gone, uint64_t given,
                    const char **answer, uint64_t *ours, struct error **err)
{
    char status[32];
    bool gone_here;
    LOCK_SCOPE(&a->lock);
    if (!a->owner || !a->post_copy || a->finished)
        return error_set(err, ERROR_STATE, "job %s is not in post-copy here", a->job);
    look(a, status, &gone_here);
    if (a->running && strcmp(status, "completed") == 0) {
        *answer = "complete";
    } else if (gone || gone_here || a->source_gone || a->lost) {
        if (await_lost(a, err) < 0)
            return -1;
        *answer = "lost"; /* and again, until it says that it knows: the answer may not arrive */
        return 0;
    } else {
        *answer = "ready";
        return await_stream(a, stream, given, ours, err);
    }
    a->source_knows = true;
    fd_event_signal(a->wake_fd);
    return 0;
}

/* --- the arrival's thread --- */

/* Nothing comes any more over the connection there was. */
static void note_interrupted(struct arrival *a)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct relay *relay = NULL;
    pthread_mutex_lock(&a->lock);
    if (a->relay && relay_failure(a->relay, &err) < 0)
        relay = STEAL(a->relay);
    pthread_mutex_unlock(&a->lock);
    if (!relay)
        return;
    relay_stop(relay);
    CLEANUP_FREE char *claim = text_format(
        "in post-copy from %s, which is interrupted: waiting for its agent", a->peer_name);
    vm_set_claim(a->vm, claim);
    log_warning(a->vm->name, "post-copy from %s is interrupted: %s", a->peer_name, err->message);
}

/* The guest cannot go on. */
static void declare_lost(struct arrival *a)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_FREE char *claim = text_format("lost in post-copy from %s", a->peer_name);
    arrival_stop_relay(a);
    vm_set_claim(a->vm, claim);
    log_error(a->vm->name,
              "lost: a QEMU ended in post-copy from %s, and with it a part of the guest's memory "
              "that was nowhere else; start it again as after a crash",
              a->peer_name);
    if (a->vm->live && vm_end_unused(a->vm, &err) < 0) {
        log_error(a->vm->name, "%s; trying again", err->message);
        return; /* nobody is told before it is so */
    }
    LOCK_SCOPE(&a->lock);
    a->lost = true;
    pthread_cond_broadcast(&a->changed);
}

/* True when nothing more is to come, and *rest says why. */
static bool step(struct arrival *a, enum arrival_rest *rest)
{
    char status[32];
    bool gone;
    look(a, status, &gone);
    pthread_mutex_lock(&a->lock);
    bool source_gone = a->source_gone, source_knows = a->source_knows, relay = a->relay;
    struct relay_status stream = relay ? relay_status(a->relay) : (struct relay_status){0};
    pthread_mutex_unlock(&a->lock);
    if (strcmp(status, "completed") == 0) {
        *rest = REST_COMPLETE;
        /* QEMU's last word goes to the source; its END says that it has come there, and only then
         * may the connection close. A source that has lost the connection asks instead. */
        return source_knows || !relay || stream.ended || stream.failed;
    }
    if (gone || source_gone || a->lost) {
        *rest = REST_LOST;
        if (!a->lost)
            declare_lost(a);
        return source_knows;
    }
    note_interrupted(a);
    return false;
}

/* The guest is lost, but our QEMU does not end. */
static bool ended_in_vain(struct arrival *a)
{
    LOCK_SCOPE(&a->lock);
    return a->source_gone && !a->lost;
}

enum arrival_rest arrival_await_rest(struct arrival *a)
{
    enum arrival_rest rest;
    while (!step(a, &rest)) {
        fault_pass(FAULT_DESTINATION_POST_COPY);
        CLEANUP_ERROR struct error *err = NULL;
        if (arrival_wait(a, ended_in_vain(a) ? clock_deadline_ns(TRY_AGAIN_MS) : DEADLINE_NEVER,
                         &err) < 0 &&
            err->kind != ERROR_TIMEOUT)
            return REST_AGENT_ENDS; /* QEMU's sockets stay as they are: the next agent goes on */
    }
    return rest;
}
