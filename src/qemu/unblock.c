/* SPDX-License-Identifier: Apache-2.0 */
/* A QEMU that stands in a write of its migration's last bytes, which nobody reads any more. */
#include "qemu/unblock.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "qemu/process_fds.h"

#define PIECE 65536
/* Nothing more for so long: QEMU has written all it had. */
#define QUIET_MS 300

static bool is_unnamed(const struct sockaddr_un *name, socklen_t size)
{
    return name->sun_family == AF_UNIX && size == sizeof(name->sun_family);
}

/* One end of a socketpair with something in it that waits to be read. A connection to a helper of a
 * device has no name either, but its other end has one. */
static bool holds_stream(int fd)
{
    struct sockaddr_un own = {0}, other = {0};
    socklen_t own_size = sizeof(own), other_size = sizeof(other);
    int unread = 0;
    return getsockname(fd, (struct sockaddr *)&own, &own_size) == 0 && is_unnamed(&own, own_size) &&
           getpeername(fd, (struct sockaddr *)&other, &other_size) == 0 &&
           is_unnamed(&other, other_size) && ioctl(fd, FIONREAD, &unread) == 0 && unread > 0;
}

static bool drain(int fd)
{
    char dropped[PIECE];
    bool any = false;
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    while (poll(&ready, 1, QUIET_MS) == 1) {
        if (recv(fd, dropped, sizeof(dropped), MSG_DONTWAIT) <= 0)
            break;
        any = true;
    }
    return any;
}

/* QEMU holds a spool that is in use: migrate/held.h gives it this name, and its offset is 0 before
 * that. */
static bool is_spool(const char *link, int fd)
{
    return strncmp(link, "/memfd:mudanza-", strlen("/memfd:mudanza-")) == 0 &&
           strstr(link, "-from-") && lseek(fd, 0, SEEK_CUR) > 0;
}

/* Looks at QEMU's descriptors, as ours: at `all`, or until one is found. True when one was. */
static bool each_fd(const struct process_id *process, bool (*look)(const char *link, int fd),
                    bool all)
{
    struct process_fds fds;
    char link[PROCESS_FD_LINK_SIZE];
    CLEANUP_CLOSE int pidfd = process_open(process, NULL);
    if (pidfd < 0 || process_fds_open(process->pid, pidfd, &fds, NULL) < 0)
        return false;
    bool any = false;
    for (int number; (all || !any) && (number = process_fds_next(&fds, link)) >= 0;) {
        CLEANUP_CLOSE int fd = process_fds_take(&fds, number);
        if (fd >= 0)
            any |= look(link, fd);
    }
    process_fds_close(&fds);
    return any;
}

static bool drain_stream(const char *link, int fd)
{
    (void)link;
    return holds_stream(fd) && drain(fd);
}

bool qemu_unblock(const struct process_id *process, bool spooled_too)
{
    if (!spooled_too && each_fd(process, is_spool, false))
        return false;
    return each_fd(process, drain_stream, true);
}
