/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Post-copy, seen from its destination: the guest runs here, and the pages it misses come. The
 * stream may be lost and begun anew any number of times (post_copy.c says how); QEMU, whose socket
 * nobody closes, waits meanwhile, and so do those of the guest's CPUs that need such a page.
 */
#include <poll.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "migrate/arrival_private.h"
#include "migrate/data_link.h"
#include "migrate/held_socket.h"
#include "migrate/qemu_migration.h"

/* For what QEMU does at once, unless the machine is very busy. */
#define QEMU_MS 30000
/* Between two looks at whether QEMU has loaded the devices, which no event tells. */
#define LOOK_MS 1

int arrival_await_devices(struct arrival *a, struct error **err)
{
    for (;;) {
        CLEANUP_JSON json_t *state = NULL;
        if (qmp_execute(a->vm->qmp, "query-status", NULL, &state, err) < 0) {
            CLEANUP_FREE char *tail = vm_log_tail(a->vm);
            return error_prefix(err, "QEMU could not load the VM: %s", tail);
        }
        if (strcmp(json_opt_string(state, "status", ""), "inmigrate") != 0)
            return 0;
        fd_wait(a->vm->changed_fd, POLLIN, -1, clock_deadline_ns(LOOK_MS), NULL);
    }
}

static void look(struct arrival *a, char status[32], bool *gone)
{
    LOCK_SCOPE(&a->vm->lock);
    *gone = !a->vm->live || a->vm->guest.gone;
    memcpy(status, a->vm->guest.migration_status, 32);
}

/* Nothing comes any more over the stream there was, if there was one. */
static void end_stream(struct arrival *a)
{
    CLEANUP_ERROR struct error *err = NULL;
    if (a->relay)
        relay_failure(a->relay, &err);
    arrival_stop_relay(a);
    a->recovering = false;
    CLEANUP_FREE char *claim = text_format(
        "in post-copy from %s, which is interrupted: waiting for its agent", a->peer_name);
    vm_set_claim(a->vm, claim);
    log_warning(a->vm->name, "post-copy from %s is interrupted%s%s", a->peer_name, err ? ": " : "",
                err ? err->message : "");
}

/* --- a new stream --- */

/* QEMU's migration stands, and waits for a new stream. */
static int pause_qemu(struct arrival *a, struct error **err)
{
    int64_t deadline_ns = clock_deadline_ns(QEMU_MS);
    char status[32];
    bool gone;
    if (!a->vm->qmp && vm_reconnect(a->vm, a->wake_fd, err) < 0)
        return -1;
    if (held_socket_cut(a->vm->qmp, &a->vm->process, err) < 0)
        return -1;
    a->holder_fdset = -1;
    for (;;) {
        look(a, status, &gone);
        if (gone)
            return error_set(err, ERROR_QEMU, "its QEMU has ended");
        if (strcmp(status, "postcopy-paused") == 0)
            return 0;
        if (arrival_wait(a, deadline_ns, err) < 0)
            return error_prefix(err, "QEMU does not pause its migration, which is '%s'", status);
    }
}

/* A relay for the new stream, whose source may come now. */
static int await_stream(struct arrival *a, struct error **err)
{
    struct link_options options;
    CLEANUP_FREE char *peer = text_format("host %s", a->peer_name);
    if (data_link_options(a->context, a->vm->name, peer, a->recover.stream, a->connections,
                          &options, err) < 0)
        return -1;
    int fd = qemu_migration_socket(a->vm->qmp, "mudanza", &a->holder_fdset, err);
    struct relay *relay = fd < 0 ? NULL : relay_start_destination(&options, 0, NULL, fd, err);
    if (!relay)
        return -1;
    LOCK_SCOPE(&a->lock);
    a->relay = relay;
    a->recovering = true;
    snprintf(a->stream, sizeof(a->stream), "%s", a->recover.stream);
    return 0;
}

/* The source has come: from now on both QEMUs talk to each other. Not before that: a QEMU 7.2 that
 * hears nothing, or half of what it waits for, does not get over the next cut. */
