/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of RAM that is kept: complete, within limits, gone when dropped. */
#include "base/test.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/fd.h"
#include "stream/kept_ram.h"
#include "stream/page_hash.h"

#define PAGES 1000 /* the last chunk is short */
#define ALL   UINT64_MAX

/* --- a guest's RAM --- */

struct guest {
    int gate_fd;          /* an eventfd that chunks wait for, or -1 */
    atomic_uint released; /* how often */
    atomic_uint reads;
    uint64_t gone_from; /* chunk from which on it cannot be read */
};

/* Page n holds n + 1 in its first bytes; every third one is not there, every fifth one zero. */
static bool holds_something(uint64_t page)
{
    return page < PAGES && page % 3 != 0 && page % 5 != 0;
}

static int guest_read_chunk(void *context, size_t chunk, uint8_t *buffer,
                            bool present[RAM_SOURCE_CHUNK_PAGES])
{
    struct guest *guest = context;
    if (guest->gate_fd >= 0)
        assert_int_equal(fd_wait(guest->gate_fd, POLLIN, -1, DEADLINE_NEVER, NULL), 0);
    guest->reads++;
    if (chunk >= guest->gone_from)
        return -1;
    for (size_t i = 0; i < RAM_SOURCE_CHUNK_PAGES; i++) {
        const uint64_t page = chunk * RAM_SOURCE_CHUNK_PAGES + i, content = page + 1;
        present[i] = page < PAGES && page % 3 != 0;
        if (!present[i])
            continue;
        memset(buffer + i * PAGE_SIZE_BYTES, 0, PAGE_SIZE_BYTES);
        if (holds_something(page))
            memcpy(buffer + i * PAGE_SIZE_BYTES, &content, sizeof(content));
    }
    return 0;
}

static void guest_release(void *context)
{
    ((struct guest *)context)->released++;
}

static struct ram_source *source_of(struct guest *guest)
{
    static const struct ram_source_ops ops = {.read_chunk = guest_read_chunk,
                                              .release = guest_release};
    struct ram_source *source = malloc(sizeof(*source));
    assert_non_null(source);
    *source = (struct ram_source){.ops = &ops, .context = guest, .pages = PAGES};
    return source;
}

static struct kept_ram *begin(struct guest *guest, uint64_t limit)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct kept_ram *kept = kept_ram_begin(source_of(guest), limit, &err);
    assert_ok(kept ? 0 : -1, err);
    return kept;
}

/* Which pages of the guest a copy holds; none twice. Returns how many. */
static size_t look_through(struct kept_ram *kept)
{
    bool present[RAM_SOURCE_CHUNK_PAGES], seen[PAGES] = {false};
    uint8_t *buffer = malloc((size_t)RAM_SOURCE_CHUNK_PAGES * PAGE_SIZE_BYTES);
    uint8_t page[PAGE_SIZE_BYTES], *to = page;
    struct ram_source *source = kept_ram_source(kept);
    size_t count = 0;
    for (uint32_t i = 0; i < source->pages; i++) {
        const size_t at = i % RAM_SOURCE_CHUNK_PAGES;
        uint64_t content;
        if (at == 0)
            assert_int_equal(source->ops->read_chunk(source->context, i / RAM_SOURCE_CHUNK_PAGES,
                                                     buffer, present),
                             0);
        assert_true(present[at]);
        memcpy(&content, buffer + at * PAGE_SIZE_BYTES, sizeof(content));
        assert_true(content > 0 && holds_something(content - 1) && !seen[content - 1]);
        seen[content - 1] = true;
        assert_true(source->ops->read_pages(source->context, &i, 1, &to));
        assert_memory_equal(page, buffer + at * PAGE_SIZE_BYTES, PAGE_SIZE_BYTES);
        count++;
    }
    ram_source_free(source);
    free(buffer);
    return count;
}

static size_t all_of_it(void)
{
    size_t count = 0;
    for (uint64_t page = 0; page < PAGES; page++)
        count += holds_something(page);
    return count;
}

/* --- tests --- */

static void test_all_that_is_not_zero_is_kept(void **state)
{
    (void)state;
    struct guest guest = {.gate_fd = -1, .gone_from = ALL};
    struct kept_ram *kept = begin(&guest, ALL);
    kept_ram_finish(kept, DEADLINE_NEVER);
    kept_ram_put(kept); /* also waits for the thread's last chunk */
    assert_int_equal(guest.released, 1);
    guest = (struct guest){.gate_fd = -1, .gone_from = ALL};
    kept = begin(&guest, ALL);
    while (kept_ram_size(kept) < all_of_it() * PAGE_SIZE_BYTES)
        kept_ram_finish(kept, DEADLINE_NEVER); /* the thread may still hold a chunk */
    assert_int_equal(look_through(kept), all_of_it());
    kept_ram_put(kept);
}

