/* SPDX-License-Identifier: Apache-2.0 */
/* A QEMU that runs no guest and is only asked questions: a child that is gone when we are. */
#ifndef QEMU_PROBE_SESSION_H
#define QEMU_PROBE_SESSION_H

#include <stdbool.h>

#include "qemu/qmp.h"

struct probe_session {
    pid_t pid;
    struct qmp *qmp;
    int said_fd; /* its standard output and error */
};

/*
 * Starts `emulator` with -S, a monitor, the accelerator and `args` (NULL-terminated). On error
 * nothing is left; the message ends with QEMU's own last words.
 */
int probe_session_start(struct probe_session *session, const char *emulator, bool kvm,
                        const char *const *args, struct error **err);
void probe_session_end(struct probe_session *session);

#endif
