/* SPDX-License-Identifier: Apache-2.0 */
/* A move, seen from its destination. */
#include "migrate/arrival.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "migrate/check.h"
#include "migrate/job_id.h"
#include "migrate/qemu_migration.h"
#include "migrate/relay.h"
#include "migrate/verify.h"
#include "qemu/memory.h"

/* From Prepare to the data connection. */
#define ATTACH_MS 30000
/* Between two tries at what must not fail: ending QEMU, the journal on a full disk. */
#define TRY_AGAIN_MS 1000

struct arrival {
    struct arrival *next;
    struct migrate_context *context;
    unsigned references; /* guarded by context->lock */
    char job[JOB_ID_SIZE];
    char *peer_name, *fingerprint;
    struct vm *vm;
    uint64_t memory;
    bool persistent, running_wanted, post_copy;
    struct verify_key *key; /* NULL: no verification */
    int wake_fd;            /* something below changed, or an abort is asked for */

    /* The thread's own. */
    struct relay *relay;
    int qemu_fd;
    int64_t holder_fdset;
    struct memory_map *ram;

    /* Guarded by lock. */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct tls *data;
    bool abort_asked, ending, owner, running, finished; /* ending: the agent is */
    json_t *events;
};

/* --- events --- */

static void tell(struct arrival *a, json_t *event)
{
    LOCK_SCOPE(&a->lock);
    json_array_append_new(a->events, event);
    pthread_cond_broadcast(&a->changed);
}

json_t *arrival_event(struct arrival *a, size_t index, bool *last, struct error **err)
{
    LOCK_SCOPE(&a->lock);
    while (json_array_size(a->events) <= index) {
        if (a->finished) {
            error_set(err, ERROR_STATE, "job %s is over", a->job);
            return NULL;
        }
        pthread_cond_wait(&a->changed, &a->lock);
    }
    json_t *event = json_deep_copy(json_array_get(a->events, index));
    *last = strcmp(json_opt_string(event, "event", ""), "loaded") != 0;
    return event;
}

/* --- the thread --- */

/* An abort that was asked for, or the agent's end. The caller holds the lock. */
static int refuse_stopped(const struct arrival *a, struct error **err)
{
    if (!a->abort_asked)
        return 0;
    if (!a->ending)
        return error_set(err, ERROR_CANCELLED, "aborted by the source");
    error_set(err, ERROR_STATE, "its agent was told to end");
    return error_hint(err, "try again once mudanzad runs there");
}

/* Waits for QEMU, the relay, the data connection, or an abort. 0: look again. */
static int arrival_wait(struct arrival *a, int64_t deadline_ns, struct error **err)
{
    struct pollfd polls[] = {
        {.fd = a->wake_fd, .events = POLLIN},
        {.fd = a->vm->changed_fd, .events = POLLIN},
        {.fd = a->relay ? relay_event_fd(a->relay) : -1, .events = POLLIN},
    };
    if (poll(polls, ARRAY_SIZE(polls), clock_poll_ms(deadline_ns)) < 0 && errno != EINTR)
        return error_errno(err, errno, "poll");
    fd_event_clear(a->wake_fd);
    fd_event_clear(a->vm->changed_fd);
    if (a->relay)
        fd_event_clear(relay_event_fd(a->relay));
    pthread_mutex_lock(&a->lock);
    int stopped = refuse_stopped(a, err);
    pthread_mutex_unlock(&a->lock);
    if (stopped < 0)
        return -1;
    if (clock_now_ns() >= deadline_ns)
        return error_set(err, ERROR_TIMEOUT, "the source did not go on in time");
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

static int take_data(struct arrival *a, struct error **err)
{
    int64_t deadline_ns = clock_deadline_ns(ATTACH_MS);
    for (;;) {
        pthread_mutex_lock(&a->lock);
        struct tls *data = STEAL(a->data);
        pthread_mutex_unlock(&a->lock);
        if (data) {
            a->relay = relay_start_destination(a->vm->name, STEAL_FD(a->qemu_fd), data, err);
            return a->relay ? 0 : -1;
        }
        if (arrival_wait(a, deadline_ns, err) < 0)
            return error_prefix(err, "waiting for the data connection");
    }
}

/* What the events say so far; -1 when QEMU here or the stream has failed. */
static int look(struct arrival *a, char status[32], struct relay_status *stream, struct error **err)
{
    pthread_mutex_lock(&a->vm->lock);
    bool gone = a->vm->guest.gone;
    memcpy(status, a->vm->guest.migration_status, 32);
    pthread_mutex_unlock(&a->vm->lock);
    *stream = relay_status(a->relay);
    if (gone || strcmp(status, "failed") == 0) {
        CLEANUP_FREE char *tail = vm_log_tail(a->vm);
        return error_set(err, ERROR_QEMU, "QEMU could not load the VM: %s",
                         *tail ? tail : "it does not say why");
    }
    if (stream->failed) {
        relay_take_error(a->relay, err);
        return error_prefix(err, "the stream broke before its end");
    }
    return 0;
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
    LOCK_SCOPE(&a->lock);
    if (refuse_stopped(a, err) < 0)
        return -1;
    if (journal_move(a->context->store, a->job, false, JOURNAL_PREPARED, JOURNAL_OWNER, err) < 0)
        return -1;
    a->owner = true;
    return 0;
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
        if (complete && !loaded && tell_loaded(a, err) < 0)
            return -1;
        loaded |= complete;
        if (a->owner && (loaded || in_post_copy))
            return 0;
        if (arrival_wait(a, DEADLINE_NEVER, err) < 0)
            return -1;
    }
}

