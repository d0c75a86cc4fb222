/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of the dictionary, on processes of our own whose RAM it reads. */
#include "base/test.h"

#include <errno.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "qemu/memory_map.h"
#include "stream/dictionary.h"
#include "stream/page_filter.h"

#define MIB ((size_t)1 << 20)

static const struct page_hash_key key = {"the key of this test"};
static const struct dictionary_options roomy = {.memory_limit = 64 * MIB, .time_limit_ms = 600000};

/* --- a child that holds RAM, at the address where we made it --- */

struct guest {
    pid_t pid;
    uint8_t *ram;
    size_t pages;
};

/* Page `number` of the world: the same content has the same number, 0 is a page of zeros. */
static void paint(uint8_t *page, uint64_t number)
{
    memset(page, 0, PAGE_SIZE_BYTES);
    for (size_t i = 0; number && i < PAGE_SIZE_BYTES; i += sizeof(number)) {
        uint64_t word = number * UINT64_C(0x9e3779b97f4a7c15) + i;
        memcpy(page + i, &word, sizeof(word));
    }
}

/* A guest whose pages are first, first + 1, ...; every fourth one is zero. */
static uint64_t number_of(uint64_t first, size_t page)
{
    return page % 4 == 3 ? 0 : first + page;
}

static _Noreturn void hold_ram(int ready_fd)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* also when the test fails */
    char byte = 0;
    if (write(ready_fd, &byte, 1) == 1)
        pause(); /* until it is killed */
    _exit(1);
}

static struct guest guest_start(uint64_t first, size_t pages)
{
    struct guest guest = {.pages = pages};
    int ready[2];
    char byte;
    guest.ram = mmap(NULL, pages * PAGE_SIZE_BYTES, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(guest.ram, MAP_FAILED);
    for (size_t page = 0; page < pages; page++)
        if (number_of(first, page))
            paint(guest.ram + page * PAGE_SIZE_BYTES, number_of(first, page));
    assert_int_equal(pipe(ready), 0);
    guest.pid = fork();
    if (guest.pid == 0)
        hold_ram(ready[1]);
    assert_true(guest.pid > 0);
    assert_int_equal(fd_read_full(ready[0], &byte, 1, NULL), 0);
    close(ready[0]);
    close(ready[1]);
    return guest;
}

static void guest_kill(struct guest *guest)
{
    kill(guest->pid, SIGKILL);
    waitpid(guest->pid, NULL, 0);
}

static void guest_end(struct guest *guest)
{
    guest_kill(guest);
    munmap(guest->ram, guest->pages * PAGE_SIZE_BYTES);
}

static struct ram_source *source_of(const struct guest *guest)
{
    struct memory_map *map = malloc(sizeof(*map));
    *map = (struct memory_map){.pid = guest->pid,
                               .address = (uint64_t)(uintptr_t)guest->ram,
                               .size = guest->pages * PAGE_SIZE_BYTES,
                               .pagemap_fd = -1};
    int pidfd = pidfd_open(guest->pid, 0);
    assert_true(pidfd >= 0);
    struct ram_source *source = ram_source_process(map, pidfd);
    assert_non_null(source);
    return source;
}

/* --- the other side --- */

struct other {
    struct dictionary *dictionary;
    struct page_filter *filter;
    struct page_hasher *hasher;
    unsigned parts;
};

/* Builds a dictionary of `n` sources and receives its filter to the end. */
static struct other other_of(const struct dictionary_options *options,
                             struct ram_source *const *sources, size_t n)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct other other = {.filter = page_filter_new(64 * MIB),
                          .hasher = page_hasher_new(&key, NULL)};
    other.dictionary = dictionary_new(options, &key, sources, n, &err);
    assert_ok(other.dictionary ? 0 : -1, err);
    while (!page_filter_complete(other.filter)) {
        size_t size;
        CLEANUP_FREE uint8_t *part = dictionary_next_part(other.dictionary, &size);
        if (part) {
            other.parts++;
            assert_ok(page_filter_take(other.filter, part, size, &err), err);
        } else {
            assert_int_equal(
                fd_wait(dictionary_event_fd(other.dictionary), POLLIN, -1, INT64_MAX, NULL), 0);
        }
    }
    return other;
}

static struct other other_new(const struct dictionary_options *options, const struct guest *guests,
                              size_t n)
{
    struct ram_source *sources[4] = {0};
    for (size_t i = 0; i < n; i++)
        sources[i] = source_of(&guests[i]);
    return other_of(options, sources, n);
}

static void other_free(struct other *other)
{
    dictionary_free(other->dictionary);
    page_filter_free(other->filter);
    page_hasher_free(other->hasher);
}

