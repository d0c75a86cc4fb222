/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check_disk [--synced N] [--seed N] IMAGE: is on the disk what the Linux guest wrote to it?
 *
 * Works on a copy made by `qemu-img convert`, which takes any format and refuses an image that a
 * QEMU still has open. The file system must be clean for e2fsck, after a replay of its journal when
 * the guest did not unmount it; then every block must be as disk_format.h says. --synced: at least
 * so many blocks, the last d= that the guest said. Exit status: 0 all right, 1 not, 2 usage,
 * 3 could not be checked.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "disk_format.h"

#define FOLDER_MAX 200
#define PATH_SIZE  256
#define RIGHT      0
#define WRONG      1
#define USAGE      2
#define IMPOSSIBLE 3

struct check {
    char folder[FOLDER_MAX]; /* ours, temporary: disk.raw and files/ */
    struct disk_manifest manifest;
    uint32_t wrong; /* findings */
};

/* Runs a program with its output thrown away, and with `quiet` also what it says on stderr (the
 * tools of e2fsprogs always print their version there); its exit status, or -1. */
static int check_run(const char *const argv[], bool quiet)
{
    posix_spawn_file_actions_t actions;
    int status = -1, spawned;
    pid_t pid;

    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (quiet)
        posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
    spawned = posix_spawnp(&pid, argv[0], &actions, NULL, (char *const *)argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (spawned != 0) {
        (void)fprintf(stderr, "check_disk: %s: %s\n", argv[0], strerror(spawned));
        return -1;
    }
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

__attribute__((format(printf, 2, 3))) static void check_wrong(struct check *check,
                                                              const char *format, ...)
{
    va_list arguments;

    check->wrong++;
    if (check->wrong > 20)
        return;
    va_start(arguments, format);
    (void)fputs("check_disk: ", stderr);
    (void)vfprintf(stderr, format, arguments);
    (void)fputc('\n', stderr);
    va_end(arguments);
}

/* Of a file in our folder, or with `inside` of one in the folder `name`. */
static void check_path(const struct check *check, const char *name, const char *inside,
                       char path[PATH_SIZE])
{
    (void)snprintf(path, PATH_SIZE, "%.*s/%s%s%s", FOLDER_MAX, check->folder, name,
                   inside == NULL ? "" : "/", inside == NULL ? "" : inside);
}

/* Copies the image, brings its journal in, and takes its files out; false when that is impossible.
 * What e2fsck finds is a finding. */
static bool check_extract(struct check *check, const char *image)
{
    char raw[PATH_SIZE], files[PATH_SIZE], request[PATH_SIZE + 16];

    check_path(check, "disk.raw", NULL, raw);
    check_path(check, "files", NULL, files);
    (void)snprintf(request, sizeof(request), "rdump / %s", files);
    const char *const convert[] = {"qemu-img", "convert", "-O", "raw", image, raw, NULL};
    const char *const replay[] = {"e2fsck", "-y", "-E", "journal_only", raw, NULL};
    const char *const fsck[] = {"e2fsck", "-f", "-n", raw, NULL};
    const char *const dump[] = {"debugfs", "-R", request, raw, NULL};

    if (check_run(convert, false) != 0)
        return false;
    if (check_run(replay, true) < 0 || mkdir(files, 0700) < 0)
        return false;
    if (check_run(fsck, true) != 0)
        check_wrong(check, "%s: e2fsck -fn finds errors", image);
    return check_run(dump, true) == 0;
}

/* Reads at most `size` bytes of a file of the disk; -1 when there is no such file. */
static ssize_t check_read(const struct check *check, const char *name, void *buffer, size_t size)
{
    char path[PATH_SIZE];
    ssize_t got;
    int fd;

    check_path(check, "files", name, path);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    got = read(fd, buffer, size);
    close(fd);
    return got;
}

static void check_file(struct check *check, uint32_t index)
{
    static uint32_t blocks[DISK_FILE_BLOCKS + 1][DISK_BLOCK_SIZE / sizeof(uint32_t)];
    struct disk_expected expected = disk_format_expected(&check->manifest, index);
    uint32_t want[DISK_BLOCK_SIZE / sizeof(uint32_t)];
    size_t size = (size_t)expected.blocks * DISK_BLOCK_SIZE;
    char name[DISK_NAME_SIZE];
    ssize_t got;

    disk_format_name(index, name);
    got = check_read(check, name, blocks, sizeof(blocks));
    if ((expected.fresh && got <= (ssize_t)DISK_BLOCK_SIZE) || (expected.blocks == 0 && got < 0))
        return;
    if (got < (ssize_t)size || (got > (ssize_t)size && !expected.more) ||
        got > (ssize_t)(size + DISK_BLOCK_SIZE)) {
        check_wrong(check, "%s: has %zd bytes, not %zu", name, got, size);
        return;
    }
    for (uint32_t i = 0; i < expected.blocks; i++) {
        disk_format_block(check->manifest.seed, expected.first + i, want);
        if (memcmp(blocks[i], want, sizeof(want)) != 0)
            check_wrong(check, "%s: block %" PRIu32 " is not block %" PRIu32, name, i,
                        expected.first + i);
    }
}

static bool check_manifest(struct check *check, int64_t synced, int64_t seed)
{
    char blocks[2 * DISK_BLOCK_SIZE] = {0};

    if (check_read(check, DISK_MANIFEST, blocks, sizeof(blocks)) < 0 ||
        !disk_format_read(blocks, &check->manifest)) {
        check_wrong(check, "no whole manifest on the disk");
        return false;
    }
    if (check->manifest.synced < synced)
        check_wrong(check, "%" PRIu32 " blocks are safe, the guest had said %" PRId64,
                    check->manifest.synced, synced);
    if (seed >= 0 && check->manifest.seed != seed)
        check_wrong(check, "seed is %" PRIu32 ", not %" PRId64, check->manifest.seed, seed);
    return true;
}

static int check_image(const char *image, int64_t synced, int64_t seed)
{
    const char *parent = getenv("TMPDIR");
    struct check check = {0};
    int result = IMPOSSIBLE;

    if ((size_t)snprintf(check.folder, sizeof(check.folder), "%s/check-disk-XXXXXX",
                         parent != NULL ? parent : "/tmp") >= sizeof(check.folder) ||
        mkdtemp(check.folder) == NULL) {
        (void)fprintf(stderr, "check_disk: %s: %s\n", check.folder, strerror(errno));
        return IMPOSSIBLE;
    }
    if (check_extract(&check, image)) {
        if (check_manifest(&check, synced, seed))
            for (uint32_t i = 0; i < check.manifest.files; i++)
                check_file(&check, i);
        result = check.wrong == 0 ? RIGHT : WRONG;
    }
    const char *const clean[] = {"rm", "-rf", check.folder, NULL};
    (void)check_run(clean, false);
    if (result != IMPOSSIBLE)
        (void)printf("%s: %" PRIu32 " blocks synced, ring of %" PRIu32 " files, %s, %" PRIu32
                     " findings\n",
                     image, check.manifest.synced, check.manifest.files,
                     check.manifest.clean ? "unmounted" : "not unmounted", check.wrong);
    return result;
}

int main(int argc, char **argv)
{
    int64_t synced = 0, seed = -1;
    int i = 1;

    for (; i + 2 < argc; i += 2) {
        char *end;
        int64_t value = strtoll(argv[i + 1], &end, 10);

        if (*end != 0 || value < 0)
            break;
        if (strcmp(argv[i], "--synced") == 0)
            synced = value;
        else if (strcmp(argv[i], "--seed") == 0)
            seed = value;
        else
            break;
    }
    if (i + 1 != argc) {
        (void)fputs("usage: check_disk [--synced N] [--seed N] IMAGE\n", stderr);
        return USAGE;
    }
    return check_image(argv[i], synced, seed);
}
