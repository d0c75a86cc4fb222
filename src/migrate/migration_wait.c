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
