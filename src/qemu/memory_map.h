/* SPDX-License-Identifier: Apache-2.0 */
/* Between memory.c, which reads, and memory_digest.c, which digests; and their test. */
#ifndef QEMU_MEMORY_MAP_H
#define QEMU_MEMORY_MAP_H

#include <stdbool.h>
#include <sys/uio.h>

#include "qemu/memory.h"

#define MEMORY_CHUNK_PAGES 256 /* MEMORY_CHUNK_SIZE / MEMORY_PAGE_SIZE */

/* Pages of a chunk of RAM of `size` bytes: the last one may have fewer. */
static inline size_t memory_chunk_pages(uint64_t size, size_t chunk)
{
    const uint64_t left = size - chunk * MEMORY_CHUNK_SIZE;
    return (left < MEMORY_CHUNK_SIZE ? left : MEMORY_CHUNK_SIZE) / MEMORY_PAGE_SIZE;
}

struct memory_map {
    pid_t pid;
    uint64_t address; /* of the first byte of RAM, in that process */
    uint64_t size;    /* bytes */
    int pagemap_fd;   /* /proc/PID/pagemap for private anonymous RAM, else -1 */
    bool in_file;     /* shared memory, all of it in one file (memory_file.h) */
    int file_fd;      /* that file, if so */
};

/* Do the mappings in `maps` (text of /proc/PID/maps) cover [start, end), writable and without a
 * gap? *anonymous: all of them private and without a file. Returns 0 or -1. */
int memory_map_check(const char *maps, uint64_t start, uint64_t end, bool *anonymous);

/* Reads the pages of a chunk that may hold something, and says which they are; the others are zero,
 * and untouched in `buffer` (MEMORY_CHUNK_SIZE bytes). *n: how many pages the chunk has. */
int memory_map_read_chunk(const struct memory_map *map, size_t chunk, uint8_t *buffer,
                          bool present[MEMORY_CHUNK_PAGES], size_t *n, struct error **err);

/* Reads `n` pages (at most MEMORY_CHUNK_PAGES), anywhere in the RAM, each to where `to` says, with
 * one call. False when not all of them could be read. */
bool memory_map_read_pages(const struct memory_map *map, const uint32_t *pages, size_t n,
                           uint8_t *const *to);

/* Which pages of a chunk may hold something, as far as can be told without making them. */
void memory_map_presence(const struct memory_map *map, size_t chunk,
                         bool present[MEMORY_CHUNK_PAGES]);

/* Has the kernel make all pages of a chunk that the process has not got: mostly, its one page of
 * zeros. */
int memory_map_make(const struct memory_map *map, size_t chunk, struct error **err);

/* Copies from `local` to `remote`, addresses in that process, with one call; `size` bytes in all.
 */
int memory_map_write(const struct memory_map *map, const struct iovec *local, size_t n_local,
                     const struct iovec *remote, size_t n_remote, size_t size, struct error **err);

#endif
