/* SPDX-License-Identifier: Apache-2.0 */
/* For the tests of this folder: real QEMU processes with a monitor, in a directory of their own. */
#ifndef QEMU_TESTING_H
#define QEMU_TESTING_H

#include "qemu/process.h"
#include "qemu/qmp.h"

struct testing_qemu {
    struct process_id id; /* pid 0: not running */
    struct qmp *qmp;
    char *log_path;
};

/* The emulator that tests use: $MUDANZA_QEMU, or Debian's; NULL when there is none. */
const char *testing_emulator(void);

/* A fresh directory below /tmp, owned by the caller; testing_directory_remove deletes it with the
 * files in it. */
char *testing_directory(void);
void testing_directory_remove(char *directory);

/*
 * Starts `emulator` with `args` (NULL-terminated) and a monitor; fails the running test when that
 * does not work. `fds`: descriptors it inherits. `name` names its log in `directory`.
 */
void testing_start(struct testing_qemu *qemu, const char *directory, const char *name,
                   const char *emulator, const char *const *args, const int *fds, size_t n_fds,
                   const struct qmp_handler *handler);
/* Ends it, if it runs. */
void testing_stop(struct testing_qemu *qemu);

/* A process that does what a shell script says, in QEMU's place. */
struct testing_script {
    char *directory, *log;
    struct process_id id; /* pid 0: none was started */
};

/* cmocka's setup and teardown; the latter ends the process. */
int testing_script_set_up(void **state);
int testing_script_tear_down(void **state);
/* Starts it as `user` (NULL: ours) with `fds` under their numbers. As process_start. */
int testing_script_start(struct testing_script *script, const char *text, const char *user,
                         bool need_kvm, const int *fds, size_t n_fds, struct error **err);

#endif
