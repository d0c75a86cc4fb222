/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A move, seen from its source: the thread that goes through the phases, what it waits for, and how
 * it is undone.
 */
#include "migrate/migration.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "migrate/arrival.h"
#include "migrate/migration_private.h"
#include "migrate/qemu_migration.h"

/* How long the destination may take to say why it failed once its stream broke. */
#define LAST_WORDS_MS 2000
#define CANCEL_MS     10000

int migrate_context_init(struct migrate_context *context, struct error **err)
{
    int failed = pthread_mutex_init(&context->lock, NULL);
    if (!failed)
        failed = pthread_cond_init(&context->idle, NULL);
    return failed ? error_errno(err, failed, "mutex") : 0;
}

int migrate_thread_enter(struct migrate_context *context, struct error **err)
{
    LOCK_SCOPE(&context->lock);
    if (context->ending) {
        error_set(err, ERROR_STATE, "the agent is ending");
        return error_hint(err, "try again once mudanzad runs there again");
    }
    context->threads++;
    return 0;
}

void migrate_thread_leave(struct migrate_context *context)
{
    LOCK_SCOPE(&context->lock);
    context->threads--;
    pthread_cond_broadcast(&context->idle);
}

void migrate_context_end(struct migrate_context *context)
{
    pthread_mutex_lock(&context->lock);
    context->ending = true;
    pthread_mutex_unlock(&context->lock);
    arrival_end_all(context);
    pthread_mutex_lock(&context->lock);
    for (struct migration *m = context->migrations; m; m = m->next) {
        pthread_mutex_lock(&m->lock);
        m->cancelled = m->agent_ends = true;
        pthread_mutex_unlock(&m->lock);
        fd_event_signal(m->cancel_fd); /* past the point of return too: the journal remembers */
    }
    while (context->threads)
        pthread_cond_wait(&context->idle, &context->lock);
    pthread_mutex_unlock(&context->lock);
}

void migrate_context_clear(struct migrate_context *context)
{
    pthread_mutex_destroy(&context->lock);
    pthread_cond_destroy(&context->idle);
}

/* --- what the outside sees --- */

void migration_publish(struct migration *m)
{
    json_t *progress = NULL;
    pthread_mutex_lock(&m->lock);
    progress = progress_make(m);
    json_decref(m->progress);
    m->progress = progress;
    m->sequence++;
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
}

void migration_note(struct migration *m, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *note = NULL;
    if (vasprintf(&note, format, args) < 0)
        note = NULL;
    va_end(args);
    pthread_mutex_lock(&m->lock);
    bool same = text_equal(note, m->note);
    free(m->note);
    m->note = note;
    pthread_mutex_unlock(&m->lock);
    if (!same)
        migration_publish(m);
}

void migration_enter(struct migration *m, enum migrate_phase phase)
{
    pthread_mutex_lock(&m->lock);
    m->phase = phase;
    pthread_mutex_unlock(&m->lock);
    m->phase_ns[phase] = clock_now_ns();
    /* Copying is nearly all of the way; the others are milestones on it. */
    static const double begins_at[] = {0, 1, 2, 98, 99};
    if (m->percent < begins_at[phase])
        m->percent = begins_at[phase];
    migration_publish(m);
}

void migration_follow(struct migration *m, unsigned *sequence, int wait_ms, json_t **progress,
                      json_t **report)
{
    *progress = *report = NULL;
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t until_ns = until.tv_sec * NS_PER_S + until.tv_nsec + wait_ms * NS_PER_MS;
    until.tv_sec = until_ns / NS_PER_S;
    until.tv_nsec = until_ns % NS_PER_S;
    LOCK_SCOPE(&m->lock);
    while (m->sequence == *sequence && !m->report)
        if (pthread_cond_timedwait(&m->changed, &m->lock, &until) == ETIMEDOUT)
            return;
    *sequence = m->sequence;
    if (m->report)
        *report = json_deep_copy(m->report);
    else if (m->progress)
        *progress = json_deep_copy(m->progress);
}

