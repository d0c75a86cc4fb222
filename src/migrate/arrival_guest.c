/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From J(OWNER) to a guest that runs, in the agent that wrote it and in one that found it: the
 * table "From OWNER to running" of docs/handover.md.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/log.h"
#include "migrate/arrival_private.h"
#include "migrate/mark.h"

/* Between two questions to a QEMU that does not answer, or says nothing that decides. */
#define ASK_AGAIN_MS 500

static bool may_have_run(const struct arrival *a)
{
    return mark_may_have_run(a->context->vms->run_dir, a->job, a->boot_id);
}

static bool qemu_gone(struct arrival *a)
{
    LOCK_SCOPE(&a->vm->lock);
    return !a->vm->live || a->vm->guest.gone;
}

/* In post-copy, with our QEMU not answering: it may wait for ever for a page that is lost. Whether
 * the guest ran or not, it cannot go on; what follows is as if it had. */
static bool source_gone(struct arrival *a)
{
    LOCK_SCOPE(&a->lock);
    return a->source_gone;
}

static bool resumed(struct arrival *a)
{
    LOCK_SCOPE(&a->vm->lock);
    return a->vm->guest.resumed_ns != 0;
}

/* What QEMU says of itself; false when it does not, and *silent when it had the time. */
static bool query_status(struct arrival *a, char status[32], bool *silent)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_JSON json_t *state = NULL;
    fd_event_clear(a->wake_fd); /* news of the stream; pause_ends looks at what else it may be */
    if ((!a->vm->qmp && vm_reconnect(a->vm, a->wake_fd, &err) < 0) ||
        qmp_execute(a->vm->qmp, "query-status", NULL, &state, &err) < 0) {
        *silent = err->kind != ERROR_CANCELLED;
        return false;
    }
    snprintf(status, 32, "%s", json_opt_string(state, "status", ""));
    return true;
}

/* Something may be new. True when the agent ends. */
static bool pause_ends(struct arrival *a)
{
    struct pollfd polls[] = {{.fd = a->wake_fd, .events = POLLIN},
                             {.fd = a->vm->changed_fd, .events = POLLIN}};
    poll(polls, ARRAY_SIZE(polls), clock_poll_ms(clock_deadline_ns(ASK_AGAIN_MS)));
    fd_event_clear(a->wake_fd);
    fd_event_clear(a->vm->changed_fd);
    LOCK_SCOPE(&a->lock);
    return a->ending;
}

/* `cont` was answered with an error, or not at all. QEMU writes RESUME to its monitor before the
 * first instruction (its vm_prepare_start), so that a monitor that was read to its end without one
 * belongs to a guest that never ran. */
static enum arrival_guest after_failed_cont(struct arrival *a)
{
    char status[32];
    bool silent = false;
    for (;;) {
        bool gone = qemu_gone(a);
        if (resumed(a))
            return GUEST_OURS;
        if (gone)
            return GUEST_NEVER_RAN;
        if (query_status(a, status, &silent))
            return strcmp(status, "running") == 0 || resumed(a) ? GUEST_OURS : GUEST_NEVER_RAN;
        if (silent && source_gone(a))
            return GUEST_OURS;
        if (pause_ends(a))
            return GUEST_UNKNOWN;
    }
}

enum arrival_guest arrival_start_guest(struct arrival *a, struct error **err)
{
    if (fault_point(FAULT_DESTINATION_MARK_BEFORE, err) < 0 ||
        mark_make(a->context->vms->run_dir, a->job, err) < 0 ||
        fault_point(FAULT_DESTINATION_CONT_BEFORE, err) < 0)
        return GUEST_NEVER_RAN;
    if (qemu_gone(a)) { /* looked at last: whoever dies before `cont` is sent has never run */
        error_set(err, ERROR_QEMU, "QEMU ended before the guest could run");
        return GUEST_NEVER_RAN;
    }
    CLEANUP_ERROR struct error *why = NULL;
    if (a->running_wanted && qmp_execute(a->vm->qmp, "cont", NULL, NULL, &why) < 0) {
        bool sent = why->sys_errno != EPIPE;
        error_move(err, STEAL(why));
        return sent ? after_failed_cont(a) : GUEST_NEVER_RAN;
    }
    fault_pass(FAULT_DESTINATION_CONT_AFTER);
    return GUEST_OURS;
}

enum arrival_guest arrival_take_up_guest(struct arrival *a, struct error **err)
{
    char status[32];
    bool silent = false;
    for (;;) {
        if (qemu_gone(a)) {
            if (may_have_run(a))
                return GUEST_OURS;
            error_set(err, ERROR_QEMU, "its QEMU ended before the guest could run");
            return GUEST_NEVER_RAN;
        }
        if (query_status(a, status, &silent)) {
            if (strcmp(status, "running") == 0)
                return GUEST_OURS;
            if (strcmp(status, "paused") == 0 || strcmp(status, "prelaunch") == 0)
                return arrival_start_guest(a, err);
            if (strcmp(status, "inmigrate") != 0)
                log_debug(a->vm->name, "QEMU says that it is '%s'; asking again", status);
        } else if (silent && source_gone(a)) {
            return GUEST_OURS;
        }
        if (pause_ends(a))
            return GUEST_UNKNOWN;
    }
}
