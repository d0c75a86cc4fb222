/* SPDX-License-Identifier: Apache-2.0 */
/* Writes numbered blocks to a disk and syncs each, in a thread; what is written stands in
 * ../disk_format.h. */
#ifndef DISK_H
#define DISK_H

#include <stdatomic.h>
#include <stdint.h>

/*
 * Mounts the ext4 file system on /dev/NAME, goes on where its manifest ends (or begins a new ring
 * when it has none, or one of another seed), and starts the thread. Returns NULL, or what failed,
 * in one word.
 */
const char *disk_open(const char *name, uint32_t seed);

/* Blocks that are safe, counting from the first ever. */
extern _Atomic uint32_t disk_synced;

/* Lets the thread end, writes the last manifest, unmounts. Without disk_open it does nothing. */
void disk_close(void);

#endif
