/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a QEMU binary can do, asked of the binary itself and remembered until the file changes.
 *
 * Started once with `-M none -S -nodefaults` and a QMP socket: version, machine types and their
 * aliases, CPU models with what makes them unusable on this host, migration capabilities, devices.
 */
#ifndef QEMU_PROBE_H
#define QEMU_PROBE_H

#include <stdbool.h>

#include "base/error.h"
#include "base/json.h"

struct probe; /* shared and immutable once made; thread-safe */

/* The cached probe of `emulator` (by path, mtime, size); runs it when needed. kvm: probed with the
 * KVM accelerator, as CPU models differ. cache_directory: where to keep it over our restarts, or
 * NULL. Borrowed from the cache, lives as long as the process. */
const struct probe *probe_get(const char *emulator, bool kvm, const char *cache_directory,
                              struct error **err);

int probe_version(const struct probe *probe);              /* major * 1000 + minor */
const char *probe_version_text(const struct probe *probe); /* "10.0.2" */

/* The versioned machine type behind an alias or itself (NULL: QEMU's default); NULL when QEMU does
 * not have it. */
const char *probe_machine(const struct probe *probe, const char *machine);
/* Every machine type, comma separated, newest first, at most `max`; owned by the caller. */
char *probe_machine_list(const struct probe *probe, size_t max);
/* 0 when QEMU does not have the machine type. */
int probe_machine_max_cpus(const struct probe *probe, const char *machine);

/* Fills *missing with the features of `model` (NULL-terminated, owned; empty when all are there)
 * that this host cannot give; ERROR_NOT_FOUND for an unknown model. */
int probe_cpu_unavailable(const struct probe *probe, const char *model, char ***missing,
                          struct error **err);

/*
 * The features that {model + props} really gets here under the machine type: the expansion of the
 * model, less what this host cannot give. Starts a fresh QEMU for it (about 60 ms). `props` (may be
 * NULL): name -> boolean, integer or plain string. Result: an object, feature name -> boolean;
 * QEMU's aliases ("sse4_1", "sse4.1") are all in it. Owned by the caller.
 */
json_t *probe_cpu_expand(const char *emulator, bool kvm, const char *machine, const char *model,
                         const json_t *props, struct error **err);

bool probe_has_migration_capability(const struct probe *probe, const char *name);
bool probe_has_device(const struct probe *probe, const char *type);

void cleanup_strings(char ***strings);

#endif
