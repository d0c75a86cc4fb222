/* SPDX-License-Identifier: Apache-2.0 */
/* A QEMU that stands in a write of its migration's last bytes, which nobody reads any more. */
#include "qemu/unblock.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/text.h"

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
static bool is_spool(DIR *folder, const char *entry, int fd)
{
    char link[256];
    ssize_t size = readlinkat(dirfd(folder), entry, link, sizeof(link) - 1);
    if (size < 0)
        return false;
    link[size] = 0;
    return strncmp(link, "/memfd:mudanza-", strlen("/memfd:mudanza-")) == 0 &&
           strstr(link, "-from-") && lseek(fd, 0, SEEK_CUR) > 0;
}

/* Looks at QEMU's descriptors, as ours: at `all`, or until one is found. True when one was. */
static bool each_fd(const struct process_id *process,
                    bool (*look)(DIR *folder, const char *entry, int fd), bool all)
{
    CLEANUP_FREE char *path = text_format("/proc/%d/fd", (int)process->pid);
    CLEANUP_CLOSE int pidfd = process_open(process, NULL);
    DIR *folder = pidfd >= 0 ? opendir(path) : NULL;
    bool any = false;
    const struct dirent *entry;
    while (folder && (all || !any) && (entry = readdir(folder))) {
        int64_t number;
        if (text_parse_int(entry->d_name, 0, INT32_MAX, &number, NULL) < 0)
            continue;
        CLEANUP_CLOSE int fd = pidfd_getfd(pidfd, (int)number, 0);
        if (fd >= 0)
            any |= look(folder, entry->d_name, fd);
    }
    if (folder)
        closedir(folder);
    return any;
}

static bool drain_stream(DIR *folder, const char *entry, int fd)
{
    (void)folder;
    (void)entry;
    return holds_stream(fd) && drain(fd);
}

bool qemu_unblock(const struct process_id *process, bool spooled_too)
{
    if (!spooled_too && each_fd(process, is_spool, false))
        return false;
    return each_fd(process, drain_stream, true);
}
