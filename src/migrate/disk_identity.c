/* SPDX-License-Identifier: Apache-2.0 */
/* Do two hosts look at the same disk image? */
#include "migrate/disk_identity.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/file.h"
#include "base/text.h"

/* Marks lie in [2^60, 2^61): beyond any image, below off_t's end, away from QEMU's bytes 100-203.
 */
#define MARK_BASE (INT64_C(1) << 60)

struct mark {
    const struct domain_disk *disk;
    int fd;
    int64_t size, offset;
    char *hardware; /* of a block device, or NULL */
};

struct disk_identity {
    size_t count;
    struct mark marks[];
};

static int64_t image_size(int fd, const struct stat *status)
{
    uint64_t size;
    if (S_ISBLK(status->st_mode) && ioctl(fd, BLKGETSIZE64, &size) == 0)
        return (int64_t)size;
    return status->st_size;
}

/* What a block device says it is: its WWID or its device-mapper UUID; NULL when it says nothing. */
static char *hardware_identity(const struct stat *status)
{
    static const char *const attributes[] = {"dm/uuid", "wwid", "device/wwid"};
    if (!S_ISBLK(status->st_mode))
        return NULL;
    for (size_t i = 0; i < ARRAY_SIZE(attributes); i++) {
        CLEANUP_FREE char *path = text_format("/sys/dev/block/%u:%u/%s", major(status->st_rdev),
                                              minor(status->st_rdev), attributes[i]);
        char *identity = file_read(path, 4096, NULL, NULL);
        if (identity && *identity) {
            identity[strcspn(identity, "\n")] = '\0';
            return identity;
        }
        free(identity);
    }
    return NULL;
}

static int mark_one(struct mark *mark, const struct domain_disk *disk, struct error **err)
{
    struct stat status;
    uint64_t random;
    mark->disk = disk;
    mark->fd = open(disk->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (mark->fd < 0 || fstat(mark->fd, &status) < 0)
        return error_errno(err, errno, "disk %s: %s", disk->target, disk->path);
    if (getrandom(&random, sizeof(random), 0) != sizeof(random))
        return error_errno(err, errno, "getrandom");
    mark->size = image_size(mark->fd, &status);
    mark->hardware = hardware_identity(&status);
    mark->offset = MARK_BASE + (int64_t)(random % (uint64_t)MARK_BASE);
    struct flock lock = {
        .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = mark->offset, .l_len = 1};
    if (fcntl(mark->fd, F_OFD_SETLK, &lock) < 0)
        mark->offset = 0; /* no locks here: only the hardware's word counts */
    return 0;
}

struct disk_identity *disk_identity_mark(const struct domain *domain, struct error **err)
{
    struct disk_identity *identity =
        calloc(1, sizeof(*identity) + domain->n_disks * sizeof(identity->marks[0]));
    for (size_t i = 0; identity && i < domain->n_disks; i++) {
        const struct domain_disk *disk = &domain->disks[i];
        if (disk->source == DISK_EMPTY)
            continue;
        if (mark_one(&identity->marks[identity->count++], disk, err) < 0) {
            disk_identity_free(identity);
            return NULL;
        }
    }
    return identity;
}

json_t *disk_identity_describe(const struct disk_identity *identity)
{
    json_t *disks = json_array();
    for (size_t i = 0; i < identity->count; i++) {
        const struct mark *mark = &identity->marks[i];
        json_t *disk = json_pack("{s:s, s:s, s:b, s:I, s:s*}", "target", mark->disk->target, "path",
                                 mark->disk->path, "readonly", mark->disk->readonly, "size",
                                 (json_int_t)mark->size, "identity", mark->hardware);
        if (mark->offset)
            json_object_set_new(disk, "lock_offset", json_integer(mark->offset));
        json_array_append_new(disks, disk);
    }
    return disks;
}

void disk_identity_free(struct disk_identity *identity)
{
    if (!identity)
        return;
    for (size_t i = 0; i < identity->count; i++) {
        if (identity->marks[i].fd >= 0)
            close(identity->marks[i].fd);
        free(identity->marks[i].hardware);
    }
    free(identity);
}

static bool mark_is_there(int fd, int64_t offset)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = offset, .l_len = 1};
    return offset && fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

int disk_identity_check(const struct domain_disk *disk, const json_t *source_disk,
                        struct error **err)
{
    struct stat status;
    CLEANUP_CLOSE int fd = open(disk->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &status) < 0) {
        error_errno(err, errno, "disk %s: %s", disk->target, disk->path);
        return error_hint(err,
                          "make the image reachable there under that path, or give the path it "
                          "has there with --xml");
    }
    if (!source_disk) {
        error_set(err, ERROR_CORRUPT, "disk %s: the source has no disk of that name", disk->target);
        return error_hint(err, "leave the disks of --xml as they are, but for their paths");
    }
    if (mark_is_there(fd, json_opt_int(source_disk, "lock_offset", 0)))
        return 0;
    CLEANUP_FREE char *hardware = hardware_identity(&status);
    if (hardware && text_equal(hardware, json_opt_string(source_disk, "identity", NULL)))
        return 0;
    /* Sizes only help to see what is wrong: that of a qcow2 image grows while the guest writes. */
    int64_t size = json_opt_int(source_disk, "size", -1);
    if (image_size(fd, &status) != size) {
        error_set(err, ERROR_CORRUPT,
                  "disk %s: %s is another file: it has %lld bytes, the source's has %lld",
                  disk->target, disk->path, (long long)image_size(fd, &status), (long long)size);
        return error_hint(err, "mount the same storage on both hosts");
    }
    error_set(err, ERROR_CORRUPT,
              "disk %s: %s is not the file that the source has under %s (a lock set there is not "
              "seen here)",
              disk->target, disk->path, json_opt_string(source_disk, "path", "?"));
    return error_hint(err, "mount the same storage on both hosts, with locks that reach both (no "
                           "`nolock`)");
}
