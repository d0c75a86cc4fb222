/* SPDX-License-Identifier: Apache-2.0 */
/* A move, seen from its source: the thread that goes through the phases, its start and its end. */
#include "migrate/migration.h"

#include <string.h>
#include <sys/eventfd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "migrate/migration_private.h"

/* --- the thread --- */

struct step {
    enum migrate_phase phase;
    int (*run)(struct migration *m, struct error **err);
};

static const struct step moving_steps[] = {{PHASE_PLAN, plan_run},
                                           {PHASE_PREPARE, prepare_run},
                                           {PHASE_COPY, copy_run},
                                           {PHASE_HANDOVER, handover_run},
                                           {PHASE_CONFIRM, confirm_run}};
static const struct step offline_steps[] = {{PHASE_PLAN, plan_run}, {PHASE_COPY, offline_run}};

static int run_steps(struct migration *m, struct error **err)
{
    bool offline = m->options.mode == MIGRATE_OFFLINE;
    const struct step *steps = offline ? offline_steps : moving_steps;
    size_t count = offline ? ARRAY_SIZE(offline_steps) : ARRAY_SIZE(moving_steps);
    for (size_t i = 0; i < count; i++) {
        migration_enter(m, steps[i].phase);
        if (steps[i].run(m, err) < 0)
            return -1;
        if (steps[i].phase == PHASE_HANDOVER)
            migration_sample(m, NULL); /* the last figures, while QEMU is still there */
    }
    return 0;
}

static enum migrate_outcome judge(struct migration *m, int result, const struct error *why)
{
    if (result == 0)
        return OUTCOME_COMPLETED;
    if (m->committed)
        return OUTCOME_IN_DOUBT;
    LOCK_SCOPE(&m->lock);
    return m->cancelled && why && why->kind == ERROR_CANCELLED ? OUTCOME_ABORTED : OUTCOME_FAILED;
}

static void explain_abort(struct migration *m, struct error *why)
{
    LOCK_SCOPE(&m->lock);
    const char *host = m->context->host_name;
    free(why->message);
    why->message = m->agent_ends
                       ? text_format("aborted, because the agent of %s was told to end; the VM is "
                                     "as it was there",
                                     host)
                       : text_format("aborted, as asked; the VM is as it was on %s", host);
}

static void leave_list(struct migration *m)
{
    LOCK_SCOPE(&m->context->lock);
    for (struct migration **at = &m->context->migrations; *at; at = &(*at)->next)
        if (*at == m) {
            *at = m->next;
            return;
        }
}

static void finish(struct migration *m, int result, struct error *why)
{
    if (result == 0)
        m->percent = 100;
    enum migrate_outcome outcome = judge(m, result, why);
    if (outcome == OUTCOME_ABORTED)
        explain_abort(m, why);
    m->phase_ns[PHASE_COUNT] = clock_now_ns();
    json_t *report = report_make(m, outcome, why);
    CLEANUP_ERROR struct error *err = NULL;
    if (store_report_put(m->context->store, m->vm->name, report, &err) < 0)
        log_error(m->vm->name, "%s", err->message);
    if (outcome == OUTCOME_COMPLETED)
        log_info(m->vm->name, "moved to %s in %lld ms, downtime %lld ms", m->peer.host.name,
                 (long long)json_opt_int(report, "total_ms", 0),
                 (long long)json_opt_int(report, "downtime_ms", 0));
    else
        log_warning(m->vm->name, "move to %s: %s", m->peer.host.name, why ? why->message : "?");
    leave_list(m);
    if (m->closing)
        confirm_rest(m);
    if (!m->committed)
        vm_release(m->vm);
    pthread_mutex_lock(&m->lock);
    m->report = report;
    m->sequence++;
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
}

static void migration_thread(void *argument)
{
    struct migration *m = argument;
    CLEANUP_ERROR struct error *why = NULL;
    int result = run_steps(m, &why);
    if (result < 0 && !m->committed)
        migration_rollback(m);
    keeper_cancel(m->context->keeper, STEAL(m->kept));
    finish(m, result, why);
    migration_put(m);
}

