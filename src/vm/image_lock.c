/* SPDX-License-Identifier: Apache-2.0 */
/* A lock of the agents on the images that a VM writes to, which lasts through a handover. */
#include "vm/image_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/log.h"

struct image_locks {
    size_t count;
    int fds[];
};

static int set_lock(int fd, short type)
{
    struct flock lock = {
        .l_type = type, .l_whence = SEEK_SET, .l_start = IMAGE_LOCK_OFFSET, .l_len = 1};
    return fcntl(fd, F_OFD_SETLK, &lock);
}

/* 0: locked, 1: somebody else has it, -1 with errno. */
static int lock_image(int fd, bool arriving)
{
    if ((arriving || set_lock(fd, F_WRLCK) == 0) && set_lock(fd, F_RDLCK) == 0)
        return 0;
    return errno == EAGAIN || errno == EACCES ? 1 : -1;
}

static int lock_one(struct image_locks *locks, const struct domain *domain, const char *what,
                    const char *path, bool arriving, struct error **err)
{
    CLEANUP_CLOSE int fd = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    int result = fd < 0 ? -1 : lock_image(fd, arriving);
    if (result < 0) {
        log_warning(domain->name,
                    "%s: image %s cannot be locked: %s; while the VM moves, nothing keeps another "
                    "host from starting a VM with it",
                    what, path, strerror(errno));
        return 0;
    }
    if (result == 0) {
        locks->fds[locks->count++] = STEAL_FD(fd);
        return 0;
    }
    error_set(err, ERROR_STATE,
              "%s: image %s is locked: a VM that writes to it runs on this host or another, or is "
              "being moved",
              what, path);
    return error_hint(err, "look for it with `mudanza list` on each host that reaches the image, "
                           "and end it there first; a disk that several VMs may write to at once "
                           "needs <shareable/>");
}

struct image_locks *image_lock_all(const struct domain *domain, bool arriving, struct error **err)
{
    struct image_locks *locks = calloc(1, sizeof(*locks) + (domain->n_disks + 1) * sizeof(int));
    int result = 0;
    if (!locks) {
        error_set(err, ERROR_SYSTEM, "out of memory");
        return NULL;
    }
    for (size_t i = 0; i < domain->n_disks && result == 0; i++) {
        const struct domain_disk *disk = &domain->disks[i];
        char what[64];
        if (disk->source == DISK_EMPTY || disk->readonly || disk->shareable)
            continue;
        snprintf(what, sizeof(what), "disk %s", disk->target);
        result = lock_one(locks, domain, what, disk->path, arriving, err);
    }
    if (result == 0 && domain->nvram)
        result = lock_one(locks, domain, "NVRAM", domain->nvram, arriving, err);
    if (result == 0)
        return locks;
    image_lock_close(locks);
    return NULL;
}

const int *image_lock_fds(const struct image_locks *locks, size_t *count)
{
    *count = locks->count;
    return locks->fds;
}

void image_lock_close(struct image_locks *locks)
{
    for (size_t i = 0; locks && i < locks->count; i++)
        close(locks->fds[i]);
    free(locks);
}
