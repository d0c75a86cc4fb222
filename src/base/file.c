/* SPDX-License-Identifier: Apache-2.0 */
/* Whole files: bounded reads, atomic and durable writes, folders. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

char *file_read(const char *path, size_t max, size_t *size, struct error **err)
{
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        error_errno(err, errno, "%s", path);
        return NULL;
    }
    size_t capacity = 4096, length = 0;
    CLEANUP_FREE char *data = malloc(capacity + 1);
    while (data) {
        ssize_t got = read(fd, data + length, capacity - length);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            error_errno(err, errno, "%s", path);
            return NULL;
        }
        length += (size_t)got;
        if (got == 0)
            break;
        if (length > max) {
            error_set(err, ERROR_INVALID, "%s: larger than %zu bytes", path, max);
            return NULL;
        }
        if (length == capacity) {
            char *larger = realloc(data, (capacity *= 2) + 1);
            if (!larger) {
                error_set(err, ERROR_SYSTEM, "%s: out of memory", path);
                return NULL;
            }
            data = larger;
        }
    }
    if (!data) {
        error_set(err, ERROR_SYSTEM, "%s: out of memory", path);
        return NULL;
    }
    data[length] = '\0';
    if (size)
        *size = length;
    return STEAL(data);
}

int file_write_atomic(const char *path, const void *data, size_t size, mode_t mode,
                      struct error **err)
{
    CLEANUP_FREE char *temporary = NULL;
    if (asprintf(&temporary, "%s.new-%d", path, (int)getpid()) < 0)
        return error_set(err, ERROR_SYSTEM, "%s: out of memory", path);
    CLEANUP_CLOSE int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    if (fd < 0)
        return error_errno(err, errno, "%s", temporary);
    if (fd_write_full(fd, data, size, err) < 0) {
        unlink(temporary);
        return error_prefix(err, "%s", temporary);
    }
    if (fsync(fd) < 0 || rename(temporary, path) < 0) {
        error_errno(err, errno, "%s", path);
        unlink(temporary);
        return -1;
    }
    return 0;
}

int file_make_directory(const char *path, mode_t mode, struct error **err)
{
    CLEANUP_FREE char *copy = strdup(path);
    if (!copy)
        return error_set(err, ERROR_SYSTEM, "%s: out of memory", path);
    for (char *slash = strchr(copy + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(copy, 0755) < 0 && errno != EEXIST)
            return error_errno(err, errno, "%s", copy);
        *slash = '/';
    }
    if (mkdir(path, mode) < 0 && errno != EEXIST)
        return error_errno(err, errno, "%s", path);
    return 0;
}
