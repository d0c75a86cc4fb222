/* SPDX-License-Identifier: Apache-2.0 */
/* The link of a move: how many connections, how much memory, how to reach the other host. */
#include "migrate/data_link.h"

#include <sched.h>
#include <string.h>

#include "base/fault.h"
#include "migrate/channel_port.h"
#include "migrate/job_id.h"
#include "migrate/migration_private.h"

/* Bytes of blocks on their way in each direction. Enough to fill 10 Gbit/s over 50 ms. */
#define MEMORY_LIMIT ((size_t)64 << 20)
/* One core encrypts some 20 Gbit/s, so that a few connections are more than any network takes;
 * what the other cores do is the guests'. */
#define CORES_EACH  4
#define DEFAULT_MAX 4
/* QEMU's channels send more at once than a limit on its bandwidth allows, and it does no post-copy
 * over them. Before 9.0 it looks for zero pages in one thread all the same, and has its channels
 * wait for each other several times a round. */
#define MULTIFD_VERSION_MIN 9000
/* More than this many threads make blocks faster than any network takes them. */
#define THREADS_MAX 8
/* Video memory, firmware. */
#define OTHER_RAM ((uint64_t)32 << 20)
/* The destination gives a move this part of its free memory for slots, at most. */
#define MEMORY_SHARE 4

unsigned data_link_connections(void)
{
    cpu_set_t cores;
    if (sched_getaffinity(0, sizeof(cores), &cores) < 0)
        return 1;
    unsigned count = (unsigned)CPU_COUNT(&cores) / CORES_EACH;
    return count < 1 ? 1 : count > DEFAULT_MAX ? DEFAULT_MAX : count;
}

unsigned data_link_channels(const struct migration *m)
{
    if (m->options.channels)
        return (unsigned)m->options.channels;
    if (m->options.post_copy || m->options.bandwidth ||
        qmp_version(m->vm->qmp) < MULTIFD_VERSION_MIN || !channel_port_reachable(m->vm))
        return 1;
    return data_link_connections();
}

unsigned data_link_threads(void)
{
    cpu_set_t cores;
    if (sched_getaffinity(0, sizeof(cores), &cores) < 0)
        return 1;
    unsigned count = (unsigned)CPU_COUNT(&cores) - 1;
    return count < 1 ? 1 : count > THREADS_MAX ? THREADS_MAX : count;
}

uint32_t data_link_slots(const struct migration *m)
{
    uint64_t memory = (uint64_t)m->options.stream_memory;
    uint32_t slots =
        encoder_slots_for(memory > MEMORY_LIMIT ? memory - MEMORY_LIMIT : 0, data_link_threads());
    uint64_t pages = (m->target->memory + OTHER_RAM) / RAM_PAGE_SIZE;
    return pages < slots ? (uint32_t)pages : slots;
}

uint32_t data_link_slots_granted(int64_t asked, uint64_t available)
{
    uint64_t most = available / MEMORY_SHARE / RAM_PAGE_SIZE;
    if (most > STREAM_SLOTS_MAX)
        most = STREAM_SLOTS_MAX;
    return asked < 0 ? 0 : (uint64_t)asked < most ? (uint32_t)asked : (uint32_t)most;
}

int data_link_options(const struct migrate_context *context, const char *vm, const char *peer,
                      const char *job, unsigned connections, struct link_options *options,
                      struct error **err)
{
    *options = (struct link_options){
        .vm = vm,
        .peer = peer,
        .connections = connections,
        .memory_limit = MEMORY_LIMIT,
        .silence_ms = context->peer_silence_ms,
        .lost_ms = context->peer_lost_ms,
    };
    return job_id_to_bytes(job, options->job, err);
}

struct tls *data_link_connect(void *argument, int cancel_fd, int64_t deadline_ns,
                              struct error **err)
{
    const struct data_link_target *target = argument;
    struct peer peer = {.tls = target->context->tls};
    if (fault_point(FAULT_SOURCE_CONNECT, err) < 0)
        return NULL;
    int found = store_host_find(target->context->store, NULL, target->fingerprint, &peer.host, err);
    if (found == 0)
        error_set(err, ERROR_NOT_FOUND, "no host with key %s is known here any more",
                  target->fingerprint);
    if (found <= 0)
        return NULL;
    struct tls *tls = peer_connect_data(&peer, target->job, cancel_fd, deadline_ns, err);
    peer_clear(&peer);
    return tls;
}
