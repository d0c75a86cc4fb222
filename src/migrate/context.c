/* SPDX-License-Identifier: Apache-2.0 */
/* What all moves of an agent share: its lock, the count of their threads, and their end. */
#include "base/fd.h"
#include "migrate/arrival.h"
#include "migrate/migration_private.h"

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
