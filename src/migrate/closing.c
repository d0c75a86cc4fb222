/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is left of a move at its source when nobody waits for it any more: the outcome that is not
 * known of a VM that is gone here, the record that is not closed, the destination that has not
 * forgotten the job. One thread a job tries until it is done, or the agent ends; the journal has it
 * for the next one.
 */
#include "migrate/closing.h"

#include <poll.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "migrate/migration_private.h"

/* Between two tries: at first, and at most. */
#define AGAIN_MS      1000
#define AGAIN_MOST_MS 60000

struct closing {
    struct migrate_context *context;
    struct vm *vm; /* claimed until the record is closed; NULL: there is none here */
    struct journal_entry entry;
};

static struct peer peer_of(const struct closing *c)
{
    return (struct peer){
        .tls = c->context->tls,
        .host = {.name = c->entry.peer_name, .fingerprint = c->entry.peer_fingerprint}};
}

static void closing_free(struct closing *c)
{
    if (c->vm) {
        vm_release(c->vm);
        vm_put(c->vm);
    }
    journal_entry_clear(&c->entry);
    free(c);
}

/* Our QEMU is gone: a guest that still missed pages of it is lost. */
static int tell_gone(struct closing *c, struct error **err)
{
    const struct peer peer = peer_of(c);
    const struct post_copy_question question = {
        .job = c->entry.job, .stream = c->entry.job, .gone = true};
    struct post_copy_reply reply = {.answer = POST_COPY_COMPLETE};
    if (post_copy_ask(c->context->store, &peer, &question, c->context->end_fd, &reply, err) < 0)
        return -1;
    if (reply.answer == POST_COPY_LOST)
        log_error(c->entry.name, "lost: its QEMU here ended in post-copy to %s",
                  c->entry.peer_name);
    return 0;
}

/* One call to the destination. */
static int call(struct closing *c, const char *method, struct error **err)
{
    const struct peer peer = peer_of(c);
    struct varlink_connection *control =
        peer_find_control(c->context->store, &peer, c->context->end_fd, err);
    if (!control)
        return -1;
    int result = peer_call(control, &peer, method, json_pack("{s:s}", "job", c->entry.job), NULL,
                           c->context->end_fd, err);
    varlink_connection_free(control);
    return result;
}

/* From committed to done; the definition goes with it if it is to, and is safe there. */
static int close_record(struct closing *c, struct error **err)
{
    struct store *store = c->context->store;
    const struct peer peer = peer_of(c);
    int owner = handover_ask(store, &peer, c->entry.job, c->context->end_fd, err);
    bool post_copy = json_opt_bool(c->entry.options, "post_copy", false);
    if (owner < 0 && post_copy)
        tell_gone(c, NULL); /* it may be all that the destination waits for to decide */
    if (owner < 0)
        return -1;
    if (!owner) {
        CLEANUP_VM struct vm *vm = vm_find(c->context->vms, c->entry.uuid, NULL);
        if (!vm || vm_state(vm) == VM_SHUT_OFF)
            log_error(c->entry.name, "host %s never ran it, and its QEMU here is gone",
                      c->entry.peer_name);
        return journal_delete(store, c->entry.job, true, err);
    }
    if (post_copy && tell_gone(c, err) < 0)
        return -1;
    bool undefine = c->vm && c->vm->definition &&
                    json_opt_bool(c->entry.options, "undefine_source", false) &&
                    call(c, "Stored", NULL) == 0;
    if (journal_close(store, c->entry.job, undefine ? c->vm->uuid : NULL, err) < 0)
        return -1;
    if (undefine)
        vm_definition_dropped(c->vm);
    c->entry.state = JOURNAL_DONE;
    return 0;
}

/* The last word to the destination: Forget, or Abort. Then the record may go. */
static int tell(struct closing *c, const char *method, struct error **err)
{
    return call(c, method, err) < 0 ? -1
                                    : journal_delete(c->context->store, c->entry.job, true, err);
}

/* 1: all done. 0: a step further. -1: try again. */
static int step(struct closing *c, struct error **err)
{
    if (c->entry.state == JOURNAL_PREPARED) {
        struct error *why = NULL; /* ERROR_STATE: a newer move of the VM has said so already */
        if (journal_move(c->context->store, c->entry.job, true, JOURNAL_PREPARED, JOURNAL_ABORTED,
                         &why) < 0 &&
            why->kind != ERROR_STATE)
            return error_move(err, why);
        error_free(why);
        c->entry.state = JOURNAL_ABORTED;
    }
    if (c->entry.state == JOURNAL_COMMITTED) {
        if (close_record(c, err) < 0)
            return -1;
        return c->entry.state == JOURNAL_COMMITTED; /* else Forget is left */
    }
    bool aborted = c->entry.state == JOURNAL_ABORTED;
    if (fault_point(FAULT_SOURCE_CLOSING, err) < 0)
        return -1;
    return tell(c, aborted ? "Abort" : "Forget", err) < 0 ? -1 : 1;
}

static void closing_run(void *argument)
{
    struct closing *c = argument;
    int64_t wait_ms = AGAIN_MS;
    for (;;) {
        CLEANUP_ERROR struct error *err = NULL;
        int done = step(c, &err);
        if (done == 1)
            break;
        if (c->vm && c->entry.state == JOURNAL_DONE) {
            vm_release(c->vm);
            vm_put(STEAL(c->vm));
        }
        if (done == 0)
            continue;
        log_warning(c->entry.name, "closing its move: %s; trying again", err->message);
        if (fd_wait(c->context->end_fd, POLLIN, -1, clock_deadline_ns(wait_ms), NULL) == 0)
            break;
        wait_ms = wait_ms * 2 < AGAIN_MOST_MS ? wait_ms * 2 : AGAIN_MOST_MS;
    }
    closing_free(c);
}

int closing_start(struct migrate_context *context, const char *job, struct vm *vm,
                  struct error **err)
{
    struct closing *c = calloc(1, sizeof(*c));
    if (!c)
        return error_set(err, ERROR_SYSTEM, "out of memory");
    c->context = context;
    int found = journal_find(context->store, job, true, &c->entry, err);
    if (found == 0)
        error_set(err, ERROR_NOT_FOUND, "journal: job %s is not there", job);
    if (found == 1) {
        c->vm = vm ? vm_get(vm) : NULL;
        if (migrate_thread_start(context, closing_run, c, err) == 0)
            return 0;
    }
    if (c->vm)
        vm_put(STEAL(c->vm));
    closing_free(c);
    return -1;
}