static void test_the_thread_copies_by_itself(void **state)
{
    (void)state;
    struct guest guest = {.gate_fd = eventfd(0, EFD_CLOEXEC), .gone_from = ALL};
    struct kept_ram *kept = begin(&guest, ALL);
    assert_int_equal(kept_ram_size(kept), 0);
    fd_event_signal(guest.gate_fd); /* and stays open */
    while (kept_ram_size(kept) < all_of_it() * PAGE_SIZE_BYTES)
        sched_yield();
    assert_int_equal(look_through(kept), all_of_it());
    kept_ram_put(kept);
    close(guest.gate_fd);
}

static void test_a_deadline_ends_it_and_what_is_there_stays(void **state)
{
    (void)state;
    struct guest guest = {.gate_fd = eventfd(0, EFD_CLOEXEC), .gone_from = ALL};
    struct kept_ram *kept = begin(&guest, ALL);
    kept_ram_finish(kept, clock_now_ns() - 1); /* would wait for ever otherwise */
    fd_event_signal(guest.gate_fd);            /* the thread ends with the chunk that it has */
    struct ram_source *source = kept_ram_source(kept);
    assert_true(source->pages <= RAM_SOURCE_CHUNK_PAGES);
    ram_source_free(source);
    kept_ram_put(kept);
    assert_true(guest.reads <= 1);
    close(guest.gate_fd);
}

static void test_the_limit_holds(void **state)
{
    (void)state;
    struct guest guest = {.gate_fd = -1, .gone_from = ALL};
    struct kept_ram *kept = begin(&guest, 300 * PAGE_SIZE_BYTES);
    kept_ram_finish(kept, DEADLINE_NEVER);
    assert_in_range(kept_ram_size(kept), 0, 300 * PAGE_SIZE_BYTES);
    kept_ram_put(kept);
}

static void test_a_guest_that_ends_leaves_what_was_copied(void **state)
{
    (void)state;
    struct guest guest = {.gate_fd = -1, .gone_from = 1};
    struct kept_ram *kept = begin(&guest, ALL);
    kept_ram_finish(kept, DEADLINE_NEVER);
    assert_in_range(kept_ram_size(kept), 0, RAM_SOURCE_CHUNK_PAGES * PAGE_SIZE_BYTES);
    kept_ram_put(kept);
    assert_int_equal(guest.released, 1);
}

static void test_dropped_is_gone_for_those_who_have_it(void **state)
{
    (void)state;
    struct guest guest = {.gate_fd = -1, .gone_from = ALL};
    struct kept_ram *kept = begin(&guest, ALL);
    while (kept_ram_size(kept) < all_of_it() * PAGE_SIZE_BYTES)
        kept_ram_finish(kept, DEADLINE_NEVER);
    struct ram_source *source = kept_ram_source(kept);
    uint8_t page[PAGE_SIZE_BYTES], *to = page;
    assert_true(source->ops->read_pages(source->context, &(uint32_t){0}, 1, &to));
    kept_ram_drop(kept);
    bool present[RAM_SOURCE_CHUNK_PAGES];
    uint8_t *buffer = malloc((size_t)RAM_SOURCE_CHUNK_PAGES * PAGE_SIZE_BYTES);
    assert_false(source->ops->read_pages(source->context, &(uint32_t){0}, 1, &to));
    assert_int_equal(source->ops->read_chunk(source->context, 0, buffer, present), -1);
    kept_ram_put(kept); /* the source still has it */
    assert_false(source->ops->read_pages(source->context, &(uint32_t){0}, 1, &to));
    ram_source_free(source);
    assert_int_equal(guest.released, 1);
    free(buffer);
}

static void test_nothing_is_kept_after_a_drop(void **state)
{
    (void)state;
    struct guest guest = {.gate_fd = eventfd(0, EFD_CLOEXEC), .gone_from = ALL};
    struct kept_ram *kept = begin(&guest, ALL);
    kept_ram_drop(kept);
    fd_event_signal(guest.gate_fd); /* a chunk that was on its way */
    kept_ram_put(kept);
    assert_true(guest.reads <= 1);
    guest = (struct guest){.gate_fd = -1, .gone_from = ALL};
    kept = begin(&guest, ALL);
    kept_ram_drop(kept);
    uint64_t before = kept_ram_size(kept);
    kept_ram_finish(kept, DEADLINE_NEVER);
    assert_int_equal(kept_ram_size(kept), before);
    kept_ram_put(kept);
}

