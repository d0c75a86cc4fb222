/* SPDX-License-Identifier: Apache-2.0 */
/* What a move tells to those who follow it, and how they end it. */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "migrate/migration_private.h"

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

void migration_warn(struct migration *m, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    CLEANUP_FREE char *warning = NULL;
    if (vasprintf(&warning, format, args) < 0)
        warning = NULL;
    va_end(args);
    if (!warning)
        return;
    log_warning(m->vm->name, "%s", warning);
    json_array_append_new(m->warnings, json_string(warning));
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
