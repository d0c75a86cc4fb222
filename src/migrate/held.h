/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What QEMU's process holds for us during a migration: duplicates of our descriptors, under names
 * that its monitor keeps until it is told otherwise, also when no client is connected (a set made
 * with `add-fd` would not do: 7.2 closes those that it does not use when the last client goes while
 * the guest runs).
 *
 * The socket stays open whatever happens to an agent, so that QEMU never sees its stream break. In
 * post-copy, the spools keep what is on its way. A new agent finds all of them again in /proc,
 * without asking QEMU, whose main loop may be waiting for just the page that is on its way.
 */
#ifndef MIGRATE_HELD_H
#define MIGRATE_HELD_H

#include "base/error.h"
#include "migrate/spool.h"
#include "qemu/process.h"
#include "qemu/qmp.h"
#include "stream/multifd_merge.h"

/* Our descriptors. */
struct held {
    int socket;        /* our end of a pair */
    struct spool from; /* what QEMU says; with `spools` only */
    struct spool to;   /* what it is given; with `spools` only */
    /* Its other channels, with multifd (channel_port.h); nothing is held then. */
    unsigned channel_count;
    int channels[MULTIFD_CHANNELS_MAX];
};

#define HELD_NONE ((struct held){.socket = -1, .from = SPOOL_NONE, .to = SPOOL_NONE})

/* Makes them, gives QEMU its end of the pair as `fd:mudanza`, and has it hold duplicates of the
 * rest. `job` is a UUID. The caller closes *held. */
int held_make(struct qmp *qmp, const char *job, bool spools, struct held *held, struct error **err);
/* The same descriptors, from a QEMU that an earlier agent left; made with `spools` only.
 * ERROR_NOT_FOUND when it holds none for this job. */
int held_take(const struct process_id *process, const char *job, struct held *held,
              struct error **err);
/* QEMU closes whatever it holds. */
void held_drop(struct qmp *qmp);

bool held_has_spools(const struct held *held);
void held_close(struct held *held);

#endif