/* --- RAM itself --- */

/* As QEMU makes it: sealed, so that it cannot be cut off. Pages 0, 3, 6 .. are there, and zero; of
 * the others every fifth is a hole. */
static int make_file(void)
{
    int fd = memfd_create("memory-backend-memfd", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(ftruncate(fd, (off_t)PAGES * PAGE_SIZE_BYTES), 0);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL), 0);
    for (uint64_t page = 0; page < PAGES; page++) {
        uint8_t bytes[PAGE_SIZE_BYTES] = {0};
        const uint64_t content = page + 1;
        if (holds_something(page))
            memcpy(bytes, &content, sizeof(content));
        if (page % 3 == 0 || holds_something(page))
            assert_int_equal(pwrite(fd, bytes, sizeof(bytes), (off_t)(page * sizeof(bytes))),
                             sizeof(bytes));
    }
    return fd;
}

static struct kept_ram *adopt(int fd)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct kept_ram *kept = kept_ram_adopt(fd, &err);
    assert_ok(kept ? 0 : -1, err);
    return kept;
}

static void test_a_file_is_kept_as_it_is(void **state)
{
    (void)state;
    struct kept_ram *kept = adopt(make_file());
    struct ram_source *source = kept_ram_source(kept);
    assert_int_equal(source->pages, PAGES);
    bool present[RAM_SOURCE_CHUNK_PAGES];
    uint8_t *buffer = malloc((size_t)RAM_SOURCE_CHUNK_PAGES * PAGE_SIZE_BYTES);
    uint8_t page[PAGE_SIZE_BYTES], *to = page;
    uint64_t content, there = 0;
    for (uint32_t i = 0; i < PAGES; i++) {
        const size_t at = i % RAM_SOURCE_CHUNK_PAGES;
        if (at == 0)
            assert_int_equal(source->ops->read_chunk(source->context, i / RAM_SOURCE_CHUNK_PAGES,
                                                     buffer, present),
                             0);
        assert_int_equal(present[at], i % 3 == 0 || holds_something(i));
        there += present[at];
        assert_true(source->ops->read_pages(source->context, &i, 1, &to));
        memcpy(&content, page, sizeof(content));
        assert_int_equal(content, holds_something(i) ? i + 1 : 0);
        if (present[at])
            assert_memory_equal(page, buffer + at * PAGE_SIZE_BYTES, PAGE_SIZE_BYTES);
    }
    assert_false(present[PAGES % RAM_SOURCE_CHUNK_PAGES]); /* behind the end of RAM */
    assert_int_equal(kept_ram_size(kept), there * PAGE_SIZE_BYTES);
    ram_source_free(source);
    kept_ram_put(kept);
    free(buffer);
}

static void test_a_files_memory_is_given_back(void **state)
{
    (void)state;
    struct kept_ram *kept = adopt(make_file());
    struct ram_source *source = kept_ram_source(kept);
    uint8_t page[PAGE_SIZE_BYTES] = {1}, *to = page;
    bool present[RAM_SOURCE_CHUNK_PAGES];
    uint8_t *buffer = malloc((size_t)RAM_SOURCE_CHUNK_PAGES * PAGE_SIZE_BYTES);
    kept_ram_drop(kept);
    assert_int_equal(kept_ram_size(kept), 0);
    assert_true(source->ops->read_pages(source->context, &(uint32_t){1}, 1, &to));
    assert_true(page_is_zero(page));
    assert_int_equal(source->ops->read_chunk(source->context, 0, buffer, present), 0);
    for (size_t i = 0; i < RAM_SOURCE_CHUNK_PAGES; i++)
        assert_false(present[i]);
    kept_ram_put(kept); /* the source still has it */
    assert_true(source->ops->read_pages(source->context, &(uint32_t){1}, 1, &to));
    ram_source_free(source);
    free(buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_that_is_not_zero_is_kept),
        cmocka_unit_test(test_the_thread_copies_by_itself),
        cmocka_unit_test(test_a_deadline_ends_it_and_what_is_there_stays),
        cmocka_unit_test(test_the_limit_holds),
        cmocka_unit_test(test_a_guest_that_ends_leaves_what_was_copied),
        cmocka_unit_test(test_dropped_is_gone_for_those_who_have_it),
        cmocka_unit_test(test_nothing_is_kept_after_a_drop),
        cmocka_unit_test(test_a_file_is_kept_as_it_is),
        cmocka_unit_test(test_a_files_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
