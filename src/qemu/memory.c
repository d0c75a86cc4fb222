/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A running guest's RAM, read from outside.
 *
 * QEMU's human monitor tells at which address of its own it keeps the first byte of guest RAM
 * (gpa2hva), /proc/PID/maps confirms that the whole of it lies there, and process_vm_readv copies.
 * Reading a page that was never touched would make the kernel map one, which takes longer than to
 * read it: for private anonymous RAM /proc/PID/pagemap tells such pages, and they are zeros. Shared
 * memory is a file, which is read instead (memory_file.h).
 */
#include "qemu/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"
#include "qemu/memory_file.h"
#include "qemu/process_maps.h"

#define PAGE_PRESENT (UINT64_C(1) << 63)
#define PAGE_SWAPPED (UINT64_C(1) << 62)

/* "Host virtual address for 0x0 (pc.ram) is 0x7f..." */
static int parse_host_address(const char *said, uint64_t *address, struct error **err)
{
    const char *is = strstr(said, ") is 0x");
    if (!is || !strstr(said, "(" MEMORY_BLOCK ")"))
        return error_set(err, ERROR_CORRUPT, "gpa2hva: guest address 0 is not in %s: %.100s",
                         MEMORY_BLOCK, said);
    errno = 0;
    *address = strtoull(is + strlen(") is "), NULL, 16);
    if (errno || *address == 0)
        return error_set(err, ERROR_CORRUPT, "gpa2hva: no address: %.100s", said);
    return 0;
}

int memory_map_check(const char *maps, uint64_t start, uint64_t end, bool *anonymous)
{
    uint64_t covered = start;
    *anonymous = true;
    for (const char *line = *maps ? maps : NULL; line && covered < end;) {
        struct process_mapping mapping;
        if (!process_maps_next(&line, &mapping))
            return -1;
        if (mapping.start > covered || covered >= mapping.end)
            continue;
        if (!mapping.writable)
            return -1;
        *anonymous = *anonymous && !mapping.shared && mapping.inode == 0;
        covered = mapping.end;
    }
    return covered >= end ? 0 : -1;
}

/* RAM in a file is read there, and else as other memory. */
static void find_file(struct memory_map *map)
{
    uint64_t address = 0;
    CLEANUP_CLOSE int pidfd = pidfd_open(map->pid, 0);
    CLEANUP_CLOSE int fd =
        pidfd < 0 ? -1 : memory_file_find(map->pid, pidfd, map->size, &address, NULL);
    map->in_file = fd >= 0 && address == map->address;
    if (map->in_file)
        map->file_fd = STEAL_FD(fd);
}

static int check_mapping(struct memory_map *map, struct error **err)
{
    CLEANUP_FREE char *maps = process_maps_read(map->pid, err);
    if (!maps)
        return -1;
    bool anonymous;
    if (map->address > UINT64_MAX - map->size ||
        memory_map_check(maps, map->address, map->address + map->size, &anonymous) < 0)
        return error_set(err, ERROR_CORRUPT,
                         "process %d has not all %" PRIu64 " bytes of RAM mapped at 0x%" PRIx64,
                         (int)map->pid, map->size, map->address);
    if (anonymous) {
        char path[64];
        snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)map->pid);
        map->pagemap_fd = open(path, O_RDONLY | O_CLOEXEC); /* only saves time: may fail */
    } else {
        find_file(map);
    }
    return 0;
}

static void close_files(const struct memory_map *map)
{
    if (map->pagemap_fd >= 0)
        close(map->pagemap_fd);
    if (map->in_file)
        close(map->file_fd);
}

