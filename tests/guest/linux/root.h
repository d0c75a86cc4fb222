/* SPDX-License-Identifier: Apache-2.0 */
/* A whole system's root, started in a chroot beside the test guest's own work. */
#ifndef ROOT_H
#define ROOT_H

/* Mounts the ext4 on /dev/NAME read-only and runs its etc/mudanza-start there; returns when that
 * has ended, with what it started still running. NULL, or what did not work. */
const char *root_start(const char *name);

#endif
