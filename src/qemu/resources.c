/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a QEMU process gets from its host as open descriptors.
 *
 * Theory of operation. QEMU opens /dev/fdset/N by duplicating a member of the set that has exactly
 * the access mode it wants (read-only, write-only or read-write; qmp_add_fd in its monitor/fds.c),
 * and sets O_DIRECT, O_APPEND and O_NONBLOCK on the duplicate as it needs them. So an image that it
 * may write to is opened twice: for reading and writing, and for reading alone.
 *
 * QEMU's image locks (OFD locks) belong to the open file description, which QEMU's descriptors
 * share with ours: they last until the last copy is closed. Closing ours early therefore drops no
 * lock, but keeping ours after QEMU's end would hold its locks: the owner of a `struct resources`
 * frees it as soon as QEMU has started.
 */
#include "qemu/resources.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/text.h"
#include "qemu/backing.h"
#include "qemu/tap.h"

#define LISTEN_BACKLOG 16
#define SET_FDS_MAX    2

struct resource_set {
    int fds[SET_FDS_MAX];
    size_t n;
};

struct resources {
    struct resource_set *sets;
    size_t n_sets;
    int *fds; /* all of them */
    size_t n_fds;
};

struct resources *resources_new(void)
{
    return calloc(1, sizeof(struct resources));
}

void resources_free(struct resources *resources)
{
    if (!resources)
        return;
    for (size_t i = 0; i < resources->n_fds; i++)
        close(resources->fds[i]);
    free(resources->fds);
    free(resources->sets);
    free(resources);
}

const int *resources_fds(const struct resources *resources, size_t *count)
{
    *count = resources->n_fds;
    return resources->fds;
}

/* Takes `fd` over, also on error. Returns it. */
static int resources_keep(struct resources *resources, int fd, struct error **err)
{
    int *larger = realloc(resources->fds, (resources->n_fds + 1) * sizeof(*larger));
    if (!larger) {
        close(fd);
        return error_set(err, ERROR_SYSTEM, "out of memory");
    }
    resources->fds = larger;
    resources->fds[resources->n_fds++] = fd;
    return fd;
}

/* A new, empty set; its number is its place. */
static struct resource_set *resources_new_set(struct resources *resources, struct error **err)
{
    struct resource_set *larger =
        realloc(resources->sets, (resources->n_sets + 1) * sizeof(*larger));
    if (!larger) {
        error_set(err, ERROR_SYSTEM, "out of memory");
        return NULL;
    }
    resources->sets = larger;
    larger[resources->n_sets] = (struct resource_set){0};
    return &larger[resources->n_sets++];
}

static int file_failed(int errnum, bool writable, bool direct, struct error **err)
{
    if (errnum == ENOENT)
        error_set(err, ERROR_NOT_FOUND, "%s", strerror(errnum));
    else
        error_errno(err, errnum, writable ? "opening for writing" : "opening for reading");
    switch (errnum) {
    case ENOENT:
        return error_hint(err, "create it, or mount the storage it lies on at the same path");
    case EACCES:
    case EPERM:
        return error_hint(err, "give the agent's user access to it%s",
                          writable ? ", or mark the disk <readonly/>" : "");
    case EROFS:
        return error_hint(err, "its file system is mounted read-only: mark the disk <readonly/>");
    case EINVAL:
        if (direct)
            return error_hint(err, "its file system has no direct I/O: use another cache mode than "
                                   "none or directsync");
        break;
    default:
        break;
    }
    return -1;
}

/*
 * Opens without waiting (a FIFO without a reader would hang), checks what it is, and takes the flag
 * off again. `log`: a file that is only written to; a terminal or FIFO will do as well.
 */
static int file_open(const char *path, int flags, bool log, bool direct, struct error **err)
{
    struct stat file;
    flags |= O_CLOEXEC | O_NOCTTY | O_NONBLOCK | (direct ? O_DIRECT : 0);
    CLEANUP_CLOSE int fd = open(path, flags, 0600);
    if (fd < 0)
        return file_failed(errno, (flags & O_ACCMODE) != O_RDONLY, direct, err);
    if (fstat(fd, &file) < 0)
        return error_errno(err, errno, "fstat");
    if (S_ISDIR(file.st_mode) || (!log && !S_ISREG(file.st_mode) && !S_ISBLK(file.st_mode)))
        return error_set(err, ERROR_INVALID, "it is neither a file nor a block device");
    if (fcntl(fd, F_SETFL, (flags & ~O_NONBLOCK) & (O_APPEND | O_DIRECT)) < 0)
        return error_errno(err, errno, "fcntl");
    return STEAL_FD(fd);
}

