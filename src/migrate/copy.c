/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The copy phase: QEMU sends RAM in rounds while the guest runs; the policy watches the rounds.
 * Ends at pre-switchover, with the guest stopped (also on the way into post-copy).
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/text.h"
#include "migrate/channel_port.h"
#include "migrate/host_memory.h"
#include "migrate/migration_private.h"
#include "migrate/qemu_migration.h"

/* How often QEMU is asked how far it is: for people and for the policy. */
#define SAMPLE_MS 100
/* More zero pages than QEMU goes through between two looks. */
#define FAR_BYTES ((uint64_t)256 << 20)

static int stop_guest(struct migration *m, struct error **err)
{
    if (qmp_execute(m->vm->qmp, "stop", NULL, NULL, err) < 0)
        return error_prefix(err, "VM %s: stopping the guest", m->vm->name);
    m->stopped_by_us = true;
    if (!m->stopped_ns)
        m->stopped_ns = clock_now_ns();
    return 0;
}

/* QEMU's migration over several channels, which it connects itself. */
static int start_channels(struct migration *m, struct held *held, struct error **err)
{
    struct channel_port port;
    if (channel_port_open(m->vm, m->job, &port, err) < 0)
        return -1;
    int status = fault_point(FAULT_SOURCE_STREAM_BEFORE, err);
    if (status == 0)
        status = qemu_migration_start_at(m->vm->qmp, port.path, err);
    if (status == 0)
        status = channel_port_accept(&port, m->vm, m->channels, m->cancel_fd, held, err);
    channel_port_close(&port);
    if (status < 0)
        held_close(held);
    else
        log_info(m->vm->name, "QEMU sends its RAM over %u channels", held->channel_count);
    return status;
}

/* Gets the socket that QEMU's stream comes from; with several channels it begins to come. */
static int get_socket(struct migration *m, struct held *held, struct error **err)
{
    *held = HELD_NONE;
    if (m->channels > 1)
        return start_channels(m, held, err);
    if (held_make(m->vm->qmp, m->job, m->options.post_copy, held, err) < 0)
        return -1;
    if (m->options.post_copy)
        m->qemu_end = fcntl(held->socket, F_DUPFD_CLOEXEC, 0);
    return 0;
}

/* Has QEMU begin, where there is only one channel. */
static int start_migration(struct migration *m, struct error **err)
{
    if (m->channels > 1)
        return 0;
    if (fault_point(FAULT_SOURCE_STREAM_BEFORE, err) < 0)
        return -1;
    return qemu_migration_start(m->vm->qmp, "mudanza", err);
}

static int start_stream(struct migration *m, struct error **err)
{
    struct relay_ends ends = {.event_fd = m->stream_fd};
    CLEANUP_FREE char *peer = text_format("host %s", m->peer.host.name);
    if (data_link_options(m->context, m->vm->name, peer, m->job, m->connections, &ends.link, err) <
        0)
        return -1;
    if (get_socket(m, &ends.held, err) < 0)
        return error_prefix(err, "VM %s", m->vm->name);
    m->target_host = (struct data_link_target){
        .context = m->context, .job = m->job, .fingerprint = m->peer.host.fingerprint};
    const struct encoder_options encoder = {.codec = m->options.compress,
                                            .threads = data_link_threads(),
                                            .slots = m->slots,
                                            .copies = m->copies,
                                            .dictionary_key = m->shares ? &m->page_key : NULL};
    m->peer_moved = false; /* it connects to where the peer is now */
    m->relay = relay_start_source(&ends, &encoder, data_link_connect, &m->target_host, err);
    if (!m->relay)
        return -1;
    if (start_migration(m, err) < 0)
        return error_prefix(err, "VM %s", m->vm->name);
    return fault_point(FAULT_SOURCE_STREAM_STARTED, err);
}

static int follow_policy(struct migration *m, struct error **err)
{
    if (!m->was_running || m->stopped_by_us ||
        !policy_look(&m->policy, m->rounds, m->ram_remaining)) {
        if (m->policy.exhausted)
            migration_note(m,
                           "the guest writes memory faster than it can be sent within %lld ms of "
                           "downtime: allow more (--downtime), slow it down (--auto-converge) or "
                           "use --post-copy",
                           (long long)m->policy.max_ms);
        return 0;
    }
    log_debug(m->vm->name, "downtime limit raised to %lld ms", (long long)m->policy.limit_ms);
    return qemu_migration_set_downtime(m->vm->qmp, m->policy.limit_ms, err);
}

/* --timeout: what would go on for ever is ended, by post-copy or by stopping the guest. */
static int enforce_timeout(struct migration *m, struct error **err)
{
    if (!m->options.timeout_s || m->stopped_by_us || m->post_copy_started || !m->was_running ||
        clock_now_ns() < m->phase_ns[PHASE_COPY] + m->options.timeout_s * NS_PER_S)
        return 0;
    migration_note(m, "the time given with --timeout is over: the guest is stopped to finish");
    return stop_guest(m, err);
}

