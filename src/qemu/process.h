/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QEMU processes: started so that they outlive the agent, found again by what they are.
 *
 * Start: fork twice so that QEMU belongs to init, own session, stderr to a log file, only the
 * listed descriptors inherited, user and groups dropped, no_new_privs. When /dev/kvm is not open to
 * that user and we are root, the child gets a private mount namespace in which it is.
 */
#ifndef QEMU_PROCESS_H
#define QEMU_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

/* Identity of a process beyond its pid: pid plus start time (field 22 of /proc/PID/stat). */
struct process_id {
    pid_t pid;
    uint64_t start_time; /* clock ticks since boot */
};

struct process_start {
    char *const *argv;    /* argv[0] is the emulator's path */
    const char *user;     /* NULL: stay who we are */
    const char *log_path; /* created 0600, appended to */
    const int *keep_fds;  /* inherited under the same numbers */
    size_t n_keep_fds;
    bool need_kvm;
};

/* Starts it; returns once exec succeeded (not before QEMU is ready: its monitor tells that). An
 * exec or set-up failure is reported with its cause. */
int process_start(const struct process_start *start, struct process_id *id, struct error **err);

/* A pidfd for the very process (pid and start time match), -1 with ERROR_NOT_FOUND when gone. It is
 * readable in poll(2) once the process ends. */
int process_open(const struct process_id *id, struct error **err);

/* Has the process behind a pidfd not ended yet? */
bool process_is_alive(int pidfd);

/* SIGTERM, then SIGKILL after `grace_ms`; returns when it is gone. A process that is gone is fine.
 */
int process_end(const struct process_id *id, int64_t grace_ms, struct error **err);

/* The last lines of a log file (at most 2000 bytes), for messages. Never NULL; owned by caller. */
char *process_log_tail(const char *log_path);

#endif