struct memory_map *memory_locate(struct qmp *qmp, pid_t pid, uint64_t ram_bytes, struct error **err)
{
    CLEANUP_FREE char *said = NULL;
    struct memory_map found = {.pid = pid, .size = ram_bytes, .pagemap_fd = -1};
    if (ram_bytes == 0 || ram_bytes % MEMORY_PAGE_SIZE != 0) {
        error_set(err, ERROR_INVALID, "%" PRIu64 " bytes of RAM are no whole pages", ram_bytes);
        return NULL;
    }
    if (qmp_human(qmp, "gpa2hva 0", &said, err) < 0 ||
        parse_host_address(said, &found.address, err) < 0 || check_mapping(&found, err) < 0) {
        error_prefix(err, "finding the guest's RAM");
        return NULL;
    }
    struct memory_map *map = malloc(sizeof(*map));
    if (map) {
        *map = found;
        return map;
    }
    error_set(err, ERROR_SYSTEM, "out of memory");
    close_files(&found);
    return NULL;
}

int memory_skip_absent(struct memory_map *map, struct error **err)
{
    char path[64];
    if (map->pagemap_fd >= 0 || map->in_file)
        return 0;
    snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)map->pid);
    map->pagemap_fd = open(path, O_RDONLY | O_CLOEXEC);
    return map->pagemap_fd < 0 ? error_errno(err, errno, "%s", path) : 0;
}

void memory_free(struct memory_map *map)
{
    if (!map)
        return;
    close_files(map);
    free(map);
}

uint64_t memory_size(const struct memory_map *map)
{
    return map->size;
}

size_t memory_chunks(const struct memory_map *map)
{
    return (size_t)((map->size + MEMORY_CHUNK_SIZE - 1) / MEMORY_CHUNK_SIZE);
}

static int read_failed(const struct memory_map *map, uint64_t offset, int errnum,
                       struct error **err)
{
    if (errnum == EPERM) {
        error_set(err, ERROR_DENIED, "reading the memory of process %d: %s", (int)map->pid,
                  strerror(errnum));
        return error_hint(err, "run the agent as root, or set kernel.yama.ptrace_scope to 0");
    }
    return error_errno(err, errnum, "guest RAM of process %d at offset 0x%" PRIx64, (int)map->pid,
                       offset);
}

int memory_read(const struct memory_map *map, uint64_t offset, void *buffer, size_t size,
                struct error **err)
{
    if (offset > map->size || size > map->size - offset)
        return error_set(err, ERROR_INVALID, "offset 0x%" PRIx64 " lies beyond the guest's RAM",
                         offset + size);
    for (size_t done = 0; done < size;) {
        const struct iovec local = {.iov_base = (char *)buffer + done, .iov_len = size - done};
        const struct iovec remote = {.iov_base = (void *)(uintptr_t)(map->address + offset + done),
                                     .iov_len = size - done};
        ssize_t got = process_vm_readv(map->pid, &local, 1, &remote, 1, 0);
        if (got <= 0)
            return read_failed(map, offset + done, got < 0 ? errno : EFAULT, err);
        done += (size_t)got;
    }
    return 0;
}

/* Which pages of a chunk may hold something. */
static void chunk_presence(const struct memory_map *map, uint64_t offset, size_t pages,
                           bool present[MEMORY_CHUNK_PAGES])
{
    if (map->in_file) {
        memory_file_presence(map->file_fd, offset, pages, present);
        return;
    }
    uint64_t entries[MEMORY_CHUNK_PAGES];
    const size_t size = pages * sizeof(entries[0]);
    const off_t at = (off_t)((map->address + offset) / MEMORY_PAGE_SIZE * sizeof(entries[0]));
    const bool known =
        map->pagemap_fd >= 0 && pread(map->pagemap_fd, entries, size, at) == (ssize_t)size;
    for (size_t page = 0; page < pages; page++)
        present[page] = !known || (entries[page] & (PAGE_PRESENT | PAGE_SWAPPED)) != 0;
}

void memory_map_presence(const struct memory_map *map, size_t chunk,
                         bool present[MEMORY_CHUNK_PAGES])
{
    chunk_presence(map, chunk * MEMORY_CHUNK_SIZE, memory_chunk_pages(map->size, chunk), present);
}

