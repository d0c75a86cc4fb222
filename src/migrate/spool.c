/* SPDX-License-Identifier: Apache-2.0 */
/* A spool: bytes between QEMU's socket and a file that outlives the agent. */
#include "migrate/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/text.h"

/* One system call moves so much at most. */
#define PIECE ((size_t)256 << 10)
/* Freeing memory more often than this costs more than it saves. */
#define RELEASE_EACH ((uint64_t)1 << 20)

/* What `fd` refers to, opened once more, with an offset of its own. */
static int open_again(int fd, int flags, struct error **err)
{
    CLEANUP_FREE char *path = text_format("/proc/self/fd/%d", fd);
    int again = open(path, flags | O_CLOEXEC);
    return again >= 0 ? again : error_errno(err, errno, "opening %s", path);
}

int spool_pipe(struct error **err)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return error_errno(err, errno, "pipe");
    int both = open_again(ends[0], O_RDWR, err);
    close(ends[0]);
    close(ends[1]);
    return both;
}

void spool_close(struct spool *spool)
{
    if (spool->file >= 0)
        close(spool->file);
    if (spool->pipe >= 0)
        close(spool->pipe);
    *spool = SPOOL_NONE;
}

uint64_t spool_position(const struct spool *spool)
{
    off_t at = lseek(spool->file, 0, SEEK_CUR);
    return at < 0 ? 0 : (uint64_t)at;
}

int spool_begin(struct spool *spool, uint64_t position, struct error **err)
{
    if (position == 0 || position > INT64_MAX)
        return error_set(err, ERROR_CORRUPT, "a spool that begins at %" PRIu64, position);
    if (lseek(spool->file, (off_t)position, SEEK_SET) < 0)
        return error_errno(err, errno, "beginning a spool");
    spool->released = position;
    return 0;
}

static int empty_pipe(struct spool *spool, struct error **err)
{
    for (;;) {
        ssize_t moved = splice(spool->pipe, NULL, spool->file, NULL, PIECE, SPLICE_F_NONBLOCK);
        if (moved < 0 && errno == EAGAIN)
            return 0;
        if (moved < 0 && errno != EINTR)
            return error_errno(err, errno, "spooling what QEMU says");
    }
}

int spool_fill(struct spool *spool, int socket, bool *open, struct error **err)
{
    if (empty_pipe(spool, err) < 0) /* an agent may have died in between */
        return -1;
    ssize_t got = splice(socket, NULL, spool->pipe, NULL, PIECE, SPLICE_F_NONBLOCK);
    if (got == 0)
        *open = false;
    if (got < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : error_errno(err, errno, "reading from QEMU");
    return empty_pipe(spool, err);
}

int spool_read(const struct spool *spool, uint64_t at, void *bytes, size_t size, struct error **err)
{
    ssize_t got = pread(spool->file, bytes, size, (off_t)at);
    if (got < 0)
        return error_errno(err, errno, "reading a spool");
    return (size_t)got == size
               ? 0
               : error_set(err, ERROR_CORRUPT, "a spool ends after %zd of %zu bytes at %" PRIu64,
                           got, size, at);
}

int spool_check(const struct spool *spool, uint64_t at, struct error **err)
{
    uint64_t end = spool_position(spool);
    if (at == end)
        return 0;
    CLEANUP_CLOSE int file = at < end ? open_again(spool->file, O_RDONLY, err) : -1;
    if (file >= 0 && lseek(file, (off_t)at, SEEK_DATA) == (off_t)at)
        return 0;
    error_free(*err);
    *err = NULL;
    return error_set(err, ERROR_CORRUPT,
                     "no byte of the stream at %" PRIu64 " is here, it ends at "
                     "%" PRIu64,
                     at, end);
}

int spool_put(struct spool *spool, uint64_t at, const void *bytes, size_t size, struct error **err)
{
    const uint8_t *from = bytes;
    while (size) {
        ssize_t put = pwrite(spool->file, from, size, (off_t)at);
        if (put < 0 && errno != EINTR)
            return error_errno(err, errno, "spooling the stream");
        if (put > 0) {
            from += put;
            at += (uint64_t)put;
            size -= (size_t)put;
        }
    }
    return 0;
}

int spool_drain(struct spool *spool, int socket, uint64_t end, struct error **err)
{
    for (;;) {
        uint64_t at = spool_position(spool);
        if (at >= end)
            return 1;
        ssize_t put =
            sendfile(socket, spool->file, NULL, end - at < PIECE ? (size_t)(end - at) : PIECE);
        if (put == 0)
            return error_set(err, ERROR_CORRUPT, "a spool ends at %" PRIu64 ", before %" PRIu64, at,
                             end);
        if (put < 0 && errno == EAGAIN)
            return 0;
        if (put < 0 && errno != EINTR)
            return error_errno(err, errno, "QEMU took no more of the stream");
    }
}

void spool_release(struct spool *spool, uint64_t at)
{
    if (at < spool->released + RELEASE_EACH)
        return;
    /* Only whole pages: of others, it would clear the part that QEMU may not have read yet. */
    const off_t below = (off_t)(at - at % (uint64_t)sysconf(_SC_PAGESIZE));
    fallocate(spool->file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, below);
    spool->released = at;
}

void spool_release_taken(struct spool *spool, int socket)
{
    int unread;
    uint64_t at = spool_position(spool);
    if (ioctl(socket, SIOCOUTQ, &unread) == 0 && unread >= 0 && (uint64_t)unread < at)
        spool_release(spool, at - (uint64_t)unread);
}
