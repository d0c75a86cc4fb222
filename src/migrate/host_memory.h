/* SPDX-License-Identifier: Apache-2.0 */
/* This host's memory, as the kernel tells it. */
#ifndef MIGRATE_HOST_MEMORY_H
#define MIGRATE_HOST_MEMORY_H

#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

/* MemAvailable and MemTotal of /proc/meminfo, bytes. */
int host_memory(uint64_t *available, uint64_t *total, struct error **err);

/* What a process has in memory, bytes; 0 when it is gone. */
uint64_t host_memory_of(pid_t pid);

/*
 * A descriptor on which poll(2) says POLLPRI when processes wait for memory: more than 100 ms of a
 * second (pressure stall information). -1 when the kernel does not offer it, or not to us.
 */
int host_memory_pressure(void);

#endif