static int set_add(struct resources *resources, struct resource_set *set, int fd,
                   struct error **err)
{
    if (fd < 0 || resources_keep(resources, fd, err) < 0)
        return -1;
    set->fds[set->n++] = fd;
    return 0;
}

static int resources_file(void *context, const char *path, bool writable, bool append, bool direct,
                          struct error **err)
{
    struct resources *resources = context;
    const int number = (int)resources->n_sets;
    struct resource_set *set = resources_new_set(resources, err);
    int result = set ? 0 : -1;
    if (result == 0 && append)
        result = set_add(resources, set,
                         file_open(path, O_WRONLY | O_APPEND | O_CREAT, true, false, err), err);
    if (result == 0 && writable && !append)
        result = set_add(resources, set, file_open(path, O_RDWR, false, direct, err), err);
    if (result == 0 && !append)
        result = set_add(resources, set, file_open(path, O_RDONLY, false, direct, err), err);
    if (result < 0)
        return error_prefix(err, append ? "file %s" : "disk image %s", path);
    return number;
}

static const int *resources_set_fds(void *context, int set, size_t *n)
{
    const struct resources *resources = context;
    const bool known = set >= 0 && (size_t)set < resources->n_sets;
    *n = known ? resources->sets[set].n : 0;
    return known ? resources->sets[set].fds : NULL;
}

static int resources_backing(void *context, const char *path, const char *format,
                             struct qemu_layer **layers, size_t *n, struct error **err)
{
    (void)context;
    return backing_chain(path, format, layers, n, err);
}

static int resources_tap(void *context, const struct domain_interface *interface, bool kvm,
                         int *vhost_fd, struct error **err)
{
    struct resources *resources = context;
    int fd = tap_open(interface, kvm, vhost_fd, err);
    if (fd < 0)
        return error_prefix(err, "network interface %s", interface->mac);
    if (*vhost_fd >= 0 && resources_keep(resources, *vhost_fd, err) < 0) {
        close(fd);
        return -1;
    }
    return resources_keep(resources, fd, err);
}

/* Only a socket is replaced: a file of that name is somebody's. */
static int remove_old_socket(const char *path, struct error **err)
{
    struct stat old;
    if (lstat(path, &old) < 0)
        return errno == ENOENT ? 0 : error_errno(err, errno, "lstat");
    if (!S_ISSOCK(old.st_mode))
        return error_set(err, ERROR_EXISTS, "there is something other than a socket");
    return unlink(path) < 0 ? error_errno(err, errno, "removing the old socket") : 0;
}

static int listen_at(const char *path, struct error **err)
{
    struct sockaddr_un address;
    if (fd_unix_address(path, &address, err) < 0)
        return -1;
    if (remove_old_socket(path, err) < 0)
        return -1;
    CLEANUP_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_errno(err, errno, "socket");
    /* The mode goes on before bind makes the file of it: it is never open to others. */
    if (fchmod(fd, 0600) < 0)
        return error_errno(err, errno, "fchmod");
    if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        return error_errno(err, errno, "bind");
    if (listen(fd, LISTEN_BACKLOG) < 0)
        return error_errno(err, errno, "listen");
    return STEAL_FD(fd);
}

static int resources_listen(void *context, const char *path, struct error **err)
{
    int fd = listen_at(path, err);
    if (fd < 0)
        return error_prefix(err, "socket %s", path);
    return resources_keep(context, fd, err);
}

struct qemu_host resources_host(struct resources *resources)
{
    static const struct qemu_host_ops ops = {
        .file = resources_file,
        .set_fds = resources_set_fds,
        .backing = resources_backing,
        .tap = resources_tap,
        .listen = resources_listen,
    };
    return (struct qemu_host){.ops = &ops, .context = resources};
}
