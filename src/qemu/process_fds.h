/* SPDX-License-Identifier: Apache-2.0 */
/* The descriptors of another process: looked at in /proc, and taken as ours. */
#ifndef QEMU_PROCESS_FDS_H
#define QEMU_PROCESS_FDS_H

#include <dirent.h>

#include "qemu/process.h"

#define PROCESS_FD_LINK_SIZE 256

struct process_fds {
    DIR *folder; /* /proc/PID/fd */
    int pidfd;
};

/* Of the process behind `pidfd`, which is used until the caller closes *fds; its number is `pid`.
 */
int process_fds_open(pid_t pid, int pidfd, struct process_fds *fds, struct error **err);
void process_fds_close(struct process_fds *fds);

/* The next descriptor's number, -1 after the last one. link: what the kernel says it is, such as
 * "socket:[4711]" or "/memfd:NAME (deleted)"; cut when it is longer. */
int process_fds_next(struct process_fds *fds, char link[PROCESS_FD_LINK_SIZE]);
void process_fds_rewind(struct process_fds *fds); /* the next one is the first */

/* A duplicate of one of them, the caller's; -1 when it is closed by now, or not for us. */
int process_fds_take(const struct process_fds *fds, int number);

#endif
