/* SPDX-License-Identifier: Apache-2.0 */
/* What another process has mapped: /proc/PID/maps. */
#ifndef QEMU_PROCESS_MAPS_H
#define QEMU_PROCESS_MAPS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

struct process_mapping {
    uint64_t start, end; /* addresses there */
    uint64_t offset;     /* in the file */
    dev_t device;
    uint64_t inode; /* 0: of no file */
    bool writable;  /* and readable */
    bool executable;
    bool shared;
};

/* All of it as text, the caller's. NULL on error. */
char *process_maps_read(pid_t pid, struct error **err);

/* Takes one line of such text: "start-end perms offset major:minor inode path". *line: the next
 * one, NULL after the last. False for what is no such line. */
bool process_maps_next(const char **line, struct process_mapping *mapping);

#endif
