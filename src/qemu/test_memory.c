/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of reading and digesting RAM: of a child with known content, and of real QEMUs. */
#include "base/test.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/text.h"
#include "qemu/memory.h"
#include "qemu/memory_map.h"
#include "qemu/testing.h"

#define MIB ((size_t)1 << 20)

static const uint8_t key[MEMORY_KEY_SIZE] = "0123456789abcdef";
static const uint8_t other_key[MEMORY_KEY_SIZE] = "0123456789abcdeg";

/* --- maps --- */

static const char *const maps = "7f0000000000-7f0000100000 rw-p 00000000 00:00 0 \n"
                                "7f0000100000-7f0000200000 rw-p 00000000 00:00 0 [anon: x y]\n"
                                "7f0000200000-7f0000201000 ---p 00000000 00:00 0 \n"
                                "7f0000300000-7f0000400000 rw-s 00000000 00:01 77 /memfd:ram\n";

static void test_mappings_must_cover_the_ram_without_a_gap(void **state)
{
    (void)state;
    bool anonymous;
    assert_int_equal(memory_map_check(maps, 0x7f0000000000, 0x7f0000200000, &anonymous), 0);
    assert_true(anonymous);
    assert_int_equal(memory_map_check(maps, 0x7f0000010000, 0x7f0000200000, &anonymous), 0);
    assert_int_equal(memory_map_check(maps, 0x7f0000000000, 0x7f0000201000, &anonymous), -1);
    assert_int_equal(memory_map_check(maps, 0x7f0000300000, 0x7f0000400000, &anonymous), 0);
    assert_false(anonymous);
    assert_int_equal(memory_map_check(maps, 0x7f0000300000, 0x7f0000400001, &anonymous), -1);
    assert_int_equal(memory_map_check(maps, 0x7e0000000000, 0x7f0000000001, &anonymous), -1);
    assert_int_equal(memory_map_check("nonsense\n", 0, 1, &anonymous), -1);
    assert_int_equal(memory_map_check("", 0, 1, &anonymous), -1);
}

/* --- a child that holds memory of ours, at the address where we had it --- */

struct holder {
    pid_t pid;
    struct memory_map map;
};

static void hold(struct holder *holder, void *address, size_t size)
{
    int ready[2];
    char byte = 0;
    assert_int_equal(pipe(ready), 0);
    holder->pid = fork();
    if (holder->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* also when the test fails */
        if (write(ready[1], &byte, 1) == 1)
            pause(); /* until it is killed */
        _exit(1);
    }
    assert_true(holder->pid > 0);
    assert_int_equal(fd_read_full(ready[0], &byte, 1, NULL), 0);
    close(ready[0]);
    close(ready[1]);
    holder->map = (struct memory_map){.pid = holder->pid,
                                      .address = (uint64_t)(uintptr_t)address,
                                      .size = size,
                                      .pagemap_fd = -1};
}

static void let_go(struct holder *holder)
{
    kill(holder->pid, SIGKILL);
    waitpid(holder->pid, NULL, 0);
}

static uint8_t *map_anonymous(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(memory, MAP_FAILED);
    return memory;
}

/* Every page recognisable, some of them zero. */
static void fill(uint8_t *memory, size_t size)
{
    for (size_t page = 0; page < size / MEMORY_PAGE_SIZE; page++)
        if (page % 3 != 1)
            for (size_t i = 0; i < MEMORY_PAGE_SIZE; i += 8)
                memcpy(memory + page * MEMORY_PAGE_SIZE + i, &(uint64_t){page * 4096 + i + 1}, 8);
}

static void digest_of(const struct memory_map *map, const uint8_t *with,
                      uint8_t digest[MEMORY_DIGEST_SIZE])
{
    CLEANUP_ERROR struct error *err = NULL;
    assert_ok(memory_digest(map, with, digest, -1, &err), err);
}