/* With post-copy: one full round first, then the guest changes sides. */
static bool post_copy_due(const struct migration *m)
{
    return m->options.post_copy && m->was_running && !m->post_copy_started && m->rounds >= 2;
}

/* The RAM that it leaves behind here may spare it the way back. That pays where the network, or
 * --bandwidth, is what a move waits for, or would be but for what is known there; elsewhere copying
 * would take from this move what it may bring the next. Not being able to is no reason to stay.
 * Shared memory is not copied: it stays as it is (confirm.c). */
static void keep_ram(struct migration *m)
{
    CLEANUP_ERROR struct error *err = NULL;
    const struct relay_status status = relay_status(m->relay);
    bool pays = m->options.bandwidth || status.scarce || status.stream.known;
    if (!m->shares || m->keeps || !pays)
        return;
    m->keeps = true;
    CLEANUP_CLOSE int file = known_pages_file(m->vm);
    if (file >= 0)
        return;
    struct ram_source *ram = known_pages_ram(m->vm, &err);
    if (ram)
        m->kept =
            keeper_begin(m->context->keeper, m->vm->live, host_memory_of(m->vm->process.pid), ram);
    else
        log_warning(m->vm->name, "its RAM is not kept: %s", err->message);
}

/* Half a percent of its pages in WRITE_RATE_MS: what changes while they travel once is then a good
 * part of all of them. */
#define WRITES_MUCH_PERMILLE 5

/* Does the guest change its memory so fast that pages are worth keeping already when they travel
 * for the first time? Not being able to tell is no reason to stay. */
static void sample_writes(struct migration *m)
{
    CLEANUP_ERROR struct error *err = NULL;
    unsigned permille = 0;
    int64_t now_ns = clock_now_ns();
    if (!m->written) {
        m->written = calloc(1, sizeof(*m->written));
        m->sampled = m->written ? known_pages_ram(m->vm, &err) : NULL;
        if (m->sampled)
            write_rate_begin(m->written, m->sampled, now_ns, &err);
    } else if (m->sampled && now_ns >= m->written->next_ns &&
               write_rate_look(m->written, m->sampled, now_ns, &permille, &err) == 0) {
        log_debug(m->vm->name, "the guest changes %u of 1000 pages in %d ms", permille,
                  WRITE_RATE_MS);
    }
    if (err)
        log_debug(m->vm->name, "what the guest writes is not known: %s", err->message);
    if (permille >= WRITES_MUCH_PERMILLE)
        relay_keep(m->relay);
    if (err || permille >= WRITES_MUCH_PERMILLE)
        ram_source_free(STEAL(m->sampled));
}

/* Pages that travel again are likely to do so once more, and as deltas then. */
static void tend_slots(struct migration *m)
{
    if (!m->slots || !m->was_running || m->stopped_by_us)
        return;
    if (m->rounds >= 2)
        relay_keep(m->relay);
    else if (relay_status(m->relay).scarce)
        sample_writes(m);
}

/* The first round has so much of the RAM before it that the next look comes before its end, also if
 * all of that are zero pages, which fly. */
static bool is_far(const struct migration *m)
{
    return m->was_running && m->rounds == 1 && m->ram_remaining > m->ram_total / 4 &&
           m->ram_remaining > FAR_BYTES;
}

static int copy_turn(struct migration *m, int64_t *next_sample_ns, struct error **err)
{
    if (migration_wait(m, *next_sample_ns, err) < 0)
        return -1;
    if (clock_now_ns() < *next_sample_ns)
        return 0;
    *next_sample_ns = clock_deadline_ns(SAMPLE_MS);
    keep_ram(m);
    tend_slots(m);
    if (fault_point(FAULT_SOURCE_COPY, err) < 0 || migration_sample(m, err) < 0 ||
        follow_policy(m, err) < 0)
        return -1;
    relay_far(m->relay, is_far(m));
    return enforce_timeout(m, err);
}

int copy_run(struct migration *m, struct error **err)
{
    if (m->options.mode == MIGRATE_NON_LIVE && m->was_running && stop_guest(m, err) < 0)
        return -1;
    if (start_stream(m, err) < 0)
        return -1;
    int64_t next_sample_ns = clock_deadline_ns(SAMPLE_MS);
    char status[32];
    for (;;) {
        migration_qemu_status(m, status);
        if (strcmp(status, "pre-switchover") == 0) {
            relay_urgent(m->relay); /* the guest stands */
            return 0;
        }
        if (strcmp(status, "failed") == 0 || strcmp(status, "cancelled") == 0)
            return migration_qemu_failure(m, err);
        if (post_copy_due(m) && post_copy_start(m, err) < 0)
            return -1;
        if (copy_turn(m, &next_sample_ns, err) < 0)
            return -1;
    }
}