static int begin_stream(struct arrival *a, struct error **err)
{
    a->recovering = false;
    if (qemu_migration_recover(a->vm->qmp, "mudanza", err) < 0)
        return -1;
    CLEANUP_FREE char *claim = text_format("arriving from %s", a->peer_name);
    vm_set_claim(a->vm, claim);
    log_info(a->vm->name, "post-copy from %s goes on", a->peer_name);
    return 0;
}

static void answer(struct arrival *a, const char *word, struct error *error)
{
    LOCK_SCOPE(&a->lock);
    a->recover.answer = word;
    a->recover.error = error;
    pthread_cond_broadcast(&a->changed);
}

/* Recover was called: takes the call's data. */
static bool take_call(struct arrival *a, bool *gone)
{
    LOCK_SCOPE(&a->lock);
    *gone = a->recover.asked && a->recover.gone;
    return a->recover.asked && !a->recover.answer && !a->recover.error;
}

/* --- what is to be done --- */

/* The guest cannot go on. Only once its source knows that, the job is over. */
static bool serve_lost(struct arrival *a, bool called)
{
    if (a->vm->live || !a->lost) {
        CLEANUP_ERROR struct error *err = NULL;
        CLEANUP_FREE char *claim = text_format("lost in post-copy from %s", a->peer_name);
        a->lost = true;
        end_stream(a);
        vm_set_claim(a->vm, claim);
        log_error(
            a->vm->name,
            "lost: a QEMU ended in post-copy from %s, and with it a part of the guest's memory "
            "that was nowhere else; start it again as after a crash",
            a->peer_name);
        if (a->vm->live && vm_end_unused(a->vm, &err) < 0)
            log_error(a->vm->name, "%s", err->message);
    }
    if (called)
        answer(a, "lost", NULL);
    return called;
}

/* The source has lost the stream, and asks for a new one. */
static void serve_recovery(struct arrival *a)
{
    struct error *err = NULL;
    end_stream(a);
    if (pause_qemu(a, &err) == 0 && await_stream(a, &err) == 0)
        answer(a, "ready", NULL);
    else
        answer(a, NULL, err);
}

/* What the stream, or a new one, brings. */
static void serve_stream(struct arrival *a)
{
    if (!a->relay)
        return;
    CLEANUP_ERROR struct error *err = NULL;
    struct relay_status stream = relay_status(a->relay);
    if (stream.failed || (a->recovering && stream.link.connections && begin_stream(a, &err) < 0)) {
        if (err)
            log_error(a->vm->name, "post-copy from %s: %s", a->peer_name, err->message);
        end_stream(a);
    }
}

/* True when nothing more is to come, and *rest says why. */
static bool step(struct arrival *a, enum arrival_rest *rest)
{
    char status[32];
    bool gone, source_gone;
    look(a, status, &gone);
    bool called = take_call(a, &source_gone);
    if (strcmp(status, "completed") == 0) {
        *rest = REST_COMPLETE;
        if (called)
            answer(a, "complete", NULL);
        /* QEMU's last word goes to the source; its END says that it has come there, and only then
         * may the connection close. A source that has lost the stream asks instead. */
        struct relay_status stream = a->relay ? relay_status(a->relay) : (struct relay_status){0};
        return called || !a->relay || stream.ended || stream.failed;
    }
    if (gone || source_gone || a->lost) {
        *rest = REST_LOST;
        return serve_lost(a, called);
    }
    if (called)
        serve_recovery(a);
    serve_stream(a);
    return false;
}

enum arrival_rest arrival_await_rest(struct arrival *a)
{
    enum arrival_rest rest;
    while (!step(a, &rest)) {
        fault_pass(FAULT_DESTINATION_POST_COPY);
        CLEANUP_ERROR struct error *err = NULL;
        if (arrival_wait(a, DEADLINE_NEVER, &err) < 0)
            return REST_AGENT_ENDS; /* QEMU's sockets stay as they are: the next agent goes on */
    }
    return rest;
}