int memory_map_read_chunk(const struct memory_map *map, size_t chunk, uint8_t *buffer,
                          bool present[MEMORY_CHUNK_PAGES], size_t *n, struct error **err)
{
    const uint64_t offset = chunk * MEMORY_CHUNK_SIZE;
    const size_t pages = memory_chunk_pages(map->size, chunk);
    *n = pages;
    if (map->in_file)
        return memory_file_read_chunk(map->file_fd, map->size, chunk, buffer, present, n, err);
    struct iovec local[MEMORY_CHUNK_PAGES], remote[MEMORY_CHUNK_PAGES];
    size_t runs = 0, wanted = 0;
    chunk_presence(map, offset, pages, present);
    for (size_t page = 0; page < pages; page++) {
        if (!present[page])
            continue;
        wanted += MEMORY_PAGE_SIZE;
        if (page > 0 && present[page - 1]) {
            local[runs - 1].iov_len = remote[runs - 1].iov_len += MEMORY_PAGE_SIZE;
            continue;
        }
        const uint64_t at = page * MEMORY_PAGE_SIZE;
        local[runs] = (struct iovec){.iov_base = buffer + at, .iov_len = MEMORY_PAGE_SIZE};
        remote[runs++] = (struct iovec){.iov_base = (void *)(uintptr_t)(map->address + offset + at),
                                        .iov_len = MEMORY_PAGE_SIZE};
    }
    if (runs == 0 || process_vm_readv(map->pid, local, runs, remote, runs, 0) == (ssize_t)wanted)
        return 0;
    /* Something is wrong with a page: the slow way finds out which. */
    for (size_t run = 0; run < runs; run++) {
        const uint64_t at = (uint64_t)((uint8_t *)local[run].iov_base - buffer);
        if (memory_read(map, offset + at, local[run].iov_base, local[run].iov_len, err) < 0)
            return -1;
    }
    return 0;
}

bool memory_map_read_pages(const struct memory_map *map, const uint32_t *pages, size_t n,
                           uint8_t *const *to)
{
    if (map->in_file)
        return memory_file_read_pages(map->file_fd, map->size, pages, n, to);
    struct iovec local[MEMORY_CHUNK_PAGES], remote[MEMORY_CHUNK_PAGES];
    for (size_t i = 0; i < n; i++) {
        const uint64_t offset = pages[i] * MEMORY_PAGE_SIZE;
        if (offset >= map->size)
            return false;
        local[i] = (struct iovec){.iov_base = to[i], .iov_len = MEMORY_PAGE_SIZE};
        remote[i] = (struct iovec){.iov_base = (void *)(uintptr_t)(map->address + offset),
                                   .iov_len = MEMORY_PAGE_SIZE};
    }
    return process_vm_readv(map->pid, local, n, remote, n, 0) == (ssize_t)(n * MEMORY_PAGE_SIZE);
}

int memory_map_make(const struct memory_map *map, size_t chunk, struct error **err)
{
    uint8_t bytes[MEMORY_CHUNK_PAGES];
    struct iovec remote[MEMORY_CHUNK_PAGES];
    const uint64_t offset = chunk * MEMORY_CHUNK_SIZE;
    const size_t pages = memory_chunk_pages(map->size, chunk);
    const struct iovec local = {.iov_base = bytes, .iov_len = pages};
    for (size_t page = 0; page < pages; page++) {
        const uint64_t at = map->address + offset + page * MEMORY_PAGE_SIZE;
        remote[page] = (struct iovec){.iov_base = (void *)(uintptr_t)at, .iov_len = 1};
    }
    const ssize_t got = process_vm_readv(map->pid, &local, 1, remote, pages, 0);
    return got == (ssize_t)pages
               ? 0
               : read_failed(map, offset + (got > 0 ? (uint64_t)got * MEMORY_PAGE_SIZE : 0),
                             got < 0 ? errno : EFAULT, err);
}
