/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of the keeper: what it keeps, for whom, and when it lets go. */
#include "base/test.h"

#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "migrate/keeper.h"
#include "stream/page_hash.h"

#define PAGES 64
#define SIZE  ((uint64_t)PAGES * PAGE_SIZE_BYTES)

/* RAM whose every page holds one byte. */
static int ram_read_chunk(void *context, size_t chunk, uint8_t *buffer,
                          bool present[RAM_SOURCE_CHUNK_PAGES])
{
    assert_int_equal(chunk, 0);
    memset(buffer, *(char *)context, SIZE);
    for (size_t i = 0; i < RAM_SOURCE_CHUNK_PAGES; i++)
        present[i] = i < PAGES;
    return 0;
}

static void ram_release(void *context)
{
    free(context);
}

static struct ram_source *ram_of(char content)
{
    static const struct ram_source_ops ops = {.read_chunk = ram_read_chunk, .release = ram_release};
    struct ram_source *source = malloc(sizeof(*source));
    char *context = malloc(1);
    assert_true(source && context);
    *context = content;
    *source = (struct ram_source){.ops = &ops, .context = context, .pages = PAGES};
    return source;
}

static struct domain vm_of(const char *name, const char *group)
{
    struct domain vm = {.name = (char *)name, .group = (char *)group};
    snprintf(vm.uuid, sizeof(vm.uuid), "uuid of %s", name);
    return vm;
}

static struct keeper *keeper_with(uint64_t limit, int64_t keep_ms, int pressure_fd)
{
    CLEANUP_ERROR struct error *err = NULL;
    const struct keeper_options options = {
        .limit = limit, .keep_ms = keep_ms, .pressure_fd = pressure_fd};
    struct keeper *keeper = keeper_new(&options, &err);
    assert_ok(keeper ? 0 : -1, err);
    return keeper;
}

/* The whole of it, also what the other thread has in hand. */
static void finish(struct keeper *keeper, struct kept_ram *ram)
{
    while (kept_ram_size(ram) < SIZE)
        sched_yield();
    keeper_finish(keeper, ram, DEADLINE_NEVER);
}

static void leave(struct keeper *keeper, const char *name, const char *group)
{
    const struct domain vm = vm_of(name, group);
    struct kept_ram *ram = keeper_begin(keeper, &vm, SIZE, ram_of(name[0]));
    assert_non_null(ram);
    finish(keeper, ram);
}

/* The first letters of the VMs whose RAM a VM that arrives would get. */
static void assert_sources(struct keeper *keeper, const char *name, const char *group, bool shares,
                           const char *expected)
{
    const struct domain vm = vm_of(name, group);
    struct ram_source *sources[8];
    const size_t n = keeper_sources(keeper, &vm, shares, sources, 8);
    char found[9] = "";
    for (size_t i = 0; i < n; i++) {
        uint8_t page[PAGE_SIZE_BYTES] = {0}, *to = page;
        assert_true(sources[i]->ops->read_pages(sources[i]->context, &(uint32_t){0}, 1, &to));
        found[i] = (char)page[0];
        ram_source_free(sources[i]);
    }
    assert_string_equal(found, expected);
}

static size_t count_described(struct keeper *keeper)
{
    CLEANUP_JSON json_t *list = keeper_describe(keeper);
    return json_array_size(list);
}

static void test_own_ram_comes_first_then_the_group(void **state)
{
    (void)state;
    struct keeper *keeper = keeper_with(SIZE * 10, 60000, -1);
    leave(keeper, "a", "web");
    leave(keeper, "b", "web");
    leave(keeper, "c", "mail");
    leave(keeper, "d", NULL);
    assert_sources(keeper, "b", "web", true, "ba");
    assert_sources(keeper, "b", "web", false, "b");
    assert_sources(keeper, "x", "web", true, "ab");
    assert_sources(keeper, "x", NULL, true, ""); /* no group is not a group */
    assert_sources(keeper, "d", NULL, true, "d");
    assert_int_equal(keeper_size(keeper), 4 * SIZE);
    CLEANUP_JSON json_t *list = keeper_describe(keeper);
    assert_string_equal(json_opt_string(json_array_get(list, 2), "vm", ""), "c");
    assert_int_equal(json_opt_int(json_array_get(list, 2), "bytes", 0), SIZE);
    keeper_free(keeper);
}

static void test_back_again_or_never_gone(void **state)
{
    (void)state;
    struct keeper *keeper = keeper_with(SIZE * 10, 60000, -1);
    const struct domain stays = vm_of("s", NULL);
    leave(keeper, "a", NULL);
    keeper_forget(keeper, "UUID of a");
    assert_sources(keeper, "a", NULL, false, "");
    struct kept_ram *ram = keeper_begin(keeper, &stays, SIZE, ram_of('s'));
    assert_sources(keeper, "s", NULL, false, ""); /* it has not left yet */
    assert_int_equal(count_described(keeper), 0);
    keeper_cancel(keeper, ram);
    keeper_cancel(keeper, NULL);
    assert_int_equal(keeper_size(keeper), 0);
    keeper_free(keeper);
}

static void test_the_newer_copy_replaces_the_older(void **state)
{
    (void)state;
    struct keeper *keeper = keeper_with(SIZE * 10, 60000, -1);
    leave(keeper, "a", NULL);
    leave(keeper, "a", NULL);
    assert_int_equal(count_described(keeper), 1);
    keeper_free(keeper);
}

