/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file that a guest's RAM lies in, when that is shared memory: memory-backend-memfd with
 * share=on, without huge pages of its own.
 *
 * The file, and not QEMU's page table, says which pages there are: a page that was swapped out, or
 * belonged to a huge page that was split, is in the file but no longer in the table. It outlives
 * its QEMU as long as somebody has it open. Reading it makes no pages, unlike reading QEMU's
 * memory.
 */
#ifndef QEMU_MEMORY_FILE_H
#define QEMU_MEMORY_FILE_H

#include <sys/stat.h>

#include "qemu/memory_map.h"

/*
 * QEMU's descriptor of the file that holds all `bytes` of its guest's RAM, as ours. pidfd: the
 * process `pid`. ERROR_NOT_FOUND when RAM is private memory or huge pages. *address: where QEMU has
 * it mapped; may be NULL.
 */
int memory_file_find(pid_t pid, int pidfd, uint64_t bytes, uint64_t *address, struct error **err);

/* Where the process with these maps (text of /proc/PID/maps) has the first `bytes` of that file
 * mapped, shared and in one piece; 0: nowhere. */
uint64_t memory_file_address(const char *maps, const struct stat *file, uint64_t bytes);

/* Which of the `pages` pages (at most MEMORY_CHUNK_PAGES) from `offset` on are in no hole. */
void memory_file_presence(int fd, uint64_t offset, size_t pages, bool present[MEMORY_CHUNK_PAGES]);

/* As memory_map_read_chunk and memory_map_read_pages, of a file of `size` bytes. A page in a hole
 * is not present; read on its own, it is zeros. */
int memory_file_read_chunk(int fd, uint64_t size, size_t chunk, uint8_t *buffer,
                           bool present[MEMORY_CHUNK_PAGES], size_t *n, struct error **err);
bool memory_file_read_pages(int fd, uint64_t size, const uint32_t *pages, size_t n,
                            uint8_t *const *to);

#endif
