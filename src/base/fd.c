/* SPDX-License-Identifier: Apache-2.0 */
/* File descriptor helpers. */
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

int fd_wait(int fd, short events, int cancel_fd, int64_t deadline_ns, struct error **err)
{
    struct pollfd polls[2] = {{.fd = fd, .events = events}, {.fd = cancel_fd, .events = POLLIN}};
    for (;;) {
        int ready = poll(polls, 2, clock_poll_ms(deadline_ns));
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready < 0)
            return error_errno(err, errno, "poll");
        if (polls[1].revents & POLLIN)
            return error_set(err, ERROR_CANCELLED, "cancelled");
        if (polls[0].revents)
            return 0;
        if (clock_now_ns() >= deadline_ns)
            return error_set(err, ERROR_TIMEOUT, "no answer in time");
    }
}

int fd_read_full(int fd, void *buffer, size_t size, struct error **err)
{
    size_t done = 0;
    while (done < size) {
        ssize_t got = read(fd, (char *)buffer + done, size - done);
        if (got > 0) {
            done += (size_t)got;
        } else if (got == 0) {
            return error_set(err, ERROR_CORRUPT, "ends after %zu of %zu bytes", done, size);
        } else if (errno == EAGAIN) {
            if (fd_wait(fd, POLLIN, -1, DEADLINE_NEVER, err) < 0)
                return -1;
        } else if (errno != EINTR) {
            return error_errno(err, errno, "read");
        }
    }
    return 0;
}

static ssize_t write_some(int fd, const void *buffer, size_t size)
{
    ssize_t put = send(fd, buffer, size, MSG_NOSIGNAL);
    return put < 0 && errno == ENOTSOCK ? write(fd, buffer, size) : put;
}

int fd_write_full(int fd, const void *buffer, size_t size, struct error **err)
{
    size_t done = 0;
    while (done < size) {
        ssize_t put = write_some(fd, (const char *)buffer + done, size - done);
        if (put >= 0) {
            done += (size_t)put;
        } else if (errno == EAGAIN) {
            if (fd_wait(fd, POLLOUT, -1, DEADLINE_NEVER, err) < 0)
                return -1;
        } else if (errno != EINTR) {
            return error_errno(err, errno, "write");
        }
    }
    return 0;
}

int fd_set_nonblocking(int fd, bool on, struct error **err)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK) < 0)
        return error_errno(err, errno, "fcntl");
    return 0;
}

int fd_unix_address(const char *path, struct sockaddr_un *address, struct error **err)
{
    const size_t length = strlen(path);
    if (length >= sizeof(address->sun_path))
        return error_set(err, ERROR_INVALID,
                         "the path is longer than a socket's may be (%zu bytes)",
                         sizeof(address->sun_path) - 1);
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(address->sun_path, path, length);
    return 0;
}

void fd_event_signal(int event_fd)
{
    const uint64_t one = 1;
    while (write(event_fd, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
}

void fd_event_clear(int event_fd)
{
    uint64_t count;
    struct pollfd ready = {.fd = event_fd, .events = POLLIN};
    if (poll(&ready, 1, 0) == 1)
        while (read(event_fd, &count, sizeof(count)) < 0 && errno == EINTR)
            ;
}