static void test_the_digest_depends_on_content_and_key_alone(void **state)
{
    (void)state;
    const size_t size = 5 * MIB + 3 * MEMORY_PAGE_SIZE; /* the last chunk is short */
    uint8_t *one = map_anonymous(size), *two = map_anonymous(size);
    fill(one, size);
    fill(two, size);
    struct holder first, second, third;
    hold(&first, one, size);
    hold(&second, two, size);
    two[size - 1] ^= 1;
    hold(&third, two, size);
    uint8_t digests[5][MEMORY_DIGEST_SIZE];
    digest_of(&first.map, key, digests[0]);
    digest_of(&second.map, key, digests[1]);
    digest_of(&third.map, key, digests[2]);
    digest_of(&first.map, other_key, digests[3]);
    first.map.size -= MEMORY_PAGE_SIZE;
    digest_of(&first.map, key, digests[4]);
    assert_memory_equal(digests[0], digests[1], MEMORY_DIGEST_SIZE);
    for (int i = 2; i < 5; i++)
        assert_memory_not_equal(digests[0], digests[i], MEMORY_DIGEST_SIZE);
    let_go(&first);
    let_go(&second);
    let_go(&third);
    munmap(one, size);
    munmap(two, size);
}

static void test_a_difference_is_found_by_chunk_and_page(void **state)
{
    (void)state;
    const size_t size = 4 * MIB;
    uint8_t *memory = map_anonymous(size);
    fill(memory, size);
    struct holder before, after;
    hold(&before, memory, size);
    memory[2 * MIB + 7 * MEMORY_PAGE_SIZE + 100] ^= 0x80;
    hold(&after, memory, size);

    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_FREE uint8_t *old_chunks = NULL, *new_chunks = NULL, *old_pages = NULL,
                         *new_pages = NULL;
    size_t n;
    assert_ok(memory_chunk_digests(&before.map, key, &old_chunks, &n, -1, &err), err);
    assert_ok(memory_chunk_digests(&after.map, key, &new_chunks, &n, -1, &err), err);
    assert_int_equal(n, 4);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(memcmp(old_chunks + 32 * i, new_chunks + 32 * i, 32) != 0, i == 2);
    assert_ok(memory_page_digests(&before.map, key, 2, &old_pages, &n, &err), err);
    assert_ok(memory_page_digests(&after.map, key, 2, &new_pages, &n, &err), err);
    assert_int_equal(n, 256);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(memcmp(old_pages + 16 * i, new_pages + 16 * i, 16) != 0, i == 7);
    uint8_t page[MEMORY_PAGE_SIZE];
    assert_ok(memory_read(&after.map, 2 * MIB + 7 * MEMORY_PAGE_SIZE, page, sizeof(page), &err),
              err);
    assert_memory_equal(page, memory + 2 * MIB + 7 * MEMORY_PAGE_SIZE, sizeof(page));
    assert_int_equal(memory_page_digests(&after.map, key, 4, &new_pages, &n, &err), -1);
    assert_int_equal(err->kind, ERROR_INVALID);
    let_go(&before);
    let_go(&after);
    munmap(memory, size);
}

static void test_an_unreadable_page_is_named(void **state)
{
    (void)state;
    const size_t size = 3 * MIB;
    uint8_t *memory = map_anonymous(size);
    fill(memory, size);
    assert_int_equal(mprotect(memory + MIB + 5 * MEMORY_PAGE_SIZE, MEMORY_PAGE_SIZE, PROT_NONE), 0);
    struct holder holder;
    hold(&holder, memory, size);
    CLEANUP_ERROR struct error *err = NULL;
    uint8_t digest[MEMORY_DIGEST_SIZE], page[8] = {0};
    assert_int_equal(memory_digest(&holder.map, key, digest, -1, &err), -1);
    assert_int_equal(err->kind, ERROR_SYSTEM);
    CLEANUP_FREE char *expected =
        text_format("guest RAM of process %d at offset 0x105000: Bad address", (int)holder.pid);
    assert_string_equal(err->message, expected);
    error_free(STEAL(err));
    assert_int_equal(memory_read(&holder.map, size - 4, page, 8, &err), -1);
    assert_int_equal(err->kind, ERROR_INVALID);
    error_free(STEAL(err));
    assert_int_equal(memory_write(&holder.map, size - 4, page, 8, &err), -1);
    assert_int_equal(err->kind, ERROR_INVALID);
    error_free(STEAL(err));
    assert_int_equal(memory_write(&holder.map, MIB + 5 * MEMORY_PAGE_SIZE, page, 8, &err), -1);
    assert_string_equal(err->message, "writing guest RAM at offset 0x105000: Bad address");
    error_free(STEAL(err));
    let_go(&holder);
    assert_int_equal(memory_digest(&holder.map, key, digest, -1, &err), -1);
    assert_non_null(strstr(err->message, "No such process"));
    munmap(memory, size);
}

