/* SPDX-License-Identifier: Apache-2.0 */
/* Where a source's QEMU connects to with multifd. */
#include "migrate/channel_port.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/text.h"

#define CONNECT_MS 10000

static char *folder_of(const char *run_dir)
{
    return text_format("%s/channels", run_dir);
}

int channel_port_init(const char *run_dir, struct error **err)
{
    CLEANUP_FREE char *folder = folder_of(run_dir);
    if (file_make_directory(folder, 0711, err) < 0)
        return -1;
    DIR *directory = opendir(folder);
    if (!directory)
        return error_errno(err, errno, "%s", folder);
    for (struct dirent *entry; (entry = readdir(directory));)
        if (entry->d_type == DT_SOCK)
            unlinkat(dirfd(directory), entry->d_name, 0);
    closedir(directory);
    return 0;
}

/* Who QEMU runs as; false when it has ended. */
static bool user_of(const struct vm *vm, uid_t *user)
{
    char process[32];
    struct stat about;
    snprintf(process, sizeof(process), "/proc/%d", (int)vm->process.pid);
    if (stat(process, &about) < 0)
        return false;
    *user = about.st_uid;
    return true;
}

static bool may_search(const char *directory, uid_t user)
{
    struct stat about;
    if (stat(directory, &about) < 0)
        return false;
    return about.st_mode & (about.st_uid == user ? S_IXUSR : S_IXOTH);
}

bool channel_port_reachable(const struct vm *vm)
{
    uid_t user;
    CLEANUP_FREE char *folder = folder_of(vm->host->run_dir);
    CLEANUP_FREE char *path = realpath(folder, NULL);
    if (!path || !user_of(vm, &user))
        return false;
    if (user == 0)
        return true;
    for (char *end = path + strlen(path); end; end = strrchr(path, '/')) {
        *end = '\0';
        if (!may_search(*path ? path : "/", user))
            return false;
    }
    return true;
}

/* To QEMU's user. */
static int give_away(const char *path, const struct vm *vm, struct error **err)
{
    uid_t user;
    if (!user_of(vm, &user))
        return error_set(err, ERROR_QEMU, "QEMU has ended");
    if (user != geteuid() && chown(path, user, (gid_t)-1) < 0)
        return error_errno(err, errno, "%s: giving it to QEMU's user", path);
    return chmod(path, 0600) < 0 ? error_errno(err, errno, "%s", path) : 0;
}

int channel_port_open(struct vm *vm, const char *job, struct channel_port *port, struct error **err)
{
    struct sockaddr_un address;
    CLEANUP_FREE char *folder = folder_of(vm->host->run_dir);
    CLEANUP_FREE char *path = text_format("%s/%s", folder, job);
    *port = CHANNEL_PORT_NONE;
    if (fd_unix_address(path, &address, err) < 0) {
        error_prefix(err, "%s", path);
        return error_hint(err, "have a shorter run-dir, or move it with --channels 1");
    }
    port->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (port->fd < 0)
        return error_errno(err, errno, "socket");
    /* Until it listens nobody gets in, whoever may open it. */
    if (bind(port->fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        error_errno(err, errno, "%s", path);
        channel_port_close(port);
        return -1;
    }
    port->path = STEAL(path);
    if (give_away(port->path, vm, err) == 0) {
        if (listen(port->fd, 2 * MULTIFD_CHANNELS_MAX) == 0)
            return 0;
        error_errno(err, errno, "%s", port->path);
    }
    channel_port_close(port);
    return -1;
}

static bool is_of(int fd, const struct vm *vm)
{
    struct ucred who = {0};
    socklen_t size = sizeof(who);
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) == 0 && who.pid == vm->process.pid;
}

static bool has_failed(struct vm *vm)
{
    LOCK_SCOPE(&vm->lock);
    return vm->guest.gone || text_equal(vm->guest.migration_status, "failed");
}

/* The next connection, or QEMU's word that there will be none. */
static int await(const struct channel_port *port, struct vm *vm, int cancel_fd, int64_t deadline_ns,
                 struct error **err)
{
    struct pollfd polls[] = {{.fd = port->fd, .events = POLLIN},
                             {.fd = vm->changed_fd, .events = POLLIN},
                             {.fd = cancel_fd, .events = POLLIN}};
    if (poll(polls, ARRAY_SIZE(polls), clock_poll_ms(deadline_ns)) < 0 && errno != EINTR)
        return error_errno(err, errno, "poll");
    if (polls[2].revents)
        return error_set(err, ERROR_CANCELLED, "cancelled");
    if (polls[1].revents)
        fd_event_clear(vm->changed_fd);
    if (polls[0].revents || (!has_failed(vm) && clock_now_ns() < deadline_ns))
        return 0;
    error_set(err, ERROR_QEMU, "QEMU does not connect to %s", port->path);
    return error_hint(err, "see its log, or move it with --channels 1");
}

int channel_port_accept(const struct channel_port *port, struct vm *vm, unsigned channels,
                        int cancel_fd, struct held *held, struct error **err)
{
    const int64_t deadline_ns = clock_deadline_ns(CONNECT_MS);
    *held = HELD_NONE;
    while (held->socket < 0 || held->channel_count < channels) {
        const int fd = accept4(port->fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
                return error_errno(err, errno, "%s", port->path);
            if (await(port, vm, cancel_fd, deadline_ns, err) < 0)
                return -1;
        } else if (!is_of(fd, vm)) {
            close(fd);
        } else if (held->socket < 0) { /* QEMU connects the others when it has this one */
            held->socket = fd;
        } else {
            held->channels[held->channel_count++] = fd;
        }
    }
    return 0;
}

void channel_port_close(struct channel_port *port)
{
    if (port->fd >= 0)
        close(port->fd);
    if (port->path)
        unlink(port->path);
    free(port->path);
    *port = CHANNEL_PORT_NONE;
}
