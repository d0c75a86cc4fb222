/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of the estimate of what a guest writes. */
#include "base/test.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "migrate/write_rate.h"
#include "stream/ram_record.h"

#define PAGES 40000

struct memory {
    uint8_t *bytes;
    bool gone;
};

static bool read_pages(void *context, const uint32_t *pages, size_t n, uint8_t *const *to)
{
    const struct memory *memory = context;
    for (size_t i = 0; i < n && !memory->gone; i++) {
        assert_true(pages[i] < PAGES);
        memcpy(to[i], memory->bytes + (size_t)pages[i] * RAM_PAGE_SIZE, RAM_PAGE_SIZE);
    }
    return !memory->gone;
}

static void test_estimates(void **state)
{
    static const struct ram_source_ops ops = {.read_pages = read_pages};
    struct memory memory = {.bytes = calloc(PAGES, RAM_PAGE_SIZE)};
    const struct ram_source ram = {.ops = &ops, .context = &memory, .pages = PAGES};
    struct write_rate *rate = calloc(1, sizeof(*rate));
    CLEANUP_ERROR struct error *err = NULL;
    const int64_t look_ns = WRITE_RATE_MS * NS_PER_MS;
    unsigned permille = 1;
    (void)state;
    assert_ok(write_rate_begin(rate, &ram, 0, &err), err);
    assert_int_equal(rate->next_ns, look_ns);
    assert_ok(write_rate_look(rate, &ram, look_ns, &permille, &err), err);
    assert_int_equal(permille, 0);
    assert_int_equal(rate->next_ns, 2 * look_ns);
    for (size_t page = PAGES / 4; page < PAGES / 2; page++) /* one byte in each of a quarter */
        memory.bytes[page * RAM_PAGE_SIZE + page % RAM_PAGE_SIZE]++;
    assert_ok(write_rate_look(rate, &ram, 2 * look_ns, &permille, &err), err);
    assert_in_range(permille, 124, 126); /* it did nothing in the first half of the time */
    assert_int_equal(rate->next_ns, 4 * look_ns);
    memory.gone = true;
    assert_int_equal(write_rate_look(rate, &ram, 4 * look_ns, &permille, &err), -1);
    free(rate);
    free(memory.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_estimates)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