static int run_guest(struct arrival *a, struct error **err)
{
    if (a->running_wanted && qmp_execute(a->vm->qmp, "cont", NULL, NULL, err) < 0) {
        /* QEMU says RESUME before the first instruction: without it the guest never ran. */
        pthread_mutex_lock(&a->vm->lock);
        bool ran = a->vm->guest.resumed_ns != 0;
        pthread_mutex_unlock(&a->vm->lock);
        if (!ran)
            return -1;
    }
    pthread_mutex_lock(&a->lock);
    a->running = true;
    pthread_mutex_unlock(&a->lock);
    tell(a, json_pack("{s:s}", "event", "running"));
    return 0;
}

/* What is left of post-copy once the guest runs here. QEMU's last word goes to the source; its END
 * says that it has come there, and only then may the connection close. */
static void await_rest(struct arrival *a)
{
    CLEANUP_ERROR struct error *err = NULL;
    char status[32];
    struct relay_status stream;
    while (look(a, status, &stream, &err) == 0 &&
           (strcmp(status, "completed") != 0 || !stream.ended))
        if (arrival_wait(a, DEADLINE_NEVER, &err) < 0)
            break;
    if (err)
        log_error(a->vm->name, "post-copy from %s: %s", a->peer_name, err->message);
}

static void let_go(struct arrival *a)
{
    relay_stop(STEAL(a->relay));
    if (a->holder_fdset >= 0 && a->vm->qmp)
        qemu_migration_release(a->vm->qmp, a->holder_fdset, NULL);
    a->holder_fdset = -1;
}

static void settle(struct arrival *a)
{
    CLEANUP_ERROR struct error *err = NULL;
    if (a->post_copy)
        await_rest(a);
    if (vm_received(a->vm, a->persistent, &err) < 0)
        log_error(a->vm->name, "arrived and runs, but: %s", err->message);
    let_go(a);
    log_info(a->vm->name, "arrived from %s", a->peer_name);
}

/* QEMU is gone and the journal says so. No entry is the durable word "never ran here": the job's
 * UUID never comes again. */
static bool undone(struct arrival *a)
{
    CLEANUP_ERROR struct error *err = NULL;
    if (vm_end_unused(a->vm, &err) == 0 &&
        journal_delete(a->context->store, a->job, false, &err) == 0)
        return true;
    log_error(a->vm->name, "undoing its arrival: %s; trying again", err->message);
    return false;
}

/* The source may resume the VM on our word alone, so that it is given only once it is durable.
 * Until then, and if the agent ends before, the source stays in doubt and asks. */
static void undo(struct arrival *a, const struct error *why)
{
    log_warning(a->vm->name, "arrival from %s is undone: %s", a->peer_name, why->message);
    relay_stop(STEAL(a->relay)); /* QEMU's duplicate of our end of its socket ends with QEMU */
    while (!undone(a))
        if (wait_again(a))
            return;
    tell(a, json_pack("{s:s, s:o}", "event", "failed", "error", json_from_error(why)));
}

static void enter_list(struct arrival *a)
{
    LOCK_SCOPE(&a->context->lock);
    a->next = a->context->arrivals;
    a->context->arrivals = a;
    a->context->threads++;
}

static void leave_list(struct arrival *a)
{
    LOCK_SCOPE(&a->context->lock);
    for (struct arrival **at = &a->context->arrivals; *at; at = &(*at)->next)
        if (*at == a) {
            *at = a->next;
            break;
        }
    pthread_cond_broadcast(&a->context->idle);
}

/* Nothing of the job is left to do; drops the reference of whoever did it. Only then may the
 * context go away. */
static void arrival_finish(struct arrival *a)
{
    struct migrate_context *context = a->context;
    pthread_mutex_lock(&a->lock);
    a->finished = true;
    pthread_cond_broadcast(&a->changed);
    pthread_mutex_unlock(&a->lock);
    leave_list(a);
    arrival_put(a);
    pthread_mutex_lock(&context->lock);
    context->threads--;
    pthread_cond_broadcast(&context->idle);
    pthread_mutex_unlock(&context->lock);
}

