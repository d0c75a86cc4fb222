/* SPDX-License-Identifier: Apache-2.0 */
/* File descriptor helpers: whole reads and writes, waits with a deadline and a cancel eventfd. */
#ifndef BASE_FD_H
#define BASE_FD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/un.h>

#include "base/error.h"

/* Reads exactly `size` bytes, waiting as needed. Returns 0; -1 on error or early end (ERROR_CORRUPT
 * "ends after N of M bytes"). */
int fd_read_full(int fd, void *buffer, size_t size, struct error **err);

/* Writes all of it, waiting as needed; sockets get MSG_NOSIGNAL. Returns 0 or -1. */
int fd_write_full(int fd, const void *buffer, size_t size, struct error **err);

/*
 * Waits until `fd` has one of `events` (POLLIN/POLLOUT; hang-up and error count as ready).
 * cancel_fd: an eventfd, readable once the user cancelled; -1 for none.
 * Returns 0 when ready; -1 with ERROR_CANCELLED, ERROR_TIMEOUT or ERROR_SYSTEM.
 */
int fd_wait(int fd, short events, int cancel_fd, int64_t deadline_ns, struct error **err);

int fd_set_nonblocking(int fd, bool on, struct error **err);

/* The address of the Unix socket at `path`. Returns 0, or -1 (ERROR_INVALID) when there is no room
 * for the path in an address. */
int fd_unix_address(const char *path, struct sockaddr_un *address, struct error **err);

/* Adds 1 to an eventfd; reads it back to zero without blocking. */
void fd_event_signal(int event_fd);
void fd_event_clear(int event_fd);

#endif