/* Asks for a page as the source would. */
static bool is_found(struct other *other, uint64_t number)
{
    uint8_t page[PAGE_SIZE_BYTES], got[PAGE_SIZE_BYTES], hash[PAGE_HASH_SIZE];
    paint(page, number);
    assert_true(page_hash(other->hasher, page, hash));
    if (!dictionary_lookup(other->dictionary, hash, got))
        return false;
    assert_memory_equal(page, got, sizeof(page));
    assert_true(page_filter_has(other->filter, hash));
    return true;
}

static size_t count_found(struct other *other, uint64_t first, size_t pages)
{
    size_t found = 0;
    for (size_t page = 0; page < pages; page++)
        if (number_of(first, page))
            found += is_found(other, first + page);
    return found;
}

/* --- RAM that is painted as it is read, large enough for several threads --- */

struct canvas {
    uint64_t first;
    size_t gone_from; /* the chunk from which on it cannot be read */
};

static int canvas_read_chunk(void *context, size_t chunk, uint8_t *buffer,
                             bool present[RAM_SOURCE_CHUNK_PAGES])
{
    const struct canvas *canvas = context;
    if (chunk >= canvas->gone_from)
        return -1;
    for (size_t i = 0; i < RAM_SOURCE_CHUNK_PAGES; i++) {
        const uint64_t number = number_of(canvas->first, chunk * RAM_SOURCE_CHUNK_PAGES + i);
        present[i] = true;
        paint(buffer + i * PAGE_SIZE_BYTES, number);
    }
    return 0;
}

static bool canvas_read_pages(void *context, const uint32_t *pages, size_t n, uint8_t *const *to)
{
    const struct canvas *canvas = context;
    for (size_t i = 0; i < n; i++)
        paint(to[i], number_of(canvas->first, pages[i]));
    return true;
}

static void canvas_release(void *context)
{
    (void)context;
}

static struct ram_source *canvas_source(struct canvas *canvas, uint64_t pages)
{
    static const struct ram_source_ops ops = {.read_chunk = canvas_read_chunk,
                                              .read_pages = canvas_read_pages,
                                              .release = canvas_release};
    struct ram_source *source = malloc(sizeof(*source));
    *source = (struct ram_source){.ops = &ops, .context = canvas, .pages = pages};
    return source;
}

/* --- tests --- */

static void test_every_page_of_every_guest_is_found(void **state)
{
    (void)state;
    struct guest guests[] = {guest_start(1000, 700), guest_start(5000, 300)};
    struct other other = other_new(&roomy, guests, 2);
    assert_int_equal(count_found(&other, 1000, 700), 525);
    assert_int_equal(count_found(&other, 5000, 300), 225);
    assert_false(is_found(&other, 999));
    assert_false(is_found(&other, 0)); /* zeros are not worth a hash */
    struct dictionary_counts counts = dictionary_counts(other.dictionary);
    assert_int_equal(counts.indexed, 750);
    assert_int_equal(counts.hits, 750);
    assert_int_equal(counts.misses, 2);
    other_free(&other);
    guest_end(&guests[0]);
    guest_end(&guests[1]);
}

/* The last quarter of the one is what the other begins with. */
static void test_several_threads_enter_each_page_once(void **state)
{
    (void)state;
    enum { MANY = 1 << 15, SHARED = MANY / 4 };
    struct canvas canvases[] = {{.first = 4, .gone_from = SIZE_MAX},
                                {.first = 4 + MANY - SHARED, .gone_from = SIZE_MAX}};
    struct ram_source *sources[] = {canvas_source(&canvases[0], MANY),
                                    canvas_source(&canvases[1], MANY)};
    struct other other = other_of(&roomy, sources, 2);
    const struct dictionary_counts counts = dictionary_counts(other.dictionary);
    /* Of 49152 pages a few have the tag and place of one that is there. */
    assert_in_range(counts.indexed, (2 * MANY - SHARED) / 4 * 3 - 8, (2 * MANY - SHARED) / 4 * 3);
    const size_t found =
        count_found(&other, 4, MANY) + count_found(&other, 4 + MANY, MANY - SHARED);
    assert_in_range(found, counts.indexed, counts.indexed + 8);
    other_free(&other);
}

static void test_a_source_that_goes_ends_nothing_else(void **state)
{
    (void)state;
    enum { MANY = 1 << 15, READ = 10 * RAM_SOURCE_CHUNK_PAGES };
    struct canvas canvases[] = {{.first = 4, .gone_from = 10},
                                {.first = 4 + MANY, .gone_from = SIZE_MAX}};
    struct ram_source *sources[] = {canvas_source(&canvases[0], MANY),
                                    canvas_source(&canvases[1], MANY)};
    struct other other = other_of(&roomy, sources, 2);
    const struct dictionary_counts counts = dictionary_counts(other.dictionary);
    assert_in_range(counts.indexed, MANY / 4 * 3 - 8, (MANY + READ) / 4 * 3);
    assert_in_range(count_found(&other, 4 + MANY, MANY), MANY / 4 * 3 - 8, MANY / 4 * 3);
    other_free(&other);
}