static void *arrival_thread(void *argument)
{
    struct arrival *a = argument;
    struct migrate_context *context = a->context;
    CLEANUP_ERROR struct error *err = NULL;
    if (take_data(a, &err) == 0 && receive(a, &err) == 0 && run_guest(a, &err) == 0)
        settle(a);
    else
        undo(a, err);
    vm_release(a->vm);
    arrival_finish(a);
    migrate_thread_leave(context);
    return NULL;
}

/* --- from outside --- */

static void arrival_free(struct arrival *a)
{
    relay_stop(a->relay);
    tls_close(a->data);
    if (a->qemu_fd >= 0)
        close(a->qemu_fd);
    if (a->vm)
        vm_put(a->vm);
    memory_free(a->ram);
    verify_key_free(a->key);
    close(a->wake_fd);
    json_decref(a->events);
    pthread_mutex_destroy(&a->lock);
    pthread_cond_destroy(&a->changed);
    free(a->peer_name);
    free(a->fingerprint);
    free(a);
}

void arrival_put(struct arrival *a)
{
    pthread_mutex_lock(&a->context->lock);
    bool last = --a->references == 0;
    pthread_mutex_unlock(&a->context->lock);
    if (last)
        arrival_free(a);
}

struct arrival *arrival_find(struct migrate_context *context, const char *job,
                             const char *fingerprint, struct error **err)
{
    LOCK_SCOPE(&context->lock);
    for (struct arrival *a = context->arrivals; a; a = a->next)
        if (strcmp(a->job, job) == 0 && strcmp(a->fingerprint, fingerprint) == 0) {
            a->references++;
            return a;
        }
    error_set(err, ERROR_NOT_FOUND, "job %s is not under way here", job);
    return NULL;
}

int arrival_attach(struct migrate_context *context, const char *job, const char *fingerprint,
                   struct tls *tls, struct error **err)
{
    struct arrival *a = arrival_find(context, job, fingerprint, err);
    if (!a) {
        tls_close(tls);
        return -1;
    }
    pthread_mutex_lock(&a->lock);
    bool taken = a->data || a->relay;
    if (!taken)
        a->data = tls;
    pthread_mutex_unlock(&a->lock);
    fd_event_signal(a->wake_fd);
    arrival_put(a);
    if (!taken)
        return 0;
    tls_close(tls);
    return error_set(err, ERROR_STATE, "job %s has its data connection already", job);
}

int arrival_abort(struct arrival *a, struct error **err)
{
    LOCK_SCOPE(&a->lock);
    if (a->owner)
        return error_set(err, ERROR_STATE, "VM %s is this host's already", a->vm->name);
    a->abort_asked = true;
    fd_event_signal(a->wake_fd);
    while (!a->finished)
        pthread_cond_wait(&a->changed, &a->lock);
    return 0;
}

void arrival_await_end(struct arrival *a)
{
    LOCK_SCOPE(&a->lock);
    while (!a->finished)
        pthread_cond_wait(&a->changed, &a->lock);
}

bool arrival_running(struct arrival *a)
{
    LOCK_SCOPE(&a->lock);
    return a->running;
}

static bool may_touch_ram(struct arrival *a, struct error **err)
{
    LOCK_SCOPE(&a->lock);
    if (a->ram && !a->owner && json_array_size(a->events))
        return true;
    error_set(err, ERROR_STATE, "job %s: its RAM cannot be looked at now", a->job);
    return false;
}

char *arrival_page_digests(struct arrival *a, int64_t chunk, struct error **err)
{
    return may_touch_ram(a, err) ? verify_page_digests(a->ram, a->key, chunk, err) : NULL;
}

char *arrival_read_page(struct arrival *a, int64_t offset, struct error **err)
{
    return may_touch_ram(a, err) ? verify_read_page(a->ram, offset, err) : NULL;
}

int arrival_write_page(struct arrival *a, int64_t offset, const char *hex, struct error **err)
{
    return may_touch_ram(a, err) ? verify_write_page(a->ram, offset, hex, err) : -1;
}

uint64_t arrival_reserved_memory(struct migrate_context *context)
{
    LOCK_SCOPE(&context->lock);
    uint64_t sum = 0;
    for (struct arrival *a = context->arrivals; a; a = a->next)
        sum += a->memory;
    return sum;
}

void arrival_end_all(struct migrate_context *context)
{
    LOCK_SCOPE(&context->lock);
    for (struct arrival *a = context->arrivals; a; a = a->next) {
        pthread_mutex_lock(&a->lock);
        a->abort_asked = a->ending = true;
        pthread_cond_broadcast(&a->changed);
        pthread_mutex_unlock(&a->lock);
        fd_event_signal(a->wake_fd);
    }
    while (context->arrivals)
        pthread_cond_wait(&context->idle, &context->lock);
}

