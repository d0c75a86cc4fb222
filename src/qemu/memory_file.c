/* SPDX-License-Identifier: Apache-2.0 */
/* The file that a guest's RAM lies in. */
#include "qemu/memory_file.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/text.h"
#include "qemu/process_fds.h"
#include "qemu/process_maps.h"

/* QEMU's name for the files of all its memory-backend-memfd objects; the agent makes one. */
#define LINK_BEGIN "/memfd:memory-backend-memfd"

/* --- finding it --- */

uint64_t memory_file_address(const char *maps, const struct stat *file, uint64_t bytes)
{
    uint64_t address = 0, covered = 0;
    for (const char *line = *maps ? maps : NULL; line && covered < bytes;) {
        struct process_mapping m;
        if (!process_maps_next(&line, &m))
            return 0;
        if (m.inode == file->st_ino && m.device == file->st_dev && m.shared && m.writable &&
            !m.executable && m.offset == covered &&
            (covered == 0 || m.start == address + covered)) {
            address = m.start - covered;
            covered += m.end - m.start;
        }
    }
    return covered >= bytes ? address : 0;
}

/* Of shmem, as large as RAM, and what the guest writes to: a private mapping would keep that for
 * itself. */
static uint64_t holds_ram(int fd, const char *maps, uint64_t bytes)
{
    struct stat about;
    struct statfs system;
    if (fstat(fd, &about) < 0 || fstatfs(fd, &system) < 0 || system.f_type != TMPFS_MAGIC ||
        (uint64_t)about.st_size != bytes)
        return 0;
    return memory_file_address(maps, &about, bytes);
}

static int search(struct process_fds *fds, const char *maps, uint64_t bytes, uint64_t *address)
{
    char link[PROCESS_FD_LINK_SIZE];
    for (int number; (number = process_fds_next(fds, link)) >= 0;) {
        if (strncmp(link, LINK_BEGIN, strlen(LINK_BEGIN)) != 0)
            continue;
        CLEANUP_CLOSE int fd = process_fds_take(fds, number);
        const uint64_t found = fd >= 0 ? holds_ram(fd, maps, bytes) : 0;
        if (!found)
            continue;
        if (address)
            *address = found;
        return STEAL_FD(fd);
    }
    return -1;
}

int memory_file_find(pid_t pid, int pidfd, uint64_t bytes, uint64_t *address, struct error **err)
{
    struct process_fds fds;
    CLEANUP_FREE char *maps = process_maps_read(pid, err);
    if (!maps || process_fds_open(pid, pidfd, &fds, err) < 0)
        return -1;
    int fd = search(&fds, maps, bytes, address);
    process_fds_close(&fds);
    if (fd < 0)
        error_set(err, ERROR_NOT_FOUND, "process %d: its guest's RAM is in no file", (int)pid);
    return fd;
}

/* --- reading it --- */

void memory_file_presence(int fd, uint64_t offset, size_t pages, bool present[MEMORY_CHUNK_PAGES])
{
    const off_t begin = (off_t)offset, end = (off_t)(offset + pages * MEMORY_PAGE_SIZE);
    memset(present, 0, pages * sizeof(*present));
    /* Page by page: looking for the next hole may lead through the whole file. */
    off_t at = begin;
    for (; (at = lseek(fd, at, SEEK_DATA)) >= 0 && at < end; at += (off_t)MEMORY_PAGE_SIZE)
        present[(uint64_t)(at - begin) / MEMORY_PAGE_SIZE] = true;
    for (size_t page = 0; at < 0 && errno != ENXIO && page < pages; page++)
        present[page] = true; /* nobody knows */
}

static bool read_all(int fd, uint8_t *to, size_t size, uint64_t offset)
{
    for (size_t done = 0; done < size;) {
        ssize_t got = pread(fd, to + done, size - done, (off_t)(offset + done));
        if (got == 0)
            errno = ENODATA;
        if (got == 0 || (got < 0 && errno != EINTR))
            return false;
        done += got > 0 ? (size_t)got : 0;
    }
    return true;
}

int memory_file_read_chunk(int fd, uint64_t size, size_t chunk, uint8_t *buffer,
                           bool present[MEMORY_CHUNK_PAGES], size_t *n, struct error **err)
{
    const uint64_t offset = chunk * MEMORY_CHUNK_SIZE;
    const size_t pages = memory_chunk_pages(size, chunk);
    *n = pages;
    memory_file_presence(fd, offset, pages, present);
    for (size_t page = 0, run; page < pages; page += run) {
        for (run = 1; page + run < pages && present[page + run] == present[page]; run++)
            ;
        const uint64_t at = page * MEMORY_PAGE_SIZE;
        if (present[page] && !read_all(fd, buffer + at, run * MEMORY_PAGE_SIZE, offset + at))
            return error_errno(err, errno, "guest RAM in a file, at offset 0x%" PRIx64,
                               offset + at);
    }
    return 0;
}

bool memory_file_read_pages(int fd, uint64_t size, const uint32_t *pages, size_t n,
                            uint8_t *const *to)
{
    for (size_t i = 0; i < n; i++) {
        const uint64_t offset = pages[i] * MEMORY_PAGE_SIZE;
        if (offset >= size || !read_all(fd, to[i], MEMORY_PAGE_SIZE, offset))
            return false;
    }
    return true;
}
