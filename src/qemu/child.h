/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Short-lived helper programs (qemu-img, a QEMU that is only asked questions): started, read, and
 * gone with us. A virtual machine's own process is started by process.h instead.
 */
#ifndef QEMU_CHILD_H
#define QEMU_CHILD_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

/*
 * Starts argv[0] (looked up in PATH when it has no '/') with no input. `output_fd` becomes its
 * standard output, `error_fd` its standard error; `keep_fd` (-1: none) is inherited under its
 * number. It is killed when the calling thread ends. Returns its pid, which child_end must get.
 */
pid_t child_start(const char *const *argv, int output_fd, int error_fd, int keep_fd,
                  struct error **err);

/* Kills it, if it still runs, and waits for it. Returns its wait status. */
int child_end(pid_t pid);

/*
 * Runs a program to its end and returns all of its standard output (NUL-terminated, owned by the
 * caller). NULL when it fails (the message has its last line of standard error), takes longer than
 * the deadline, or writes more than `max` bytes.
 */
char *child_output(const char *const *argv, size_t max, int64_t deadline_ns, struct error **err);

#endif
