/* SPDX-License-Identifier: Apache-2.0 */
/* What all moves of an agent share: its lock, their threads, and their end. */
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "migrate/arrival.h"
#include "migrate/migration_private.h"

struct migrate_thread {
    struct migrate_thread *next;
    struct migrate_context *context;
    pthread_t id;
    void (*run)(void *argument);
    void *argument;
    bool over; /* guarded by context->lock; only the join is missing */
};

int migrate_context_init(struct migrate_context *context, struct error **err)
{
    context->end_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int failed = pthread_mutex_init(&context->lock, NULL);
    if (!failed)
        failed = pthread_cond_init(&context->idle, NULL);
    return failed ? error_errno(err, failed, "mutex") : 0;
}

static void *thread_main(void *argument)
{
    struct migrate_thread *thread = argument;
    thread->run(thread->argument);
    LOCK_SCOPE(&thread->context->lock);
    thread->over = true;
    return NULL;
}

/* Joins the threads that are over. */
static void reap(struct migrate_context *context)
{
    struct migrate_thread *over = NULL;
    pthread_mutex_lock(&context->lock);
    for (struct migrate_thread **at = &context->threads; *at;) {
        struct migrate_thread *thread = *at;
        if (thread->over) {
            *at = thread->next;
            thread->next = over;
            over = thread;
        } else {
            at = &thread->next;
        }
    }
    pthread_mutex_unlock(&context->lock);
    while (over) {
        struct migrate_thread *next = over->next;
        pthread_join(over->id, NULL);
        free(over);
        over = next;
    }
}

static int refuse_ending(const struct migrate_context *context, struct error **err)
{
    if (!context->ending)
        return 0;
    error_set(err, ERROR_STATE, "the agent is ending");
    return error_hint(err, "try again once mudanzad runs there again");
}

int migrate_thread_start(struct migrate_context *context, void (*run)(void *), void *argument,
                         struct error **err)
{
    reap(context);
    struct migrate_thread *thread = calloc(1, sizeof(*thread));
    if (!thread)
        return error_set(err, ERROR_SYSTEM, "out of memory");
    thread->context = context;
    thread->run = run;
    thread->argument = argument;
    pthread_mutex_lock(&context->lock);
    int result = refuse_ending(context, err);
    int failed = result < 0 ? 0 : pthread_create(&thread->id, NULL, thread_main, thread);
    if (result == 0 && !failed) {
        thread->next = context->threads;
        context->threads = thread;
    }
    pthread_mutex_unlock(&context->lock);
    if (result == 0 && !failed)
        return 0;
    free(thread);
    return failed ? error_errno(err, failed, "job thread") : -1;
}

static void cancel_migrations(struct migrate_context *context)
{
    LOCK_SCOPE(&context->lock);
    for (struct migration *m = context->migrations; m; m = m->next) {
        pthread_mutex_lock(&m->lock);
        m->cancelled = m->agent_ends = true;
        pthread_mutex_unlock(&m->lock);
        fd_event_signal(m->cancel_fd); /* past the point of return too: the journal remembers */
    }
}

void migrate_context_end(struct migrate_context *context)
{
    pthread_mutex_lock(&context->lock);
    context->ending = true;
    pthread_mutex_unlock(&context->lock);
    fd_event_signal(context->end_fd);
    arrival_end_all(context);
    cancel_migrations(context);
    pthread_mutex_lock(&context->lock);
    while (context->threads) {
        struct migrate_thread *thread = context->threads;
        context->threads = thread->next;
        pthread_mutex_unlock(&context->lock);
        pthread_join(thread->id, NULL);
        free(thread);
        pthread_mutex_lock(&context->lock);
    }
    pthread_mutex_unlock(&context->lock);
}

void migrate_context_clear(struct migrate_context *context)
{
    close(context->end_fd);
    pthread_mutex_destroy(&context->lock);
    pthread_cond_destroy(&context->idle);
}