static void migration_free(struct migration *m)
{
    relay_stop(m->relay);
    varlink_connection_free(m->control);
    follower_stop(m->follower);
    domain_free(m->target);
    peer_clear(&m->peer);
    migrate_options_clear(&m->options);
    vm_put(m->vm);
    close(m->cancel_fd);
    close(m->stream_fd);
    if (m->qemu_end >= 0)
        close(m->qemu_end);
    ram_source_free(m->sampled);
    free(m->written);
    free(m->remote.digests);
    error_free(m->remote.error);
    json_decref(m->problems);
    json_decref(m->warnings);
    json_decref(m->progress);
    json_decref(m->report);
    free(m->note);
    pthread_mutex_destroy(&m->lock);
    pthread_cond_destroy(&m->changed);
    free(m);
}

void migration_put(struct migration *m)
{
    pthread_mutex_lock(&m->context->lock);
    bool last = --m->references == 0;
    pthread_mutex_unlock(&m->context->lock);
    if (last)
        migration_free(m);
}

struct migration *migration_find(struct migrate_context *context, const char *vm_name)
{
    LOCK_SCOPE(&context->lock);
    for (struct migration *m = context->migrations; m; m = m->next)
        if (strcmp(m->vm->name, vm_name) == 0 || strcasecmp(m->vm->uuid, vm_name) == 0) {
            m->references++;
            return m;
        }
    return NULL;
}

void migration_host_moved(struct migrate_context *context, const char *fingerprint)
{
    LOCK_SCOPE(&context->lock);
    for (struct migration *m = context->migrations; m; m = m->next)
        if (strcmp(m->peer.host.fingerprint, fingerprint) == 0) {
            m->peer_moved = true;
            fd_event_signal(m->stream_fd);
        }
}

/* --- starting --- */

static struct migration *migration_new(struct migrate_context *context, struct vm *vm)
{
    struct migration *m = calloc(1, sizeof(*m));
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&m->lock, NULL);
    pthread_cond_init(&m->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    m->context = context;
    m->references = 2; /* the caller's and the thread's */
    m->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    m->stream_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    m->qemu_end = -1;
    m->downtime_estimate_ms = -1;
    m->problems = json_array();
    m->started_ns = clock_now_ns();
    m->warnings = json_array();
    m->vm = vm_get(vm);
    return m;
}

/* The mode must fit the VM's state; AUTO becomes what fits. */
static int settle_mode(struct migration *m, struct error **err)
{
    enum vm_state state = vm_state(m->vm);
    m->was_running = state == VM_RUNNING;
    if (m->options.mode == MIGRATE_AUTO)
        m->options.mode = MIGRATE_LIVE;
    if (m->options.mode == MIGRATE_OFFLINE && state != VM_SHUT_OFF) {
        error_set(err, ERROR_STATE, "VM %s: it is %s, not shut off", m->vm->name,
                  vm_state_name(state));
        return error_hint(err, "leave out --offline to move it as it is, or shut it down first");
    }
    if (m->options.mode != MIGRATE_OFFLINE && state == VM_SHUT_OFF) {
        error_set(err, ERROR_STATE, "VM %s: it is shut off", m->vm->name);
        return error_hint(err, "`--offline --persistent` moves its definition");
    }
    if (m->options.mode != MIGRATE_OFFLINE && !m->vm->qmp)
        return error_set(err, ERROR_QEMU, "VM %s: its QEMU does not answer", m->vm->name);
    if (m->options.undefine_source && !m->options.persistent && m->vm->definition &&
        m->options.mode != MIGRATE_OFFLINE)
        migration_note(m, "the VM will be defined nowhere once it shuts down (--undefine-source "
                          "without --persistent)");
    return 0;
}

static int launch(struct migration *m, void (*run)(void *), struct error **err)
{
    pthread_mutex_lock(&m->context->lock);
    m->next = m->context->migrations;
    m->context->migrations = m;
    pthread_mutex_unlock(&m->context->lock);
    if (migrate_thread_start(m->context, run, m, err) == 0)
        return 0;
    leave_list(m);
    return -1;
}