int migration_cancel(struct migration *m, struct error **err)
{
    LOCK_SCOPE(&m->lock);
    if (m->past_return) {
        error_set(err, ERROR_STATE,
                  "VM %s: its move to %s is past the point of return: the destination has it, or "
                  "will say that it has not",
                  m->vm->name, m->peer.host.name);
        return error_hint(err, "`mudanza job %s` shows how it ends", m->vm->name);
    }
    m->cancelled = true;
    fd_event_signal(m->cancel_fd);
    return 0;
}

/* --- what the thread waits for --- */

static int hear_destination(struct migration *m, struct error **err)
{
    CLEANUP_JSON json_t *reply = NULL;
    bool continues = false;
    if (varlink_next(m->events, &reply, &continues, m->cancel_fd, clock_deadline_ns(PEER_CALL_MS),
                     err) < 0)
        return error_prefix(err, "host %s", m->peer.host.name);
    const char *event = json_opt_string(reply, "event", "");
    if (strcmp(event, "loaded") == 0) {
        m->remote.loaded = true;
        free(m->remote.digests);
        m->remote.digests = text_copy(json_opt_string(reply, "digests", NULL));
    } else if (strcmp(event, "running") == 0) {
        m->remote.running = true;
        m->remote.running_ns = clock_now_ns();
    } else if (strcmp(event, "failed") == 0) {
        m->remote.failed = true;
        json_to_error(json_object_get(reply, "error"), &m->remote.error);
    }
    if (!continues) {
        varlink_connection_free(STEAL(m->events));
        if (!m->remote.running && !m->remote.failed)
            return error_set(err, ERROR_PEER, "host %s: it ended the job without a word",
                             m->peer.host.name);
    }
    if (!m->remote.failed)
        return 0;
    error_move(err, STEAL(m->remote.error));
    return error_prefix(err, "host %s", m->peer.host.name);
}

/* The stream broke: the destination often knows why. */
static int stream_failure(struct migration *m, struct error **err)
{
    if (m->events && fd_wait(varlink_connection_fd(m->events), POLLIN, m->cancel_fd,
                             clock_deadline_ns(LAST_WORDS_MS), NULL) == 0) {
        struct error *words = NULL;
        if (hear_destination(m, &words) < 0 && m->remote.failed)
            return error_move(err, words);
        error_free(words);
    }
    relay_take_error(m->relay, err);
    return error_prefix(err, "host %s", m->peer.host.name);
}

int migration_qemu_failure(struct migration *m, struct error **err)
{
    CLEANUP_JSON json_t *state = qemu_migration_query(m->vm->qmp, NULL);
    if (m->relay && relay_status(m->relay).failed)
        return stream_failure(m, err);
    return error_set(err, ERROR_QEMU, "VM %s: QEMU gave the migration up: %s", m->vm->name,
                     json_opt_string(state, "error-desc", "it does not say why"));
}

static int check_state(struct migration *m, struct error **err)
{
    pthread_mutex_lock(&m->vm->lock);
    bool gone = m->vm->guest.gone;
    pthread_mutex_unlock(&m->vm->lock);
    if (gone) {
        CLEANUP_FREE char *tail = vm_log_tail(m->vm);
        return error_set(err, ERROR_QEMU, "VM %s: its QEMU process here ended: %s", m->vm->name,
                         tail);
    }
    if (m->relay && relay_status(m->relay).failed)
        return stream_failure(m, err);
    return 0;
}

int migration_wait(struct migration *m, int64_t deadline_ns, struct error **err)
{
    struct pollfd polls[] = {
        {.fd = m->cancel_fd, .events = POLLIN},
        {.fd = m->vm->changed_fd, .events = POLLIN},
        {.fd = m->events ? varlink_connection_fd(m->events) : -1, .events = POLLIN},
        {.fd = m->relay ? relay_event_fd(m->relay) : -1, .events = POLLIN},
    };
    bool pending = m->events && varlink_connection_pending(m->events);
    if (poll(polls, ARRAY_SIZE(polls), pending ? 0 : clock_poll_ms(deadline_ns)) < 0 &&
        errno != EINTR)
        return error_errno(err, errno, "poll");
    if (polls[0].revents)
        return error_set(err, ERROR_CANCELLED, "cancelled");
    fd_event_clear(m->vm->changed_fd);
    if (m->relay)
        fd_event_clear(relay_event_fd(m->relay));
    if ((polls[2].revents || pending) && hear_destination(m, err) < 0)
        return -1;
    return check_state(m, err);
}