static void test_digesting_is_cancelled(void **state)
{
    (void)state;
    uint8_t *memory = map_anonymous(2 * MIB);
    struct holder holder;
    hold(&holder, memory, 2 * MIB);
    CLEANUP_CLOSE int cancel = eventfd(1, EFD_CLOEXEC);
    CLEANUP_ERROR struct error *err = NULL;
    uint8_t digest[MEMORY_DIGEST_SIZE];
    assert_int_equal(memory_digest(&holder.map, key, digest, cancel, &err), -1);
    assert_int_equal(err->kind, ERROR_CANCELLED);
    let_go(&holder);
    munmap(memory, 2 * MIB);
}

/* --- real QEMUs --- */

struct real {
    char *directory;
    struct testing_qemu qemu;
};

static int real_set_up(void **state)
{
    struct real *real = calloc(1, sizeof(*real));
    *state = real;
    real->directory = testing_directory();
    return 0;
}

static int real_tear_down(void **state)
{
    struct real *real = *state;
    testing_stop(&real->qemu);
    testing_directory_remove(real->directory);
    free(real);
    return 0;
}

static struct memory_map *locate(struct real *real, uint64_t size)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct memory_map *map = memory_locate(real->qemu.qmp, real->qemu.id.pid, size, &err);
    assert_ok(map ? 0 : -1, err);
    return map;
}

/* Byte `value` at guest address 4 MiB, as QEMU's own debugger sees it. */
static void assert_guest_byte(struct real *real, int value)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_FREE char *said = NULL;
    CLEANUP_FREE char *expected = text_format("0000000000400000: 0x%02x\r\n", value);
    assert_ok(qmp_human(real->qemu.qmp, "xp /1bx 0x400000", &said, &err), err);
    assert_string_equal(said, expected);
}

/* Finds the RAM, changes a byte, and leaves the digest of the result in `digest`. */
static void check_qemu(struct real *real, const char *const *args, bool in_file,
                       uint8_t digest[MEMORY_DIGEST_SIZE])
{
    testing_start(&real->qemu, real->directory, "qemu", testing_emulator(), args, NULL, 0, NULL);
    struct memory_map *map = locate(real, 64 * MIB);
    assert_int_equal(map->in_file, in_file);
    uint8_t before[MEMORY_DIGEST_SIZE], byte = 1;
    CLEANUP_ERROR struct error *err = NULL;
    digest_of(map, key, before);
    assert_ok(memory_read(map, 4 * MIB, &byte, 1, &err), err);
    assert_int_equal(byte, 0);
    assert_guest_byte(real, 0);
    assert_ok(memory_write(map, 4 * MIB, &(uint8_t){0xa5}, 1, &err), err);
    assert_guest_byte(real, 0xa5); /* so it is the guest's RAM, and this is where it is */
    digest_of(map, key, digest);
    assert_memory_not_equal(before, digest, MEMORY_DIGEST_SIZE);
    memory_free(map);
    testing_stop(&real->qemu);
}

