/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A spool: the bytes of one direction of QEMU's migration stream, in a file in memory that outlives
 * the agent, because QEMU's process has it open too (held.h).
 *
 * A byte's offset in the file is its position in the stream. The file's own offset, which all who
 * have it open share, says how far the bytes have moved between QEMU's socket and the file. The
 * kernel moves bytes and offset in one system call, splice(2) or sendfile(2), which no signal
 * interrupts in between. So whenever an agent is killed, the next one knows to the byte what QEMU
 * has said and been given, and still has all of it that the other host may lack.
 */
#ifndef MIGRATE_SPOOL_H
#define MIGRATE_SPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct spool {
    int file;
    int pipe;          /* on the way from the socket to the file; -1 in the other direction */
    uint64_t released; /* by us, below this position */
};

#define SPOOL_NONE ((struct spool){.file = -1, .pipe = -1})

/* A pipe in one descriptor, for reading and writing. */
int spool_pipe(struct error **err);
void spool_close(struct spool *spool);

/* Up to where QEMU's bytes are in the file, or QEMU has been given them; 0 before spool_begin. */
uint64_t spool_position(const struct spool *spool);
/* The first byte to be spooled is at this position, which is not 0. */
int spool_begin(struct spool *spool, uint64_t position, struct error **err);

/* Moves what QEMU has said, some 64 KiB at most, into the file. Does not wait. *open becomes false
 * when QEMU has closed its end. */
int spool_fill(struct spool *spool, int socket, bool *open, struct error **err);
/* ERROR_CORRUPT unless all of these bytes are in the file. */
int spool_read(const struct spool *spool, uint64_t at, void *bytes, size_t size,
               struct error **err);
/* Nothing from `at` up to the file's position was released; for positions that the peer says. */
int spool_check(const struct spool *spool, uint64_t at, struct error **err);

int spool_put(struct spool *spool, uint64_t at, const void *bytes, size_t size, struct error **err);
/* Gives QEMU what is in the file below `end`: 1 all of it, 0 its socket takes no more now. */
int spool_drain(struct spool *spool, int socket, uint64_t end, struct error **err);

/* The bytes below `at` are needed no more; their memory goes, a MiB at a time. */
void spool_release(struct spool *spool, uint64_t at);
/* The same for all that QEMU has read out of its socket, which refers to the file's memory. */
void spool_release_taken(struct spool *spool, int socket);

#endif
