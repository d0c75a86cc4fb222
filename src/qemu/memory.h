/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A running guest's RAM, read from outside, and digests of it.
 *
 * The digests depend on the content and the key alone, not on the process, the host or the QEMU
 * version: two agents that use the same key can compare two guests. What is compared is the
 * machine's main RAM ("pc.ram"), not video memory or ROMs. The tree, so that a difference can be
 * found by looking at ever smaller pieces: page   4096 bytes: Poly1305 under a key made of `key`;
 * sixteen zero bytes for a page of zeros chunk  1 MiB (the last one may be shorter): SHA-256 of the
 * key and its pages' digests whole  SHA-256 of the key, the RAM's size and all chunks' digests Two
 * pages that differ have the same digest with probability below 2^-95 as long as who chose them
 * does not know the key: draw a fresh one for each comparison, and let only the agents see it.
 */
#ifndef QEMU_MEMORY_H
#define QEMU_MEMORY_H

#include "qemu/process.h"
#include "qemu/qmp.h"

/* QEMU's name for the machine's main RAM. */
#define MEMORY_BLOCK "pc.ram"

#define MEMORY_PAGE_SIZE         ((uint64_t)4096)
#define MEMORY_CHUNK_SIZE        ((uint64_t)1048576)
#define MEMORY_KEY_SIZE          16
#define MEMORY_PAGE_DIGEST_SIZE  16
#define MEMORY_CHUNK_DIGEST_SIZE 32
#define MEMORY_DIGEST_SIZE       32

/* Immutable; may be read from several threads. One of shared memory keeps it, also when its process
 * has ended. */
struct memory_map;

/*
 * Finds the RAM of the guest behind `qmp`, whose process is `pid`. ram_bytes: its size, bytes.
 * ERROR_CORRUPT when what QEMU says and what the process has mapped do not agree. NULL on error.
 */
struct memory_map *memory_locate(struct qmp *qmp, pid_t pid, uint64_t ram_bytes,
                                 struct error **err);
/*
 * From now on pages that the process has not got in memory or in swap count as zero, whatever backs
 * the RAM: for who may miss pages. Reading them would have the kernel make them, and a guest with
 * RAM in huge pages grow to its full size. (Of shared memory, which is a file, it is known which
 * pages there are, without this too.)
 */
int memory_skip_absent(struct memory_map *map, struct error **err);
void memory_free(struct memory_map *map);

uint64_t memory_size(const struct memory_map *map); /* bytes */
size_t memory_chunks(const struct memory_map *map);

/*
 * Copies `size` bytes from `offset` of the RAM. ERROR_SYSTEM names the offset that could not be
 * read (all of the callers below too); ERROR_DENIED when reading other processes is not allowed to
 * us.
 */
int memory_read(const struct memory_map *map, uint64_t offset, void *buffer, size_t size,
                struct error **err);

/* Copies `size` bytes into the RAM at `offset`. The guest must not have run since it was loaded. */
int memory_write(const struct memory_map *map, uint64_t offset, const void *data, size_t size,
                 struct error **err);

/* The digest of all RAM, by up to 4 threads. The guest should be stopped. cancel_fd: an eventfd, or
 * -1; ERROR_CANCELLED. */
int memory_digest(const struct memory_map *map, const uint8_t key[MEMORY_KEY_SIZE],
                  uint8_t digest[MEMORY_DIGEST_SIZE], int cancel_fd, struct error **err);

/* All chunks' digests, MEMORY_CHUNK_DIGEST_SIZE bytes each, one after the other; owned by the
 * caller. *n: memory_chunks(). */
int memory_chunk_digests(const struct memory_map *map, const uint8_t key[MEMORY_KEY_SIZE],
                         uint8_t **digests, size_t *n, int cancel_fd, struct error **err);

/* The digests of one chunk's pages (256, or fewer in the last one), MEMORY_PAGE_DIGEST_SIZE bytes
 * each; owned by the caller. ERROR_INVALID: there is no such chunk. */
int memory_page_digests(const struct memory_map *map, const uint8_t key[MEMORY_KEY_SIZE],
                        size_t chunk, uint8_t **digests, size_t *n, struct error **err);

#endif