static void test_qemus_ram_is_found_whatever_it_is_made_of(void **state)
{
    if (!testing_emulator())
        skip();
    struct real *real = *state;
    uint8_t anonymous[MEMORY_DIGEST_SIZE], shared[MEMORY_DIGEST_SIZE], own[MEMORY_DIGEST_SIZE];
    const char *const plain[] = {"-machine", "pc-q35-7.2", "-accel", "tcg", "-m", "64", "-S", NULL};
    check_qemu(real, plain, false, anonymous);
    const char *const memfd[] = {"-machine", "pc-q35-7.2,memory-backend=pc.ram",
                                 "-accel",   "tcg",
                                 "-object",  "memory-backend-memfd,id=pc.ram,size=64M,share=on",
                                 "-m",       "64",
                                 "-S",       NULL};
    check_qemu(real, memfd, true, shared);
    assert_memory_equal(anonymous, shared, MEMORY_DIGEST_SIZE);
    /* What the guest writes is not in the file. */
    const char *const private[] = {"-machine", "pc-q35-7.2,memory-backend=pc.ram",
                                   "-accel",   "tcg",
                                   "-object",  "memory-backend-memfd,id=pc.ram,size=64M,share=off",
                                   "-m",       "64",
                                   "-S",       NULL};
    check_qemu(real, private, false, own);
    assert_memory_equal(anonymous, own, MEMORY_DIGEST_SIZE);
}

static void test_ram_of_another_size_or_name_is_refused(void **state)
{
    if (!testing_emulator())
        skip();
    struct real *real = *state;
    CLEANUP_ERROR struct error *err = NULL;
    const char *const plain[] = {"-machine", "pc-q35-7.2", "-accel", "tcg", "-m", "64", "-S", NULL};
    testing_start(&real->qemu, real->directory, "qemu", testing_emulator(), plain, NULL, 0, NULL);
    assert_null(memory_locate(real->qemu.qmp, real->qemu.id.pid, 1024 * MIB * 1024, &err));
    assert_int_equal(err->kind, ERROR_CORRUPT);
    error_free(STEAL(err));
    assert_null(memory_locate(real->qemu.qmp, real->qemu.id.pid, 1000, &err));
    assert_int_equal(err->kind, ERROR_INVALID);
    error_free(STEAL(err));
    testing_stop(&real->qemu);
    const char *const none[] = {"-machine", "none", "-accel", "tcg", "-S", NULL};
    testing_start(&real->qemu, real->directory, "none", testing_emulator(), none, NULL, 0, NULL);
    assert_null(memory_locate(real->qemu.qmp, real->qemu.id.pid, 64 * MIB, &err));
    assert_int_equal(err->kind, ERROR_CORRUPT);
}

/* RAM in a file grows when a page is read that nobody has touched. */
static void test_pages_that_are_not_there_are_not_made(void **state)
{
    (void)state;
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_CLOSE int fd = memfd_create("ram", MFD_CLOEXEC);
    const size_t size = MIB;
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    uint8_t *ram = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(ram, MAP_FAILED);
    ram[5 * MEMORY_PAGE_SIZE] = 1;
    ram[200 * MEMORY_PAGE_SIZE] = 2;
    struct memory_map map = {
        .pid = getpid(), .address = (uint64_t)(uintptr_t)ram, .size = size, .pagemap_fd = -1};
    assert_ok(memory_skip_absent(&map, &err), err);
    CLEANUP_FREE uint8_t *buffer = calloc(1, size);
    bool present[MEMORY_CHUNK_PAGES];
    size_t pages;
    struct stat before, after;
    fstat(fd, &before);
    assert_ok(memory_map_read_chunk(&map, 0, buffer, present, &pages, &err), err);
    fstat(fd, &after);
    assert_int_equal(before.st_blocks, after.st_blocks);
    for (size_t page = 0; page < pages; page++)
        assert_int_equal(present[page], page == 5 || page == 200);
    assert_int_equal(buffer[200 * MEMORY_PAGE_SIZE], 2);
    close(map.pagemap_fd);
    munmap(ram, size);
}

int main(void)
{
#define REAL_TEST(name) cmocka_unit_test_setup_teardown(name, real_set_up, real_tear_down)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mappings_must_cover_the_ram_without_a_gap),
        cmocka_unit_test(test_the_digest_depends_on_content_and_key_alone),
        cmocka_unit_test(test_pages_that_are_not_there_are_not_made),
        cmocka_unit_test(test_a_difference_is_found_by_chunk_and_page),
        cmocka_unit_test(test_an_unreadable_page_is_named),
        cmocka_unit_test(test_digesting_is_cancelled),
        REAL_TEST(test_qemus_ram_is_found_whatever_it_is_made_of),
        REAL_TEST(test_ram_of_another_size_or_name_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
