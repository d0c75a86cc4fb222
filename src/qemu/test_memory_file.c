/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of RAM in a file: found when it is all of it, read without making pages. */
#include "base/test.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "qemu/memory_file.h"

#define SIZE ((size_t)MEMORY_CHUNK_SIZE + 3 * MEMORY_PAGE_SIZE) /* the second chunk is short */

/* --- where it is mapped --- */

static const char *const maps = "7f0000000000-7f0000100000 rw-p 00000000 00:01 77 /memfd:ram\n"
                                "7f0000200000-7f0000300000 rw-s 00000000 00:01 77 /memfd:ram\n"
                                "7f0000300000-7f0000380000 rw-s 00100000 00:01 77 /memfd:ram\n"
                                "7f0000400000-7f0000480000 rw-s 00180000 00:01 77 /memfd:ram\n"
                                "7f0000500000-7f0000600000 r--s 00000000 00:01 78 /memfd:ram\n";

static uint64_t address_of(ino_t inode, uint64_t bytes)
{
    const struct stat file = {.st_ino = inode, .st_dev = makedev(0, 1)};
    return memory_file_address(maps, &file, bytes);
}

static void test_it_must_be_mapped_whole_and_shared(void **state)
{
    (void)state;
    assert_int_equal(address_of(77, 0x100000), 0x7f0000200000);
    assert_int_equal(address_of(77, 0x180000), 0x7f0000200000);
    assert_int_equal(address_of(77, 0x180001), 0); /* the rest lies elsewhere */
    assert_int_equal(address_of(78, 0x1000), 0);   /* not the guest's to write */
    assert_int_equal(address_of(79, 0x1000), 0);
    const struct stat other = {.st_ino = 77, .st_dev = makedev(0, 2)};
    assert_int_equal(memory_file_address(maps, &other, 0x1000), 0);
    assert_int_equal(memory_file_address("nonsense\n", &other, 1), 0);
}

/* --- in this process --- */

struct ram {
    int fd;
    uint8_t *memory;
};

static struct ram make(const char *name, int flags)
{
    struct ram ram = {.fd = memfd_create(name, MFD_CLOEXEC)};
    assert_int_equal(ftruncate(ram.fd, (off_t)SIZE), 0);
    void *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, flags, ram.fd, 0);
    assert_ptr_not_equal(memory, MAP_FAILED);
    ram.memory = memory;
    return ram;
}

static void destroy(struct ram *ram)
{
    munmap(ram->memory, SIZE);
    close(ram->fd);
}

static int find(uint64_t bytes, uint64_t *address, struct error **err)
{
    CLEANUP_CLOSE int pidfd = pidfd_open(getpid(), 0);
    return memory_file_find(getpid(), pidfd, bytes, address, err);
}

static void assert_none(uint64_t bytes)
{
    CLEANUP_ERROR struct error *err = NULL;
    assert_int_equal(find(bytes, NULL, &err), -1);
    assert_int_equal(err->kind, ERROR_NOT_FOUND);
}

static void test_only_shared_memory_of_qemus_is_found(void **state)
{
    (void)state;
    CLEANUP_ERROR struct error *err = NULL;
    uint64_t address;
    struct ram private = make("memory-backend-memfd", MAP_PRIVATE);
    struct ram other = make("something", MAP_SHARED);
    assert_none(SIZE);
    struct ram ram = make("memory-backend-memfd", MAP_SHARED);
    assert_none(SIZE - MEMORY_PAGE_SIZE);
    CLEANUP_CLOSE int fd = find(SIZE, &address, &err);
    assert_ok(fd, err);
    assert_int_equal(address, (uintptr_t)ram.memory);
    ram.memory[4711] = 42;
    uint8_t byte;
    assert_int_equal(pread(fd, &byte, 1, 4711), 1);
    assert_int_equal(byte, 42);
    destroy(&ram);
    destroy(&other);
    destroy(&private);
}

static uint64_t blocks(const struct ram *ram)
{
    struct stat about;
    assert_int_equal(fstat(ram->fd, &about), 0);
    return (uint64_t)about.st_blocks;
}

/* Also those that the process has lost from its page table. */
static void test_the_file_says_which_pages_there_are(void **state)
{
    (void)state;
    CLEANUP_ERROR struct error *err = NULL;
    struct ram ram = make("ram", MAP_SHARED);
    const size_t there[] = {0, 5, 6, 255, 257};
    for (size_t i = 0; i < ARRAY_SIZE(there); i++)
        ram.memory[there[i] * MEMORY_PAGE_SIZE] = (uint8_t)(i + 1);
    assert_int_equal(madvise(ram.memory, SIZE, MADV_DONTNEED), 0);
    const uint64_t before = blocks(&ram);
    CLEANUP_FREE uint8_t *buffer = calloc(1, MEMORY_CHUNK_SIZE);
    bool present[MEMORY_CHUNK_PAGES];
    size_t n, seen = 0;
    for (size_t chunk = 0; chunk < 2; chunk++) {
        assert_ok(memory_file_read_chunk(ram.fd, SIZE, chunk, buffer, present, &n, &err), err);
        assert_int_equal(n, chunk == 0 ? MEMORY_CHUNK_PAGES : 3);
        for (size_t page = 0; page < n; page++)
            if (present[page]) {
                assert_int_equal(chunk * MEMORY_CHUNK_PAGES + page, there[seen]);
                assert_int_equal(buffer[page * MEMORY_PAGE_SIZE], ++seen);
            }
    }
    assert_int_equal(seen, ARRAY_SIZE(there));
    uint8_t pages[2][MEMORY_PAGE_SIZE], *const to[] = {pages[0], pages[1]};
    assert_true(memory_file_read_pages(ram.fd, SIZE, (uint32_t[]){257, 1}, 2, to));
    assert_int_equal(pages[0][0], 5);
    assert_int_equal(pages[1][0], 0);
    assert_false(memory_file_read_pages(ram.fd, SIZE, (uint32_t[]){5, 259}, 2, to));
    assert_int_equal(blocks(&ram), before);
    destroy(&ram);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_must_be_mapped_whole_and_shared),
        cmocka_unit_test(test_only_shared_memory_of_qemus_is_found),
        cmocka_unit_test(test_the_file_says_which_pages_there_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
