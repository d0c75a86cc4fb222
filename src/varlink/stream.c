/* SPDX-License-Identifier: Apache-2.0 */
/* Varlink streams over connected sockets, and the way to an agent's local socket. */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/fd.h"
#include "varlink/varlink.h"

/* How long connect(2) waits for a place in the listener's queue. */
#define CONNECT_TIMEOUT_S 10

static int context_fd(void *context)
{
    return (int)(intptr_t)context;
}

/* The other side went away: not our system's fault, and what the caller can act on. */
static int stream_error(int errnum, const char *what, struct error **err)
{
    if (errnum == EPIPE || errnum == ECONNRESET)
        return error_set(err, ERROR_UNREACHABLE, "the other side closed the connection");
    return error_errno(err, errnum, "%s", what);
}

static ssize_t fd_stream_read(void *context, void *buffer, size_t size, int cancel_fd,
                              int64_t deadline_ns, struct error **err)
{
    int fd = context_fd(context);
    for (;;) {
        /* Waiting first, not only on EAGAIN, lets cancel_fd stop a peer that never pauses. */
        if (fd_wait(fd, POLLIN, cancel_fd, deadline_ns, err) < 0)
            return -1;
        ssize_t got = recv(fd, buffer, size, MSG_DONTWAIT);
        if (got >= 0)
            return got;
        if (errno != EAGAIN && errno != EINTR)
            return stream_error(errno, "receive", err);
    }
}

static int fd_stream_write(void *context, const void *buffer, size_t size, int cancel_fd,
                           int64_t deadline_ns, struct error **err)
{
    int fd = context_fd(context);
    for (size_t done = 0; done < size;) {
        if (fd_wait(fd, POLLOUT, cancel_fd, deadline_ns, err) < 0)
            return -1;
        ssize_t sent =
            send(fd, (const char *)buffer + done, size - done, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent >= 0)
            done += (size_t)sent;
        else if (errno != EAGAIN && errno != EINTR)
            return stream_error(errno, "send", err);
    }
    return 0;
}

static bool fd_stream_pending(void *context)
{
    (void)context;
    return false;
}

static void fd_stream_close(void *context)
{
    close(context_fd(context));
}

struct varlink_stream varlink_stream_fd(int fd)
{
    static const struct varlink_stream_ops ops = {
        .read = fd_stream_read,
        .write = fd_stream_write,
        .pending = fd_stream_pending,
        .fd = context_fd,
        .close = fd_stream_close,
    };
    return (struct varlink_stream){.ops = &ops, .context = (void *)(intptr_t)fd};
}

static void connect_error(const char *path, int errnum, struct error **err)
{
    switch (errnum) {
    case ENOENT:
    case ECONNREFUSED:
        error_set(err, ERROR_UNREACHABLE, "%s: no agent listens there", path);
        error_hint(err,
                   "start it (systemctl start mudanzad, or mudanzad --socket %s), or name "
                   "another one's socket with --connect PATH or MUDANZA_CONNECT",
                   path);
        break;
    case EACCES:
    case EPERM:
        error_set(err, ERROR_DENIED, "%s: this user may not connect to the agent", path);
        error_hint(err, "run as root or as the agent's own user");
        break;
    case EAGAIN:
        error_set(err, ERROR_UNREACHABLE, "%s: the agent does not take connections", path);
        error_hint(err, "it may hang or have too many callers: see its log");
        break;
    default:
        error_errno(err, errnum, "%s: connect", path);
    }
}

struct varlink_connection *varlink_connect_unix(const char *path, struct error **err)
{
    struct sockaddr_un address;
    if (fd_unix_address(path, &address, err) < 0) {
        error_prefix(err, "%s", path);
        return NULL;
    }
    CLEANUP_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        error_errno(err, errno, "socket");
        return NULL;
    }
    const struct timeval timeout = {.tv_sec = CONNECT_TIMEOUT_S};
    if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0) {
        error_errno(err, errno, "setsockopt");
        return NULL;
    }
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
        connect_error(path, errno, err);
        return NULL;
    }
    return varlink_connection_new(varlink_stream_fd(STEAL_FD(fd)));
}