/* --- preparing --- */

static struct arrival *arrival_new(struct migrate_context *context, const struct store_host *peer,
                                   const char *job, const json_t *parameters)
{
    struct arrival *a = calloc(1, sizeof(*a));
    a->context = context;
    a->references = 1;
    snprintf(a->job, sizeof(a->job), "%s", job);
    a->peer_name = text_copy(peer->name);
    a->fingerprint = text_copy(peer->fingerprint);
    a->persistent = json_opt_bool(parameters, "persistent", false);
    a->running_wanted = json_opt_bool(parameters, "running", true);
    a->post_copy = json_opt_bool(parameters, "post_copy", false);
    a->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    a->qemu_fd = -1;
    a->holder_fdset = -1;
    a->events = json_array();
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->changed, NULL);
    return a;
}

static int write_journal(struct arrival *a, const struct domain *domain, struct error **err)
{
    CLEANUP_JSON json_t *options =
        json_pack("{s:b, s:b, s:b}", "persistent", a->persistent, "running", a->running_wanted,
                  "post_copy", a->post_copy);
    const struct journal_entry entry = {
        .job = a->job,
        .uuid = (char *)domain->uuid,
        .name = domain->name,
        .source = false,
        .peer_fingerprint = a->fingerprint,
        .peer_name = a->peer_name,
        .state = JOURNAL_PREPARED,
        .options = options,
    };
    return journal_put(a->context->store, &entry, err);
}

static int ready_qemu(struct arrival *a, const json_t *capabilities, struct error **err)
{
    struct qmp *qmp = a->vm->qmp;
    if (qemu_migration_set_capabilities(qmp, capabilities, err) < 0)
        return -1;
    a->qemu_fd = qemu_migration_socket(qmp, "mudanza", &a->holder_fdset, err);
    return a->qemu_fd < 0 ? -1 : qemu_migration_listen(qmp, "mudanza", err);
}

static int create_thread(struct arrival *a, struct error **err)
{
    pthread_t thread;
    LOCK_SCOPE(&a->lock);
    if (refuse_stopped(a, err) < 0)
        return -1;
    int failed = pthread_create(&thread, NULL, arrival_thread, a);
    if (failed)
        return error_errno(err, failed, "arrival thread");
    pthread_detach(thread);
    return 0;
}

static int launch_thread(struct arrival *a, struct error **err)
{
    if (migrate_thread_enter(a->context, err) < 0)
        return -1;
    if (create_thread(a, err) == 0)
        return 0;
    migrate_thread_leave(a->context);
    return -1;
}

/* Starts QEMU and the thread; takes `domain` over. The journal's entry is there. */
static int begin(struct arrival *a, struct domain *domain, const json_t *capabilities,
                 struct error **err)
{
    CLEANUP_FREE char *claim = text_format("arriving from %s", a->peer_name);
    a->vm = vm_receive(a->context->vms, domain, claim, a->wake_fd, err);
    if (!a->vm)
        return -1;
    if (ready_qemu(a, capabilities, err) == 0 && launch_thread(a, err) == 0)
        return 0;
    vm_end_unused(a->vm, NULL);
    vm_release(a->vm);
    return -1;
}

/* The job counts among those that memory is reserved for, so that two that are prepared at the same
 * time cannot both have the last of it. */
static int reserve_memory(struct migrate_context *context, struct error **err)
{
    uint64_t available;
    if (check_memory_available(context, &available, err) < 0)
        return -1;
    if (available > 0)
        return 0;
    return error_set(err, ERROR_SYSTEM, "memory ran out since the plan was made");
}

int arrival_prepare(struct migrate_context *context, const struct store_host *peer,
                    const json_t *parameters, struct error **err)
{
    uint8_t id[16];
    const char *job, *xml, *key = json_opt_string(parameters, "verify_key", NULL);
    if (json_need_string(parameters, "job", &job, err) < 0 ||
        json_need_string(parameters, "xml", &xml, err) < 0 || job_id_to_bytes(job, id, err) < 0)
        return -1;
    struct domain *domain = domain_parse(xml, strlen(xml), err);
    if (!domain)
        return -1;
    struct arrival *a = arrival_new(context, peer, job, parameters);
    a->memory = domain->memory;
    enter_list(a); /* an abort finds it from here on */
    if ((key && !(a->key = verify_key_parse(key, err))) || reserve_memory(context, err) < 0 ||
        write_journal(a, domain, err) < 0) {
        domain_free(domain);
        arrival_finish(a);
        return -1;
    }
    if (begin(a, domain, json_object_get(parameters, "capabilities"), err) == 0)
        return 0;
    journal_delete(context->store, job, false, NULL);
    arrival_finish(a);
    return -1;
}