static void test_many_at_once_are_what_each_alone_is(void **state)
{
    (void)state;
    enum { MANY = 1200 };
    struct guest guests[] = {guest_start(1000, 700), guest_start(1700, 300)};
    struct other other = other_new(&roomy, guests, 2);
    CLEANUP_FREE uint8_t *hashes = malloc((size_t)MANY * PAGE_HASH_SIZE);
    CLEANUP_FREE uint8_t *pages = malloc((size_t)MANY * PAGE_SIZE_BYTES);
    uint8_t *to[MANY], page[PAGE_SIZE_BYTES];
    bool found[MANY];
    const struct memory_map map = {.pid = guests[0].pid,
                                   .address = (uint64_t)(uintptr_t)guests[0].ram,
                                   .size = 700 * PAGE_SIZE_BYTES,
                                   .pagemap_fd = -1};
    assert_int_equal(memory_write(&map, 4 * PAGE_SIZE_BYTES, "!", 1, NULL), 0);
    for (size_t i = 0; i < MANY; i++) { /* to and fro between the guests, and beyond */
        paint(page, 1000 + i * 7 % MANY);
        assert_true(page_hash(other.hasher, page, hashes + i * PAGE_HASH_SIZE));
        to[i] = pages + i * PAGE_SIZE_BYTES;
    }
    size_t hits = dictionary_lookup_many(other.dictionary, hashes, MANY, to, found);
    assert_int_equal(hits, 525 + 225 - 1);
    for (size_t i = 0; i < MANY; i++) {
        paint(page, 1000 + i * 7 % MANY);
        assert_int_equal(found[i], is_found(&other, 1000 + i * 7 % MANY));
        if (found[i])
            assert_memory_equal(page, to[i], PAGE_SIZE_BYTES);
    }
    guest_kill(&guests[0]);
    assert_int_equal(dictionary_lookup_many(other.dictionary, hashes, MANY, to, found), 225);
    other_free(&other);
    guest_end(&guests[0]);
    guest_end(&guests[1]);
}

static void test_what_guests_share_is_entered_once(void **state)
{
    (void)state;
    struct guest guests[] = {guest_start(1000, 400), guest_start(1000, 400)};
    struct other other = other_new(&roomy, guests, 2);
    assert_int_equal(dictionary_counts(other.dictionary).indexed, 300);
    assert_int_equal(count_found(&other, 1000, 400), 300);
    other_free(&other);
    guest_end(&guests[0]);
    guest_end(&guests[1]);
}

static void test_a_page_that_changed_is_a_miss(void **state)
{
    (void)state;
    struct guest guest = guest_start(1000, 16);
    struct other other = other_new(&roomy, &guest, 1);
    const struct memory_map map = {.pid = guest.pid,
                                   .address = (uint64_t)(uintptr_t)guest.ram,
                                   .size = 16 * PAGE_SIZE_BYTES,
                                   .pagemap_fd = -1};
    assert_true(is_found(&other, 1005));
    assert_int_equal(memory_write(&map, 5 * PAGE_SIZE_BYTES + 4095, "!", 1, NULL), 0);
    assert_false(is_found(&other, 1005));
    assert_true(is_found(&other, 1006));
    other_free(&other);
    guest_end(&guest);
}

static void test_a_guest_that_ended_is_a_miss(void **state)
{
    (void)state;
    struct guest guests[] = {guest_start(1000, 16), guest_start(2000, 16)};
    struct other other = other_new(&roomy, guests, 2);
    guest_kill(&guests[0]);
    assert_int_equal(count_found(&other, 1000, 16), 0);
    assert_int_equal(count_found(&other, 2000, 16), 12);
    other_free(&other);
    guest_end(&guests[0]);
    guest_end(&guests[1]);
}

