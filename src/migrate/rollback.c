/* SPDX-License-Identifier: Apache-2.0 */
/* Undoing a move: the VM is where it was, and the destination has nothing of it. */
#include <poll.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/log.h"
#include "migrate/closing.h"
#include "migrate/held.h"
#include "migrate/migration_private.h"
#include "qemu/unblock.h"

/* How long QEMU may take to give up its outgoing migration. */
#define CANCEL_MS 10000
/* Between two tries to continue a guest whose migration is just ending, which no event tells. */
#define CONT_AGAIN_MS 5

static bool qemu_lives(struct migration *m)
{
    LOCK_SCOPE(&m->vm->lock);
    return m->vm->live && !m->vm->guest.gone;
}

/* QEMU gives up its outgoing migration and is as before. */
static void cancel_qemu(struct migration *m)
{
    CLEANUP_ERROR struct error *err = NULL;
    char status[32];
    int64_t deadline_ns = clock_deadline_ns(CANCEL_MS);
    /* One that has stood in its package since an earlier agent ended: nobody wants that any more.
     */
    if (m->found && !m->vm->qmp && qemu_lives(m) && qemu_unblock(&m->vm->process, true))
        vm_reconnect(m->vm, m->cancel_fd, NULL);
    if (post_copy_way_back_needed(m)) {
        if (post_copy_way_back(m, &err) < 0)
            log_error(m->vm->name, "bringing it back from post-copy: %s", err->message);
        return;
    }
    if (!m->vm->qmp || qmp_execute(m->vm->qmp, "migrate_cancel", NULL, NULL, &err) < 0)
        return;
    for (;;) {
        migration_qemu_status(m, status);
        if (strcmp(status, "cancelled") == 0 || strcmp(status, "failed") == 0 ||
            strcmp(status, "completed") == 0 || strcmp(status, "none") == 0 || !*status)
            return;
        if (fd_wait(m->vm->changed_fd, POLLIN, -1, deadline_ns, &err) < 0)
            return;
        fd_event_clear(m->vm->changed_fd);
    }
}

/* QEMU 7.2 that is told to cancel in the moment in which it gives its disks away runs its guest
 * again without taking them back; `cont` does, also for one that runs. */
static bool disks_may_be_inactive(const struct migration *m)
{
    return m->stopped_ns || m->found;
}

/* `cont`, also when QEMU has yet to notice that its migration is over: it says so first, and lets
 * go of the guest a moment later, perhaps between its refusal and our look at its status. */
static int continue_guest(struct migration *m, struct error **err)
{
    int64_t deadline_ns = clock_deadline_ns(CANCEL_MS);
    for (bool let_go = false;;) {
        CLEANUP_JSON json_t *state = NULL;
        struct error *why = NULL;
        if (qmp_execute(m->vm->qmp, "cont", NULL, NULL, &why) == 0)
            return 0;
        if (let_go || clock_now_ns() >= deadline_ns ||
            qmp_execute(m->vm->qmp, "query-status", NULL, &state, NULL) < 0)
            return error_move(err, why);
        error_free(why);
        let_go = strcmp(json_opt_string(state, "status", ""), "finish-migrate") != 0;
        if (let_go)
            continue;
        fd_wait(m->vm->changed_fd, POLLIN, -1, clock_deadline_ns(CONT_AGAIN_MS), NULL);
        fd_event_clear(m->vm->changed_fd);
    }
}

static void resume_guest(struct migration *m)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_JSON json_t *state = NULL;
    const char *name = m->vm->name, *host = m->context->host_name;
    if (!m->was_running || !qemu_lives(m))
        return;
    if (!m->vm->qmp)
        migration_warn(m,
                       "its QEMU on %s does not answer, so that the guest may stand still there; "
                       "restart mudanzad once it does, then `mudanza resume %s` if it is paused",
                       host, name);
    else if ((qmp_execute(m->vm->qmp, "query-status", NULL, &state, NULL) < 0 ||
              !json_opt_bool(state, "running", false) || disks_may_be_inactive(m)) &&
             continue_guest(m, &err) < 0)
        migration_warn(m, "it stands still on %s: %s; `mudanza resume %s` tries again", host,
                       err->message, name);
}

/* The destination undoes its part. */
static bool abort_there(struct migration *m)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct varlink_connection *control = peer_find_control(m->context->store, &m->peer, -1, &err);
    if (!control || peer_call(control, &m->peer, "Abort", json_pack("{s:s}", "job", m->job), NULL,
                              -1, &err) < 0)
        log_warning(m->vm->name, "telling %s that its part is void: %s", m->peer.host.name,
                    err->message);
    varlink_connection_free(control);
    return !err;
}

/* The record goes, unless the destination is yet to hear that its part is void: that need not be
 * waited for, as it would find out by itself, if later. Nor is a disk that takes no write now. */
static int close_record(struct migration *m, bool told, struct error **err)
{
    struct store *store = m->context->store;
    bool aborted =
        !told && journal_move(store, m->job, true, JOURNAL_PREPARED, JOURNAL_ABORTED, NULL) == 0;
    if (!aborted && journal_delete(store, m->job, true, NULL) == 0)
        return 0;
    return closing_start(m->context, m->job, NULL, err);
}

void migration_rollback(struct migration *m)
{
    fault_pass(FAULT_SOURCE_ROLLBACK);
    if (m->relay)
        m->relayed = relay_status(m->relay);
    if (post_copy_way_back_needed(m))
        relay_stop(STEAL(m->relay)); /* it must not compete for the bytes */
    else if (m->relay)
        relay_discard(m->relay);
    cancel_qemu(m);
    resume_guest(m);
    fault_pass(FAULT_SOURCE_RESUMED);
    relay_stop(STEAL(m->relay));
    if (m->vm->qmp)
        held_drop(m->vm->qmp);
    follower_stop(STEAL(m->follower));
    bool told = !m->found && (!m->prepared || abort_there(m));
    CLEANUP_ERROR struct error *err = NULL;
    fault_pass(FAULT_SOURCE_ABORTED_BEFORE);
    if (m->journalled && close_record(m, told, &err) < 0)
        log_error(m->vm->name, "%s", err->message);
    m->journalled = false;
    fault_pass(FAULT_SOURCE_ABORTED_AFTER);
}