void migration_qemu_status(struct migration *m, char status[32])
{
    LOCK_SCOPE(&m->vm->lock);
    memcpy(status, m->vm->guest.migration_status, 32);
}

static void note_ram(struct migration *m, const json_t *state)
{
    const json_t *ram = json_object_get(state, "ram");
    if (!ram)
        return;
    int64_t now_ns = clock_now_ns();
    uint64_t sent = (uint64_t)json_opt_int(ram, "transferred", 0);
    m->ram_total = (uint64_t)json_opt_int(ram, "total", 0);
    m->ram_remaining = (uint64_t)json_opt_int(ram, "remaining", 0);
    m->dirty_rate = (uint64_t)json_opt_int(ram, "dirty-pages-rate", 0) *
                    (uint64_t)json_opt_int(ram, "page-size", 4096);
    m->rounds = (int)json_opt_int(ram, "dirty-sync-count", 0);
    if (m->last_sample_ns && now_ns > m->last_sample_ns && sent >= m->ram_bytes)
        m->rate =
            (sent - m->ram_bytes) * (uint64_t)NS_PER_S / (uint64_t)(now_ns - m->last_sample_ns);
    m->last_sample_ns = now_ns;
    m->ram_bytes = sent;
    m->downtime_estimate_ms = json_opt_int(state, "expected-downtime", -1);
    /* The first round is most of the work; later rounds approach the end without passing it. */
    if (m->ram_total) {
        double left = (double)m->ram_remaining / (double)m->ram_total;
        double percent = 2 + 96 * (1 - left);
        if (percent > m->percent)
            m->percent = percent > 98 ? 98 : percent;
    }
}

int migration_sample(struct migration *m, struct error **err)
{
    CLEANUP_JSON json_t *state = qemu_migration_query(m->vm->qmp, err);
    if (!state)
        return error_prefix(err, "VM %s", m->vm->name);
    pthread_mutex_lock(&m->lock);
    note_ram(m, state);
    pthread_mutex_unlock(&m->lock);
    migration_publish(m);
    return 0;
}

/* --- undoing --- */

/* QEMU gives up its outgoing migration and is as before. */
static void cancel_qemu(struct migration *m)
{
    CLEANUP_ERROR struct error *err = NULL;
    char status[32];
    int64_t deadline_ns = clock_deadline_ns(CANCEL_MS);
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

static void resume_guest(struct migration *m)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_JSON json_t *state = NULL;
    if (!m->was_running || !m->vm->qmp ||
        qmp_execute(m->vm->qmp, "query-status", NULL, &state, &err) < 0)
        return;
    if (!json_opt_bool(state, "running", false) &&
        qmp_execute(m->vm->qmp, "cont", NULL, NULL, &err) < 0)
        log_error(m->vm->name, "resuming after a failed move: %s", err->message);
}

/* The destination undoes its part; if it cannot be told, it finds out by losing us. */
static void abort_there(struct migration *m)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct varlink_connection *control = peer_connect_control(&m->peer, -1, &err);
    if (!control || peer_call(control, &m->peer, "Abort", json_pack("{s:s}", "job", m->job), NULL,
                              -1, &err) < 0)
        log_warning(m->vm->name, "telling %s that its part is void: %s", m->peer.host.name,
                    err->message);
    varlink_connection_free(control);
}

void migration_rollback(struct migration *m)
{
    cancel_qemu(m);
    resume_guest(m);
    m->wire_bytes = m->relay ? relay_status(m->relay).wire_bytes : 0;
    relay_stop(STEAL(m->relay));
    if (m->holder_fdset >= 0 && m->vm->qmp)
        qemu_migration_release(m->vm->qmp, m->holder_fdset, NULL);
    m->holder_fdset = -1;
    varlink_connection_free(STEAL(m->events));
    if (m->prepared)
        abort_there(m);
    CLEANUP_ERROR struct error *err = NULL;
    if (m->journalled && journal_delete(m->context->store, m->job, true, &err) < 0)
        log_error(m->vm->name, "%s", err->message);
    m->journalled = false;
}

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
    pthread_mutex_lock(&m->context->lock);
    for (struct migration **at = &m->context->migrations; *at; at = &(*at)->next)
        if (*at == m) {
            *at = m->next;
            break;
        }
    pthread_mutex_unlock(&m->context->lock);
    if (!m->committed || result == 0)
        vm_release(m->vm);
    pthread_mutex_lock(&m->lock);
    m->report = report;
    m->sequence++;
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
}

