/* SPDX-License-Identifier: Apache-2.0 */
/* What the thread of a move waits for: QEMU, the destination, the stream, its user. */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/text.h"
#include "migrate/migration_private.h"
#include "migrate/qemu_migration.h"

/* How long the destination may take to say why it failed once its stream broke. */
#define LAST_WORDS_MS 2000
/* While there is no connection, people see for how long. */
#define NOTE_EACH_MS 1000
/* Between two attempts of a call whose connection broke. */
#define CALL_AGAIN_MS 250

static void take_event(struct migration *m, const json_t *event)
{
    const char *name = json_opt_string(event, "event", "");
    if (strcmp(name, "loaded") == 0) {
        m->remote.loaded = true;
        free(m->remote.digests);
        m->remote.digests = text_copy(json_opt_string(event, "digests", NULL));
    } else if (strcmp(name, "running") == 0) {
        m->remote.running = true;
        m->remote.running_ns = clock_now_ns();
    } else if (strcmp(name, "failed") == 0) {
        m->remote.failed = true;
        json_to_error(json_object_get(event, "error"), &m->remote.error);
    }
}

/* Everything that the destination has told. */
static int hear_destination(struct migration *m, struct error **err)
{
    for (;;) {
        CLEANUP_JSON json_t *event = NULL;
        int result = follower_next(m->follower, &event, err);
        if (result <= 0)
            return result;
        take_event(m, event);
        if (!m->remote.failed)
            continue;
        error_move(err, STEAL(m->remote.error));
        return error_prefix(err, "host %s", m->peer.host.name);
    }
}

/* The stream broke: the destination often knows why. */
static int stream_failure(struct migration *m, struct error **err)
{
    if (m->follower && fd_wait(follower_event_fd(m->follower), POLLIN, m->cancel_fd,
                               clock_deadline_ns(LAST_WORDS_MS), NULL) == 0) {
        struct error *words = NULL;
        if (hear_destination(m, &words) < 0 && m->remote.failed)
            return error_move(err, words);
        error_free(words);
    }
    return relay_failure(m->relay, err);
}

int migration_qemu_failure(struct migration *m, struct error **err)
{
    CLEANUP_JSON json_t *state = qemu_migration_query(m->vm->qmp, NULL);
    if (m->relay && relay_status(m->relay).failed)
        return stream_failure(m, err);
    return error_set(err, ERROR_QEMU, "VM %s: QEMU gave the migration up: %s", m->vm->name,
                     json_opt_string(state, "error-desc", "it does not say why"));
}

static bool qemu_gone(struct migration *m)
{
    LOCK_SCOPE(&m->vm->lock);
    return m->vm->guest.gone;
}

static int qemu_ended(struct migration *m, struct error **err)
{
    CLEANUP_FREE char *tail = vm_log_tail(m->vm);
    return error_set(err, ERROR_QEMU, "VM %s: its QEMU process here ended: %s", m->vm->name, tail);
}

static int check_state(struct migration *m, struct error **err)
{
    if (qemu_gone(m))
        return qemu_ended(m, err);
    if (m->relay && relay_status(m->relay).failed)
        return stream_failure(m, err);
    return 0;
}

/* Connections of the stream broke or came back. */
static void look_at_link(struct migration *m)
{
    if (atomic_exchange(&m->peer_moved, false))
        relay_renew(m->relay);
    const struct link_status link = relay_status(m->relay).link;
    bool lost = link.lost_since_ns != 0;
    if (link.cuts != m->cuts && !lost && !link.failed) {
        /* A cut that one connection has felt, the others may not have noticed. */
        m->cuts = link.cuts;
        m->back_ns = clock_now_ns();
        varlink_connection_free(STEAL(m->control));
        if (m->follower)
            follower_renew(m->follower);
    }
    if (lost != m->was_lost)
        migration_publish(m);
    m->was_lost = lost;
}

int migration_wait(struct migration *m, int64_t deadline_ns, struct error **err)
{
    struct pollfd polls[] = {
        {.fd = m->cancel_fd, .events = POLLIN},
        {.fd = m->vm->changed_fd, .events = POLLIN},
        {.fd = m->follower ? follower_event_fd(m->follower) : -1, .events = POLLIN},
        {.fd = m->stream_fd, .events = POLLIN},
    };
    if (poll(polls, ARRAY_SIZE(polls), clock_poll_ms(deadline_ns)) < 0 && errno != EINTR)
        return error_errno(err, errno, "poll");
    if (polls[0].revents)
        return error_set(err, ERROR_CANCELLED, "cancelled");
    fd_event_clear(m->vm->changed_fd);
    if (polls[3].revents) {
        fd_event_clear(m->stream_fd);
        if (m->relay)
            look_at_link(m);
    }
    if (polls[2].revents && hear_destination(m, err) < 0)
        return -1;
    return check_state(m, err);
}

int migration_wait_answer(struct migration *m, int64_t since_ns, int64_t ms, const char *late,
                          struct error **err)
{
    if (m->was_lost) { /* the link says when that is too long */
        migration_publish(m);
        return migration_wait(m, clock_deadline_ns(NOTE_EACH_MS), err);
    }
    int64_t from_ns = m->back_ns > since_ns ? m->back_ns : since_ns;
    int64_t deadline_ns = from_ns + ms * NS_PER_MS;
    if (clock_now_ns() >= deadline_ns)
        return error_set(err, ERROR_TIMEOUT, "%s", late);
    return migration_wait(m, deadline_ns, err);
}

int migration_call(struct migration *m, const char *method, json_t *parameters, json_t **reply,
                   struct error **err)
{
    CLEANUP_JSON json_t *owned = parameters;
    int64_t broke_ns = 0;
    for (;;) {
        struct error *why = NULL;
        if (!m->control)
            m->control = peer_find_control(m->context->store, &m->peer, m->cancel_fd, &why);
        if (m->control && peer_call(m->control, &m->peer, method, json_incref(owned), reply,
                                    m->cancel_fd, &why) == 0)
            return 0;
        bool answered = m->control && !varlink_connection_awaiting(m->control) &&
                        why->kind != ERROR_UNREACHABLE;
        if (!answered)
            varlink_connection_free(STEAL(m->control));
        broke_ns = broke_ns ? broke_ns : clock_now_ns();
        if (answered || why->kind == ERROR_CANCELLED ||
            clock_now_ns() - broke_ns >= m->context->peer_lost_ms * NS_PER_MS ||
            fd_wait(m->cancel_fd, POLLIN, -1, clock_deadline_ns(CALL_AGAIN_MS), NULL) == 0)
            return error_move(err, why);
        error_free(why);
    }
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
    CLEANUP_ERROR struct error *why = NULL;
    CLEANUP_JSON json_t *state = qemu_migration_query(m->vm->qmp, &why);
    if (!state) {
        /* Its monitor may close a moment before it is known that it ended, and how. */
        int64_t deadline_ns = clock_deadline_ns(LAST_WORDS_MS);
        while (!qemu_gone(m) && fd_wait(m->vm->changed_fd, POLLIN, -1, deadline_ns, NULL) == 0)
            fd_event_clear(m->vm->changed_fd);
        if (qemu_gone(m))
            return qemu_ended(m, err);
        error_move(err, STEAL(why));
        return error_prefix(err, "VM %s", m->vm->name);
    }
    pthread_mutex_lock(&m->lock);
    note_ram(m, state);
    pthread_mutex_unlock(&m->lock);
    migration_publish(m);
    return 0;
}
