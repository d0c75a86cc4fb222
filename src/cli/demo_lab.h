/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two hosts on this machine: network namespaces joined by a cable, an agent in each, and the agents
 * known to each other. Everything is below one temporary directory or named after it.
 */
#ifndef CLI_DEMO_LAB_H
#define CLI_DEMO_LAB_H

#include "cli/demo_files.h"
#include "cli/demo_host.h"
#include "cli/demo_sweep.h"

struct demo_lab {
    char *directory; /* anybody may pass through it, only root may look; NULL: nothing is there */
    struct demo_watcher watcher;
    struct demo_host hosts[DEMO_SWEEP_HOSTS];
};

/* Makes all of it; `cancel_fd` ends every wait. To be closed after a failure, too. */
int demo_lab_open(struct demo_lab *lab, const struct demo_files *files, int cancel_fd,
                  struct error **err);

/* Gives everything back, running VMs included. The error says what stays. */
int demo_lab_close(struct demo_lab *lab, struct error **err);

/* A copy of a file that QEMU's unprivileged user can read. Its path, owned by the caller. */
char *demo_lab_copy(const struct demo_lab *lab, const char *path, const char *name,
                    struct error **err);

#endif