static void migration_leave(struct migration *m)
{
    struct migrate_context *context = m->context;
    migration_put(m);
    migrate_thread_leave(context);
}

static void *migration_thread(void *argument)
{
    struct migration *m = argument;
    CLEANUP_ERROR struct error *why = NULL;
    int result = run_steps(m, &why);
    if (result < 0 && !m->committed)
        migration_rollback(m);
    finish(m, result, why);
    migration_leave(m);
    return NULL;
}

static void migration_free(struct migration *m)
{
    relay_stop(m->relay);
    varlink_connection_free(m->control);
    varlink_connection_free(m->events);
    domain_free(m->target);
    peer_clear(&m->peer);
    migrate_options_clear(&m->options);
    vm_put(m->vm);
    close(m->cancel_fd);
    free(m->remote.digests);
    error_free(m->remote.error);
    json_decref(m->problems);
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
    m->holder_fdset = -1;
    m->downtime_estimate_ms = -1;
    m->problems = json_array();
    m->started_ns = clock_now_ns();
    pthread_mutex_lock(&vm->host->lock);
    vm->references++;
    pthread_mutex_unlock(&vm->host->lock);
    m->vm = vm;
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

static int launch(struct migration *m, void *(*run)(void *), struct error **err)
{
    if (migrate_thread_enter(m->context, err) < 0)
        return -1;
    pthread_mutex_lock(&m->context->lock);
    m->next = m->context->migrations;
    m->context->migrations = m;
    int failed = pthread_create(&m->thread, NULL, run, m);
    if (failed)
        m->context->migrations = m->next;
    else
        pthread_detach(m->thread);
    pthread_mutex_unlock(&m->context->lock);
    if (!failed)
        return 0;
    migrate_thread_leave(m->context);
    return error_errno(err, failed, "migration thread");
}

static int begin(struct migration *m, const char *host, struct error **err)
{
    if (job_id_make(m->job, err) < 0 ||
        peer_find(m->context->store, m->context->tls, host, &m->peer, err) < 0)
        return -1;
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
static void *in_doubt_thread(void *argument)
{
    struct migration *m = argument;
    CLEANUP_ERROR struct error *why = NULL;
    migration_enter(m, PHASE_HANDOVER);
    int result = handover_resolve(m, &why);
    if (result == 0) {
        migration_enter(m, PHASE_CONFIRM);
        result = confirm_run(m, &why);
    } else if (!m->committed) {
        migration_rollback(m);
    }
    finish(m, result, why);
    migration_leave(m);
    return NULL;
}

int migration_resume_in_doubt(struct migrate_context *context, struct vm *vm,
                              const struct journal_entry *entry, struct error **err)
{
    if (!vm)
        return error_set(err, ERROR_NOT_FOUND, "VM %s is gone", entry->name);
    struct migration *m = migration_new(context, vm);
    m->options.undefine_source = json_opt_bool(entry->options, "undefine_source", false);
    m->options.mode = MIGRATE_LIVE;
    m->was_running = json_opt_bool(entry->options, "was_running", true);
    m->journalled = m->committed = m->past_return = m->stopped_by_us = true;
    snprintf(m->job, sizeof(m->job), "%s", entry->job);
    CLEANUP_FREE char *claim = text_format("being moved to %s", entry->peer_name);
    if (peer_find(context->store, context->tls, entry->peer_name, &m->peer, err) == 0 &&
        vm_claim(vm, claim, err) == 0) {
        vm_set_in_doubt(vm, true);
        if (launch(m, in_doubt_thread, err) == 0) {
            migration_put(m);
            return 0;
        }
    }
    migration_free(m);
    return -1;
}
