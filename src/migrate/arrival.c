/* SPDX-License-Identifier: Apache-2.0 */
/* An arrival, seen from outside: finding it, following it, ending it. */
#include "migrate/arrival.h"

#include <string.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/text.h"
#include "migrate/arrival_private.h"

/* For telling a source that its connection is of no use. */
#define REFUSE_MS 1000

unsigned arrival_follow(struct arrival *a)
{
    LOCK_SCOPE(&a->lock);
    pthread_cond_broadcast(&a->changed);
    return ++a->followers;
}

json_t *arrival_event(struct arrival *a, size_t index, unsigned turn, bool *last,
                      struct error **err)
{
    LOCK_SCOPE(&a->lock);
    while (a->followers == turn && json_array_size(a->events) <= index) {
        if (a->finished) {
            error_set(err, ERROR_STATE, "job %s is over", a->job);
            return NULL;
        }
        pthread_cond_wait(&a->changed, &a->lock);
    }
    if (a->followers != turn) {
        error_set(err, ERROR_STATE, "job %s is followed by another connection", a->job);
        return NULL;
    }
    json_t *event = json_deep_copy(json_array_get(a->events, index));
    *last = strcmp(json_opt_string(event, "event", ""), "loaded") != 0;
    return event;
}

/* An abort that was asked for, or the agent's end. The caller holds the lock. */
int arrival_refuse_stopped(const struct arrival *a, struct error **err)
{
    if (!a->abort_asked)
        return 0;
    if (!a->ending)
        return error_set(err, ERROR_CANCELLED, "aborted by the source");
    error_set(err, ERROR_STATE, "its agent was told to end");
    return error_hint(err, "try again once mudanzad runs there");
}

int arrival_enter(struct arrival *a, struct error **err)
{
    LOCK_SCOPE(&a->context->lock);
    for (size_t i = 0; i < ARRAY_SIZE(a->context->barred); i++)
        if (strcmp(a->context->barred[i], a->job) == 0)
            return error_set(err, ERROR_CANCELLED, "aborted by the source before it began");
    a->next = a->context->arrivals;
    a->context->arrivals = a;
    return 0;
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
void arrival_finish(struct arrival *a)
{
    pthread_mutex_lock(&a->lock);
    a->finished = true;
    pthread_cond_broadcast(&a->changed);
    pthread_mutex_unlock(&a->lock);
    leave_list(a);
    arrival_put(a);
}

static void arrival_free(struct arrival *a)
{
    relay_stop(a->relay);
    if (a->vm)
        vm_put(a->vm);
    memory_free(a->ram);
    dictionary_free(a->dictionary);
    verify_key_free(a->key);
    close(a->wake_fd);
    error_free(a->store_error);
    json_decref(a->events);
    pthread_mutex_destroy(&a->lock);
    pthread_cond_destroy(&a->changed);
    free(a->definition);
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

/* The caller holds the lock. */
static struct arrival *find_locked(struct migrate_context *context, const char *job,
                                   const char *fingerprint)
{
    for (struct arrival *a = context->arrivals; a; a = a->next)
        if (strcmp(a->job, job) == 0 && strcmp(a->fingerprint, fingerprint) == 0) {
            a->references++;
            return a;
        }
    return NULL;
}

struct arrival *arrival_find(struct migrate_context *context, const char *job,
                             const char *fingerprint, struct error **err)
{
    LOCK_SCOPE(&context->lock);
    struct arrival *a = find_locked(context, job, fingerprint);
    if (!a)
        error_set(err, ERROR_NOT_FOUND, "job %s is not under way here", job);
    return a;
}

struct arrival *arrival_find_or_bar(struct migrate_context *context, const char *job,
                                    const char *fingerprint)
{
    LOCK_SCOPE(&context->lock);
    struct arrival *a = find_locked(context, job, fingerprint);
    if (a || strlen(job) != JOB_ID_SIZE - 1)
        return a;
    memcpy(context->barred[context->barred_next++ % ARRAY_SIZE(context->barred)], job, JOB_ID_SIZE);
    return NULL;
}

static bool expects(struct arrival *a, const char *stream)
{
    LOCK_SCOPE(&a->lock);
    return strcmp(a->stream, stream) == 0;
}

static struct arrival *find_stream(struct migrate_context *context, const char *stream,
                                   const char *fingerprint, struct error **err)
{
    LOCK_SCOPE(&context->lock);
    for (struct arrival *a = context->arrivals; a; a = a->next)
        if (strcmp(a->fingerprint, fingerprint) == 0 && expects(a, stream)) {
            a->references++;
            return a;
        }
    error_set(err, ERROR_NOT_FOUND, "nothing here waits for the stream %s", stream);
    return NULL;
}

int arrival_attach(struct migrate_context *context, const char *stream, const char *fingerprint,
                   struct tls *tls, const struct frame_resume *resume, struct error **err)
{
    CLEANUP_ERROR struct error *why = NULL;
    struct arrival *a = find_stream(context, stream, fingerprint, &why);
    if (!a) {
        link_refuse(tls, why->message, clock_deadline_ns(REFUSE_MS));
        return error_move(err, STEAL(why));
    }
    pthread_mutex_lock(&a->lock);
    bool here = a->relay;
    int result = here ? relay_attach(a->relay, tls, resume, err) : 0;
    pthread_mutex_unlock(&a->lock);
    arrival_put(a);
    if (here)
        return result;
    error_set(err, ERROR_STATE, "stream %s takes no bytes any more", stream);
    link_refuse(tls, "the job takes no bytes any more", clock_deadline_ns(REFUSE_MS));
    return -1;
}

int arrival_abort(struct arrival *a, struct error **err)
{
    LOCK_SCOPE(&a->lock);
    /* With END the source has given the VM up: its question decides nothing any more (R14). */
    if (a->owner || (a->relay && relay_status(a->relay).ended))
        return error_set(err, ERROR_STATE, "VM %s is this host's already", a->vm->name);
    a->abort_asked = true;
    fd_event_signal(a->wake_fd);
    while (!a->finished)
        pthread_cond_wait(&a->changed, &a->lock);
    return 0;
}

int arrival_await_stored(struct arrival *a, bool last, struct error **err)
{
    LOCK_SCOPE(&a->lock);
    if (a->lost && !last)
        return error_set(err, ERROR_STATE, "VM %s is lost", a->vm->name);
    a->source_knows |= a->lost;
    fd_event_signal(a->wake_fd);
    while (!a->stored && !a->store_error && !a->finished)
        pthread_cond_wait(&a->changed, &a->lock);
    if (a->stored)
        return 0;
    if (!a->store_error)
        return error_set(err, ERROR_STATE, "job %s is over", a->job);
    return error_copy(err, a->store_error);
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
