/* SPDX-License-Identifier: Apache-2.0 */
/* What a demo needs of this machine: programs, the guest's kernel and initrd, root. */
#ifndef CLI_DEMO_FILES_H
#define CLI_DEMO_FILES_H

#include "base/error.h"

#define DEMO_EMULATOR "/usr/bin/qemu-system-x86_64"

/* Paths, owned. */
struct demo_files {
    char *agent; /* mudanzad beside this program, else in PATH */
    char *kernel;
    char *initrd;
};

/* Finds them; `kernel` and `initrd` are what the user gave, NULL for those of this program's build
 * folder. What is missing is an error that says how to get it. */
int demo_files_find(const char *kernel, const char *initrd, struct demo_files *files,
                    struct error **err);
void demo_files_clear(struct demo_files *files);

#define CLEANUP_DEMO_FILES CLEANUP(demo_files_clear)

#endif