static void test_a_guest_that_ended_before_is_left_out(void **state)
{
    (void)state;
    struct guest guests[] = {guest_start(1000, 16), guest_start(2000, 16)};
    struct ram_source *sources[] = {source_of(&guests[0]), source_of(&guests[1])};
    guest_kill(&guests[0]);
    struct dictionary *dictionary = dictionary_new(&roomy, &key, sources, 2, NULL);
    assert_non_null(dictionary);
    struct other other = {.dictionary = dictionary, .filter = page_filter_new(MIB)};
    size_t size;
    fd_wait(dictionary_event_fd(dictionary), POLLIN, -1, INT64_MAX, NULL);
    CLEANUP_FREE uint8_t *part = dictionary_next_part(dictionary, &size);
    assert_int_equal(page_filter_take(other.filter, part, size, NULL), 0);
    assert_true(page_filter_complete(other.filter));
    assert_int_equal(dictionary_counts(dictionary).indexed, 12);
    other_free(&other);
    guest_end(&guests[0]);
    guest_end(&guests[1]);
}

/* A child with that very number; -1 when the kernel refuses. */
static pid_t fork_as(pid_t number, int ready_fd)
{
    struct clone_args args = {
        .exit_signal = SIGCHLD, .set_tid = (uint64_t)(uintptr_t)&number, .set_tid_size = 1};
    pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
    if (pid == 0)
        hold_ram(ready_fd);
    return pid;
}

/* The same content at the same address in another process with the same number: only who the
 * process is tells them apart. */
static void test_another_process_with_the_same_number_is_never_read(void **state)
{
    (void)state;
    int ready[2];
    struct guest guest = guest_start(1000, 16);
    struct other other = other_new(&roomy, &guest, 1);
    assert_int_equal(pipe(ready), 0);
    guest_kill(&guest);
    pid_t impostor = fork_as(guest.pid, ready[1]);
    if (impostor < 0) {
        print_message("needs a process number of its choice: %s\n", strerror(errno));
        other_free(&other);
        skip();
    }
    assert_int_equal(impostor, guest.pid);
    uint8_t byte;
    assert_int_equal(fd_read_full(ready[0], &byte, 1, NULL), 0);
    const struct memory_map map = {.pid = impostor,
                                   .address = (uint64_t)(uintptr_t)guest.ram,
                                   .size = 16 * PAGE_SIZE_BYTES,
                                   .pagemap_fd = -1};
    assert_int_equal(memory_read(&map, 0, &byte, 1, NULL), 0); /* it could be read */
    assert_int_equal(count_found(&other, 1000, 16), 0);
    close(ready[0]);
    close(ready[1]);
    other_free(&other);
    guest_end(&guest);
}

static void test_a_full_table_ends_building(void **state)
{
    (void)state;
    const struct dictionary_options small = {.memory_limit = 65536, .time_limit_ms = 600000};
    struct guest guest = guest_start(1000, 8192); /* 6144 that are not zero */
    struct other other = other_new(&small, &guest, 1);
    const struct dictionary_counts counts = dictionary_counts(other.dictionary);
    assert_int_equal(counts.indexed, 65536 * 3 / 4 / 8 * 6 / 8);
    assert_true(counts.memory <= 65536);
    assert_true(counts.complete);
    assert_int_equal(count_found(&other, 1000, 8192), counts.indexed);
    assert_true(other.parts > 2); /* as they wait in little memory, too */
    other_free(&other);
    guest_end(&guest);
}

static void test_building_ends_in_time(void **state)
{
    (void)state;
    const struct dictionary_options hasty = {.memory_limit = MIB, .time_limit_ms = 0};
    struct guest guest = guest_start(1000, 1024);
    struct other other = other_new(&hasty, &guest, 1); /* and says that this was all */
    assert_int_equal(dictionary_counts(other.dictionary).indexed, 0);
    assert_false(is_found(&other, 1000));
    const int built_fd = dictionary_built_fd(other.dictionary);
    assert_int_equal(fd_wait(built_fd, POLLIN, -1, INT64_MAX, NULL), 0);
    other_free(&other);
    guest_end(&guest);
}

static void test_nothing_to_look_into(void **state)
{
    (void)state;
    struct other other = other_new(&roomy, NULL, 0);
    assert_false(is_found(&other, 1));
    other_free(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_page_of_every_guest_is_found),
        cmocka_unit_test(test_several_threads_enter_each_page_once),
        cmocka_unit_test(test_a_source_that_goes_ends_nothing_else),
        cmocka_unit_test(test_many_at_once_are_what_each_alone_is),
        cmocka_unit_test(test_what_guests_share_is_entered_once),
        cmocka_unit_test(test_a_page_that_changed_is_a_miss),
        cmocka_unit_test(test_a_guest_that_ended_is_a_miss),
        cmocka_unit_test(test_a_guest_that_ended_before_is_left_out),
        cmocka_unit_test(test_another_process_with_the_same_number_is_never_read),
        cmocka_unit_test(test_a_full_table_ends_building),
        cmocka_unit_test(test_building_ends_in_time),
        cmocka_unit_test(test_nothing_to_look_into),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