static int begin(struct migration *m, const char *host, struct error **err)
{
    if (job_id_make(m->job, err) < 0 ||
        peer_find(m->context->store, m->context->tls, host, &m->peer, err) < 0)
        return -1;
    m->peer.call_ms = m->context->peer_lost_ms;
    if (strcmp(m->peer.host.fingerprint, m->context->fingerprint) == 0) {
        error_set(err, ERROR_INVALID, "host %s is this host itself", host);
        return error_hint(err, "name the host that the VM is to go to");
    }
    CLEANUP_FREE char *claim = text_format("being moved to %s", host);
    if (vm_claim(m->vm, claim, err) < 0)
        return -1;
    if (settle_mode(m, err) == 0 && launch(m, migration_thread, err) == 0)
        return 0;
    vm_release(m->vm);
    return -1;
}

struct migration *migration_start(struct migrate_context *context, struct vm *vm, const char *host,
                                  struct migrate_options *options, struct error **err)
{
    struct migration *m = migration_new(context, vm);
    m->options = *options;
    memset(options, 0, sizeof(*options));
    if (begin(m, host, err) == 0)
        return m;
    migration_free(m);
    return NULL;
}

/* A move whose source agent was restarted after COMMIT: only the outcome is missing. */
static void in_doubt_thread(void *argument)
{
    struct migration *m = argument;
    CLEANUP_ERROR struct error *why = NULL;
    migration_enter(m, PHASE_HANDOVER);
    int result = handover_resolve(m, &why);
    if (result == 0 && m->options.post_copy)
        result = post_copy_finish(m, &why);
    if (result == 0) {
        migration_enter(m, PHASE_CONFIRM);
        result = confirm_run(m, &why);
    } else if (!m->committed) {
        migration_rollback(m);
    }
    finish(m, result, why);
    migration_put(m);
}

/* A move whose source agent was restarted before COMMIT: it is void. The destination is told of it
 * later, by closing.c: whether it can be reached is nothing the VM should wait for. */
static void void_thread(void *argument)
{
    struct migration *m = argument;
    CLEANUP_ERROR struct error *why = NULL;
    migration_enter(m, PHASE_COPY);
    bool lives = vm_state(m->vm) != VM_SHUT_OFF;
    error_set(&why, ERROR_STATE, "the agent of %s ended in the middle of it; the VM %s",
              m->context->host_name, lives ? "stays there" : "has ended there, too");
    error_hint(&why, lives ? "move it again" : "start it again");
    migration_rollback(m);
    finish(m, -1, why);
    migration_put(m);
}

static struct migration *migration_found(struct migrate_context *context, struct vm *vm,
                                         const struct journal_entry *entry)
{
    struct migration *m = migration_new(context, vm);
    if (migrate_options_parse(entry->options, &m->options, NULL) < 0)
        m->options.mode = MIGRATE_LIVE;
    m->was_running = json_opt_bool(entry->options, "was_running", true);
    m->journalled = m->found = m->stopped_by_us = true;
    snprintf(m->job, sizeof(m->job), "%s", entry->job);
    m->peer.tls = context->tls;
    m->peer.host.name = text_copy(entry->peer_name);
    m->peer.host.fingerprint = text_copy(entry->peer_fingerprint);
    return m;
}

static int take_up(struct migration *m, const char *claim, void (*run)(void *), struct error **err)
{
    if (vm_claim(m->vm, claim, err) == 0) {
        vm_set_in_doubt(m->vm, m->committed);
        if (launch(m, run, err) == 0) {
            migration_put(m);
            return 0;
        }
        if (!m->committed)
            vm_release(m->vm);
    }
    migration_free(m);
    return -1;
}

int migration_resume_in_doubt(struct migrate_context *context, struct vm *vm,
                              const struct journal_entry *entry, struct error **err)
{
    struct migration *m = migration_found(context, vm, entry);
    m->committed = m->past_return = true;
    CLEANUP_FREE char *claim = text_format("being moved to %s", entry->peer_name);
    return take_up(m, claim, in_doubt_thread, err);
}

int migration_resume_void(struct migrate_context *context, struct vm *vm,
                          const struct journal_entry *entry, struct error **err)
{
    return take_up(migration_found(context, vm, entry), "being recovered after a restart",
                   void_thread, err);
}
