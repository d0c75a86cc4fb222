/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The confirm phase: the VM is the destination's; this side lets go of it. QEMU ends, the
 * destination says that it has stored the VM, the definition here goes with the record of the move,
 * the destination may forget the job: in this order, so that the last definition there is never
 * depends on a promise.
 */
#include <poll.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "migrate/closing.h"
#include "migrate/migration_private.h"

/* Between two tries at what only a broken host keeps from happening. */
#define AGAIN_MS 1000

/* Calls what may be called twice; a control connection that broke meanwhile is made anew. */
static int call_there(struct migration *m, const char *method, struct error **err)
{
    for (;;) {
        bool fresh = !m->control;
        if (fresh &&
            !(m->control = peer_find_control(m->context->store, &m->peer, m->cancel_fd, err)))
            return -1;
        struct error *why = NULL;
        if (peer_call(m->control, &m->peer, method, json_pack("{s:s}", "job", m->job), NULL,
                      m->cancel_fd, &why) == 0)
            return 0;
        varlink_connection_free(STEAL(m->control));
        if (fresh || why->kind == ERROR_CANCELLED)
            return error_move(err, why);
        error_free(why);
    }
}

/* QEMU here has nothing to do any more, and holds what the destination may need. */
static int end_qemu(struct migration *m, struct error **err)
{
    for (;;) {
        struct error *why = NULL;
        if (fault_point(FAULT_SOURCE_QEMU_END_BEFORE, &why) == 0 && vm_end(m->vm, &why) == 0 &&
            fault_point(FAULT_SOURCE_QEMU_END_AFTER, &why) == 0)
            return 0;
        migration_note(m, "the VM runs on %s, but its QEMU here does not end: %s",
                       m->peer.host.name, why->message);
        if (fd_wait(m->cancel_fd, POLLIN, -1, clock_deadline_ns(AGAIN_MS), NULL) == 0)
            return error_move(err, why);
        error_free(why);
    }
}

/* An agent that dies from here on leaves the word on how the move ended. */
static void store_report(struct migration *m)
{
    CLEANUP_ERROR struct error *err = NULL;
    m->phase_ns[PHASE_COUNT] = clock_now_ns();
    CLEANUP_JSON json_t *report = report_make(m, OUTCOME_COMPLETED, NULL);
    if (store_report_put(m->context->store, m->vm->name, report, &err) < 0)
        log_error(m->vm->name, "%s", err->message);
}

/* May the definition here go? Only once the destination has stored what it was to store. */
static int await_stored(struct migration *m, bool *undefine, struct error **err)
{
    struct error *why = NULL;
    if (!m->options.undefine_source || !m->vm->definition) {
        *undefine = false;
        return 0;
    }
    *undefine = call_there(m, "Stored", &why) == 0;
    if (*undefine)
        return 0;
    if (why->kind == ERROR_CANCELLED)
        return error_move(err, why);
    migration_warn(m,
                   "it runs on host %s, which has not stored it: %s. Its definition stays here. "
                   "Once `mudanza list` shows it on %s without a job, `mudanza undefine %s` here "
                   "removes it",
                   m->peer.host.name, why->message, m->peer.host.name, m->vm->name);
    error_free(why);
    return 0;
}

/* What is not copied yet, while QEMU is still there: for at most a tenth of the time that the move
 * took. */
static void keep_ram(struct migration *m)
{
    const int64_t now_ns = clock_now_ns();
    if (m->kept)
        keeper_finish(m->context->keeper, STEAL(m->kept), now_ns + (now_ns - m->started_ns) / 10);
}

/* Shared memory outlives QEMU as it is: to be had only while QEMU is there, and kept only when it
 * has ended, so that nobody writes it any more. */
static int end_and_keep(struct migration *m, struct error **err)
{
    CLEANUP_CLOSE int file = m->shares && !m->kept ? known_pages_file(m->vm) : -1;
    CLEANUP_FREE char *group = m->vm->live ? text_copy(m->vm->live->group) : NULL;
    keep_ram(m);
    if (end_qemu(m, err) < 0)
        return -1;
    struct domain left = {.name = m->vm->name, .group = group};
    snprintf(left.uuid, sizeof(left.uuid), "%s", m->vm->uuid);
    if (file >= 0)
        keeper_adopt(m->context->keeper, &left, STEAL_FD(file));
    return 0;
}

int confirm_run(struct migration *m, struct error **err)
{
    ram_source_free(STEAL(m->sampled)); /* or shared RAM would outlive its QEMU */
    if (m->relay)
        m->relayed = relay_status(m->relay);
    relay_stop(STEAL(m->relay));
    bool undefine;
    if (end_and_keep(m, err) < 0 || await_stored(m, &undefine, err) < 0)
        return -1;
    store_report(m);
    CLEANUP_ERROR struct error *why = NULL;
    if ((undefine && fault_point(FAULT_SOURCE_DEFINITION_DROP, &why) < 0) ||
        fault_point(FAULT_SOURCE_DONE_BEFORE, &why) < 0 ||
        journal_close(m->context->store, m->job, undefine ? m->vm->uuid : NULL, &why) < 0) {
        migration_warn(m,
                       "it runs on host %s; closing its record here failed, and is tried again: %s",
                       m->peer.host.name, why->message);
        m->closing = true;
        return 0;
    }
    if (undefine)
        vm_definition_dropped(m->vm);
    m->committed = false;
    fault_pass(FAULT_SOURCE_DONE_AFTER);
    /* If it does not hear this, it keeps the job's record a little longer. */
    if (call_there(m, "Forget", &why) < 0 ||
        journal_delete(m->context->store, m->job, true, &why) < 0) {
        log_warning(m->vm->name, "closing its move: %s", why->message);
        m->closing = true;
    }
    m->journalled = false;
    fault_pass(FAULT_SOURCE_FORGOTTEN);
    return 0;
}

void confirm_rest(struct migration *m)
{
    CLEANUP_ERROR struct error *err = NULL;
    if (m->closing && closing_start(m->context, m->job, m->committed ? m->vm : NULL, &err) < 0)
        log_error(m->vm->name, "closing its move: %s", err->message);
}
