/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of disk_format.c, and of check_disk on file systems made here: its path is the argument. */
#include "base/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "disk_format.h"

#define FILES 3u
#define RING  (FILES * DISK_FILE_BLOCKS)
#define SEED  5u
#define SKIP  77

static char *check_disk; /* the program */
static char folder[] = "/tmp/test-disk-XXXXXX";

/* Runs a shell command in the test's folder; its exit status. */
static int run(const char *command)
{
    char line[512];
    int status;

    (void)snprintf(line, sizeof(line), "cd %s && { %s; } >log 2>&1", folder, command);
    status = system(line); /* NOLINT(cert-env33-c): only what this file says */
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void put(const char *name, const void *bytes, size_t size, off_t at)
{
    char path[128];
    int fd;

    (void)snprintf(path, sizeof(path), "%s/root/%s", folder, name);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, size, at), size);
    close(fd);
}

/* A disk as the guest leaves it after `synced` blocks. */
static struct disk_manifest disk_make(uint32_t synced, bool clean)
{
    struct disk_manifest manifest = {7, SEED, FILES, synced, clean};
    uint32_t words[DISK_BLOCK_SIZE / sizeof(uint32_t)];
    char name[DISK_NAME_SIZE], block[DISK_BLOCK_SIZE];

    assert_int_equal(run("rm -rf root && mkdir root"), 0);
    for (uint32_t number = 0; number < synced; number++) {
        uint32_t slot = number % RING;

        disk_format_name(slot / DISK_FILE_BLOCKS, name);
        if (number >= RING && slot % DISK_FILE_BLOCKS == 0) {
            char command[64];

            (void)snprintf(command, sizeof(command), "rm root/%s", name);
            assert_int_equal(run(command), 0);
        }
        disk_format_block(SEED, number, words);
        put(name, words, sizeof(words), (off_t)(slot % DISK_FILE_BLOCKS) * DISK_BLOCK_SIZE);
    }
    disk_format_manifest(&manifest, block);
    put(DISK_MANIFEST, block, sizeof(block), DISK_BLOCK_SIZE);
    return manifest;
}

/* What check_disk says of a file system with the files that are in root/ now. */
static int checked(const char *arguments)
{
    char command[256];

    assert_int_equal(run("rm -f image && mke2fs -q -t ext4 -d root image 8M"), 0);
    (void)snprintf(command, sizeof(command), "%s %s image", check_disk, arguments);
    return run(command);
}

static void test_all_is_there(void **state)
{
    (void)state;
    static const uint32_t synced[] = {0, 1, RING, 2 * RING + DISK_FILE_BLOCKS + 3};

    for (size_t i = 0; i < sizeof(synced) / sizeof(synced[0]); i++) {
        disk_make(synced[i], true);
        assert_int_equal(checked(""), 0);
    }
    assert_int_equal(checked("--synced 451 --seed 5"), 0);
    assert_int_equal(checked("--synced 452 --seed 5"), 1);
    assert_int_equal(checked("--seed 6"), 1);
    assert_int_equal(checked("--speed 6"), 2);
}

static void test_block_in_flight(void **state)
{
    (void)state;
    static const char torn[100] = "not a block";

    disk_make(RING + 2, false);
    put("ring0000", torn, sizeof(torn), 2 * (off_t)DISK_BLOCK_SIZE);
    assert_int_equal(checked(""), 0); /* it may be there in part */
    disk_make(RING + 2, true);
    put("ring0000", torn, sizeof(torn), 2 * (off_t)DISK_BLOCK_SIZE);
    assert_int_equal(checked(""), 1);

    disk_make(RING + DISK_FILE_BLOCKS, false);
    assert_int_equal(run("rm root/ring0001"), 0); /* about to be written anew */
    assert_int_equal(checked(""), 0);
    disk_make(RING + DISK_FILE_BLOCKS, true);
    assert_int_equal(run("rm root/ring0001"), 0);
    assert_int_equal(checked(""), 1);
}

static void test_what_is_wrong(void **state)
{
    (void)state;
    static const char *const damage[] = {
        "printf x | dd of=root/ring0000 bs=1 seek=8000 conv=notrunc", /* one byte */
        "cp root/ring0001 root/ring0000",                             /* blocks of another file */
        "truncate -s -4096 root/ring0002", /* the last block is missing */
        "truncate -s +1 root/ring0002",
        "rm root/ring0001",
        "rm root/manifest",
        "printf x | dd of=root/manifest bs=1 seek=4100 conv=notrunc"};

    for (size_t i = 0; i < sizeof(damage) / sizeof(damage[0]); i++) {
        disk_make(2 * RING, true);
        assert_int_equal(run(damage[i]), 0);
        assert_int_equal(checked(""), 1);
    }
    disk_make(RING, true);
    assert_int_equal(checked(""), 0);
    /* A file system that is not whole: the bitmap of blocks says less than the files have. */
    assert_int_equal(run("debugfs -w -R 'freeb 600 50' image"), 0);
    {
        char command[128];

        (void)snprintf(command, sizeof(command), "%s image", check_disk);
        assert_int_equal(run(command), 1);
        (void)snprintf(command, sizeof(command), "%s no-such-image", check_disk);
        assert_int_equal(run(command), 3);
    }
}

static void test_manifest(void **state)
{
    (void)state;
    struct disk_manifest old = {4, SEED, FILES, 10, false}, new = {5, SEED, FILES, 11, true}, got;
    char blocks[2 * DISK_BLOCK_SIZE];

    memset(blocks, 0, sizeof(blocks));
    assert_false(disk_format_read(blocks, &got));
    disk_format_manifest(&old, blocks);
    disk_format_manifest(&new, blocks + DISK_BLOCK_SIZE);
    assert_true(disk_format_read(blocks, &got));
    assert_int_equal(got.synced, 11);
    assert_true(got.clean);
    for (size_t byte = 0; byte < DISK_BLOCK_SIZE; byte++) { /* torn: the older one counts */
        blocks[DISK_BLOCK_SIZE + byte] ^= 1;
        assert_true(disk_format_read(blocks, &got));
        assert_int_equal(got.synced, 10);
        blocks[DISK_BLOCK_SIZE + byte] ^= 1;
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_manifest),
        cmocka_unit_test(test_all_is_there),
        cmocka_unit_test(test_block_in_flight),
        cmocka_unit_test(test_what_is_wrong),
    };
    int failed = SKIP;

    check_disk = argc == 2 ? realpath(argv[1], NULL) : NULL;
    if (check_disk == NULL || mkdtemp(folder) == NULL)
        return EXIT_FAILURE;
    if (run("command -v mke2fs && command -v debugfs && command -v qemu-img") == 0)
        failed = cmocka_run_group_tests(tests, NULL, NULL);
    (void)run("rm -rf root image log");
    rmdir(folder);
    free(check_disk);
    return failed;
}
