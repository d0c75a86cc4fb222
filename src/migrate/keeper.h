/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RAM of VMs that left this host, kept for a while for when they come back.
 *
 * Theory of operation. What is kept is a copy (stream/kept_ram.h), begun when the VM's move begins
 * and finished when the VM is the destination's; or the RAM itself, if that is shared memory, once
 * its QEMU has ended. It is only ever an optimisation, so that it goes
 * whenever somebody needs its memory: processes that wait for memory (the kernel's pressure stall
 * information; without that a look at what is available, each second), a VM that starts or
 * arrives; besides that after a time, and when the VM is back. Nothing of it is on disk: with the
 * agent it is gone.
 */
#ifndef MIGRATE_KEEPER_H
#define MIGRATE_KEEPER_H

#include "base/json.h"
#include "domain/domain.h"
#include "stream/kept_ram.h"

struct keeper;

struct keeper_options {
    uint64_t limit;  /* bytes of all of it together; 0: nothing is kept */
    int64_t keep_ms; /* so long after the VM left */
    int pressure_fd; /* says POLLPRI when memory is short; -1: none. Taken over */
};

struct keeper *keeper_new(const struct keeper_options *options, struct error **err);
/* Drops everything. No copy may be under way. */
void keeper_free(struct keeper *keeper);

/*
 * Begins to copy the RAM of a VM that is about to leave; takes `ram` over. `needed`: how much it
 * is at most, bytes. NULL, which is no error, when nothing is to be kept, or memory is short.
 * Ends with keeper_finish or keeper_cancel, which take the reference.
 */
struct kept_ram *keeper_begin(struct keeper *keeper, const struct domain *vm, uint64_t needed,
                              struct ram_source *ram);
/* The VM has left. Copying may take part of the caller's time until the deadline. */
void keeper_finish(struct keeper *keeper, struct kept_ram *ram, int64_t deadline_ns);
/* It stays. `ram` may be NULL. */
void keeper_cancel(struct keeper *keeper, struct kept_ram *ram);

/* Keeps the file of `fd`, the RAM of a VM that has left, whose QEMU has ended; takes `fd` over. It
 * goes at once when nothing is to be kept, or memory is short. */
void keeper_adopt(struct keeper *keeper, const struct domain *vm, int fd);

/* What a dictionary for that VM may look into: its own RAM first, then, with `group`, that of VMs
 * of its group. Returns how many, at most `max`; each is the caller's. */
size_t keeper_sources(struct keeper *keeper, const struct domain *vm, bool group,
                      struct ram_source **sources, size_t max);

/* That VM is here again. */
void keeper_forget(struct keeper *keeper, const char *uuid);

/* Gives back memory, that of `uuid` (may be NULL) last, until `bytes` are available or nothing is
 * left to give. */
void keeper_make_room(struct keeper *keeper, uint64_t bytes, const char *uuid);

uint64_t keeper_size(struct keeper *keeper); /* bytes that it could give back */
/* Array of KeptRam of io.mudanza; the caller's. */
json_t *keeper_describe(struct keeper *keeper);

#endif
