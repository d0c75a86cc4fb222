/* SPDX-License-Identifier: Apache-2.0 */
/* Writes numbered blocks to a disk and syncs each; see disk.h. */
#include "disk.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "../disk_format.h"
#include "../loop.h"

#define MOUNT_POINT "/disk"
#define PAUSE_NS    5000000L /* after each block: the processor is also for others */
#define TROUBLE_MAX 64
#define MOUNT_TRIES 500 /* 10 ms each */

_Atomic uint32_t disk_synced;

static pthread_t thread;
static int folder = -1; /* the mount point */
static struct disk_manifest manifest;
static atomic_bool stop, failed;
static char trouble[TROUBLE_MAX]; /* valid once `failed` */

const char *loop_trouble(void)
{
    return atomic_load(&failed) ? trouble : NULL;
}

static void disk_fail(const char *what, uint32_t number)
{
    (void)snprintf(trouble, sizeof(trouble), "disk-%s-block-%u-%s", what, number,
                   errno == 0 ? "wrong" : strerrorname_np(errno));
    atomic_store(&failed, true);
}

/* One block into `name` at its place, and onto the disk. */
static bool disk_put(const char *name, int flags, uint32_t place, const void *block)
{
    int fd = openat(folder, name, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0644);
    bool done = fd >= 0 &&
                pwrite(fd, block, DISK_BLOCK_SIZE, (off_t)place * DISK_BLOCK_SIZE) ==
                    (ssize_t)DISK_BLOCK_SIZE &&
                fsync(fd) == 0;

    if (fd >= 0)
        close(fd);
    return done && fsync(folder) == 0;
}

static bool disk_put_manifest(bool clean)
{
    char block[DISK_BLOCK_SIZE];

    manifest.count++;
    manifest.synced = disk_synced;
    manifest.clean = clean;
    disk_format_manifest(&manifest, block);
    return disk_put(DISK_MANIFEST, 0, manifest.count % 2, block);
}

static bool disk_put_block(uint32_t number)
{
    uint32_t slot = number % (manifest.files * DISK_FILE_BLOCKS), place = slot % DISK_FILE_BLOCKS;
    uint32_t words[DISK_BLOCK_SIZE / sizeof(uint32_t)];
    char name[DISK_NAME_SIZE];

    disk_format_block(manifest.seed, number, words);
    disk_format_name(slot / DISK_FILE_BLOCKS, name);
    return disk_put(name, place == 0 ? O_TRUNC : 0, place, words);
}

/* Reads block `number` back from the disk, not from memory; true when it is as it was written. */
static bool disk_is_there(uint32_t number)
{
    uint32_t slot = number % (manifest.files * DISK_FILE_BLOCKS);
    uint32_t want[DISK_BLOCK_SIZE / sizeof(uint32_t)], got[DISK_BLOCK_SIZE / sizeof(uint32_t)];
    off_t at = (off_t)(slot % DISK_FILE_BLOCKS) * DISK_BLOCK_SIZE;
    char name[DISK_NAME_SIZE];
    ssize_t size;
    int fd;

    disk_format_block(manifest.seed, number, want);
    disk_format_name(slot / DISK_FILE_BLOCKS, name);
    fd = openat(folder, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    posix_fadvise(fd, at, DISK_BLOCK_SIZE, POSIX_FADV_DONTNEED);
    errno = 0;
    size = pread(fd, got, sizeof(got), at);
    close(fd);
    return size == (ssize_t)sizeof(got) && memcmp(got, want, sizeof(got)) == 0;
}

static void *disk_run(void *unused)
{
    const struct timespec pause = {0, PAUSE_NS};

    while (!atomic_load(&stop)) {
        uint32_t number = disk_synced, ring = manifest.files * DISK_FILE_BLOCKS;

        if (!disk_put_block(number)) {
            disk_fail("write", number);
            break;
        }
        disk_synced = number + 1;
        if (!disk_put_manifest(false)) {
            disk_fail("manifest", number);
            break;
        }
        /* An older block, half a ring back, where there is one. */
        if (number >= ring / 2 && !disk_is_there(number - ring / 2)) {
            disk_fail("check", number - ring / 2);
            break;
        }
        nanosleep(&pause, NULL);
    }
    return unused;
}

/* Nothing of an older ring may be left: its blocks would be taken for wrong ones. */
static void disk_clear(void)
{
    char name[DISK_NAME_SIZE];

    unlinkat(folder, DISK_MANIFEST, 0);
    for (uint32_t i = 0; i < DISK_FILES_MAX; i++) {
        disk_format_name(i, name);
        unlinkat(folder, name, 0);
    }
}

/* The ring takes at most half of what the file system has. */
static bool disk_begin(uint32_t seed)
{
    char blocks[2 * DISK_BLOCK_SIZE] = {0};
    int fd = openat(folder, DISK_MANIFEST, O_RDONLY | O_CLOEXEC);
    struct statvfs space;
    uint64_t files;

    if (fd >= 0) {
        ssize_t size = read(fd, blocks, sizeof(blocks));

        close(fd);
        if (size > 0 && disk_format_read(blocks, &manifest) && manifest.seed == seed) {
            disk_synced = manifest.synced;
            return true;
        }
    }
    disk_clear();
    if (fstatvfs(folder, &space) < 0)
        return false;
    files = (uint64_t)space.f_bavail * space.f_frsize / 2 / DISK_BLOCK_SIZE / DISK_FILE_BLOCKS;
    if (files < 2) {
        errno = ENOSPC;
        return false;
    }
    manifest = (struct disk_manifest){
        .seed = seed, .files = files < DISK_FILES_MAX ? (uint32_t)files : DISK_FILES_MAX};
    return true;
}

/* A SCSI disk appears some time after its driver is loaded, so this waits for it. */
static bool disk_mount(const char *name)
{
    const struct timespec pause = {0, 10000000};
    char path[80];
    int status = -1;

    (void)snprintf(path, sizeof(path), "/dev/%s", name);
    mkdir(MOUNT_POINT, 0755);
    for (int i = 0; i < MOUNT_TRIES && status < 0; i++) {
        status = mount(path, MOUNT_POINT, "ext4", 0, NULL);
        if (status < 0 && errno != ENOENT)
            return false;
        if (status < 0)
            nanosleep(&pause, NULL);
    }
    return status == 0;
}

const char *disk_open(const char *name, uint32_t seed)
{
    if (!disk_mount(name))
        return strerrorname_np(errno);
    folder = open(MOUNT_POINT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0 || !disk_begin(seed) || !disk_put_manifest(false))
        return strerrorname_np(errno);
    return pthread_create(&thread, NULL, disk_run, NULL) == 0 ? NULL : "thread";
}

void disk_close(void)
{
    if (folder < 0)
        return;
    atomic_store(&stop, true);
    pthread_join(thread, NULL);
    if (!atomic_load(&failed))
        disk_put_manifest(true);
    close(folder);
    umount(MOUNT_POINT);
}
