/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Probes on disk, so that an agent starts without asking QEMU again.
 *
 * Valid only for the very same emulator file, version of ours, CPU and kernel. An emulator that is
 * a script is never cached here: what it runs can change while it stays the same.
 */
#ifndef QEMU_PROBE_CACHE_H
#define QEMU_PROBE_CACHE_H

#include "base/json.h"

struct probe_key {
    char *emulator; /* path */
    bool kvm;
    int64_t mtime_ns, size; /* of the emulator's file; ns since the epoch, bytes */
};

/* NULL when there is none that is valid; owned by the caller. */
json_t *probe_cache_read(const char *directory, const struct probe_key *key);

/* Writes atomically. A failure is logged and has no other consequence. */
void probe_cache_write(const char *directory, const struct probe_key *key, const json_t *data);

#endif