static void test_the_limit_drops_the_oldest(void **state)
{
    (void)state;
    struct keeper *keeper = keeper_with(SIZE * 2, 60000, -1);
    const struct domain large = vm_of("l", NULL);
    leave(keeper, "a", NULL);
    leave(keeper, "b", NULL);
    leave(keeper, "c", NULL);
    assert_sources(keeper, "a", NULL, false, "");
    assert_sources(keeper, "b", NULL, false, "b");
    assert_sources(keeper, "c", NULL, false, "c");
    assert_null(keeper_begin(keeper, &large, SIZE * 2 + 1, ram_of('l')));
    assert_int_equal(count_described(keeper), 2); /* in vain: nothing else goes */
    keeper_free(keeper);
    keeper = keeper_with(0, 60000, -1); /* as when it is switched off */
    assert_null(keeper_begin(keeper, &large, SIZE, ram_of('l')));
    keeper_free(keeper);
}

static void test_it_goes_after_a_time(void **state)
{
    (void)state;
    struct keeper *keeper = keeper_with(SIZE * 2, 1, -1);
    leave(keeper, "a", NULL);
    leave(keeper, "b", NULL);
    while (keeper_size(keeper))
        sched_yield();
    assert_sources(keeper, "a", NULL, false, "");
    keeper_free(keeper);
}

static void test_vms_that_need_memory_get_it(void **state)
{
    (void)state;
    struct keeper *keeper = keeper_with(SIZE * 10, 60000, -1);
    leave(keeper, "a", NULL);
    leave(keeper, "b", NULL);
    keeper_make_room(keeper, 1, "uuid of a");
    assert_int_equal(count_described(keeper), 2); /* there is enough */
    keeper_make_room(keeper, UINT64_MAX, "uuid of a");
    assert_int_equal(keeper_size(keeper), 0);
    keeper_free(keeper);
}

/* Shared memory in which `pages` pages hold one byte. */
static int file_of(char content, size_t pages)
{
    uint8_t page[PAGE_SIZE_BYTES];
    memset(page, content, sizeof(page));
    int fd = memfd_create("memory-backend-memfd", MFD_CLOEXEC);
    assert_int_equal(ftruncate(fd, (off_t)SIZE), 0);
    for (size_t i = 0; i < pages; i++)
        assert_int_equal(pwrite(fd, page, sizeof(page), (off_t)(i * sizeof(page))), sizeof(page));
    return fd;
}

static void leave_in_file(struct keeper *keeper, const char *name, const char *group, size_t pages)
{
    const struct domain vm = vm_of(name, group);
    keeper_adopt(keeper, &vm, file_of(name[0], pages));
}

static void test_shared_memory_is_kept_like_copies(void **state)
{
    (void)state;
    struct keeper *keeper = keeper_with(SIZE * 2, 60000, -1);
    leave_in_file(keeper, "a", "web", PAGES / 2);
    leave(keeper, "b", "web");
    assert_sources(keeper, "a", "web", true, "ab");
    assert_int_equal(keeper_size(keeper), SIZE + SIZE / 2); /* what is in memory counts */
    leave_in_file(keeper, "a", "web", PAGES);               /* the newer one */
    assert_int_equal(keeper_size(keeper), SIZE * 2);
    leave_in_file(keeper, "c", NULL, 1); /* the oldest goes */
    assert_sources(keeper, "b", NULL, false, "");
    assert_sources(keeper, "a", NULL, false, "a");
    assert_int_equal(count_described(keeper), 2);
    keeper_forget(keeper, "uuid of a");
    assert_int_equal(keeper_size(keeper), PAGE_SIZE_BYTES);
    keeper_make_room(keeper, UINT64_MAX, NULL);
    assert_int_equal(keeper_size(keeper), 0);
    keeper_free(keeper);
    keeper = keeper_with(SIZE / 2, 60000, -1);
    leave_in_file(keeper, "a", NULL, PAGES); /* too large */
    assert_int_equal(count_described(keeper), 0);
    keeper_free(keeper);
}

/* A stand-in for /proc/pressure/memory: urgent data of a TCP connection is POLLPRI, too. */
struct pressure {
    int fd, other;
};

static struct pressure pressure_stand_in(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    struct pressure pressure = {.other = socket(AF_INET, SOCK_STREAM, 0)};
    int listening = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(listening, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(listening, 1), 0);
    assert_int_equal(getsockname(listening, (struct sockaddr *)&address, &size), 0);
    assert_int_equal(connect(pressure.other, (struct sockaddr *)&address, size), 0);
    pressure.fd = accept(listening, NULL, NULL);
    assert_true(pressure.fd >= 0);
    close(listening);
    return pressure;
}

static void test_pressure_ends_it(void **state)
{
    (void)state;
    struct pressure pressure = pressure_stand_in();
    struct keeper *keeper = keeper_with(SIZE * 10, 60000, pressure.fd);
    const struct domain leaving = vm_of("l", NULL);
    leave(keeper, "a", NULL);
    struct kept_ram *ram = keeper_begin(keeper, &leaving, SIZE, ram_of('l'));
    assert_non_null(ram);
    assert_int_equal(send(pressure.other, "!", 1, MSG_OOB), 1);
    while (keeper_size(keeper))
        sched_yield();
    keeper_finish(keeper, ram, DEADLINE_NEVER); /* too late: it is not kept */
    assert_int_equal(count_described(keeper), 0);
    close(pressure.other);
    keeper_free(keeper);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own_ram_comes_first_then_the_group),
        cmocka_unit_test(test_back_again_or_never_gone),
        cmocka_unit_test(test_the_newer_copy_replaces_the_older),
        cmocka_unit_test(test_the_limit_drops_the_oldest),
        cmocka_unit_test(test_it_goes_after_a_time),
        cmocka_unit_test(test_vms_that_need_memory_get_it),
        cmocka_unit_test(test_shared_memory_is_kept_like_copies),
        cmocka_unit_test(test_pressure_ends_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
