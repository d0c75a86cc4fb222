/* SPDX-License-Identifier: Apache-2.0 */
/* Deltas: applied they give the new page; hostile ones change nothing outside of it. */
#include "base/test.h"

#include <string.h>

#include "stream/delta.h"
#include "stream/engine_testing.h"

static void check(const uint8_t *old, const uint8_t *new, const uint8_t *delta, size_t size)
{
    uint8_t page[RAM_PAGE_SIZE];
    struct control_reader reader = {delta, delta + size};
    memcpy(page, old, sizeof(page));
    assert_true(delta_apply(&reader, page));
    assert_ptr_equal(reader.at, delta + size);
    assert_memory_equal(page, new, sizeof(page));
}

static void test_random_changes(void **test_state)
{
    (void)test_state;
    uint8_t old[RAM_PAGE_SIZE], new[RAM_PAGE_SIZE], delta[DELTA_SIZE_MAX];
    uint64_t state = 4711;
    unsigned made = 0;
    for (unsigned i = 0; i < sizeof(old); i++)
        old[i] = (uint8_t)made_random(&state);
    for (unsigned run = 0; run < 3000; run++) {
        memcpy(new, old, sizeof(new));
        for (uint64_t left = made_random(&state) % 500; left; left--) {
            size_t at = made_random(&state) % sizeof(new);
            size_t length = made_random(&state) % 16;
            for (size_t j = at; j < at + length && j < sizeof(new); j++)
                new[j] ^= (uint8_t)made_random(&state);
        }
        size_t size = delta_make(old, new, delta);
        assert_true(size <= sizeof(delta));
        made += size > 0;
        if (size)
            check(old, new, delta, size);
    }
    assert_in_range(made, 1000, 2999); /* both small ones and some that are too large */
}

static void test_edges(void **state)
{
    (void)state;
    uint8_t old[RAM_PAGE_SIZE] = {0}, new[RAM_PAGE_SIZE] = {0}, delta[DELTA_SIZE_MAX];
    size_t size = delta_make(old, new, delta);
    assert_int_equal(size, 2);
    check(old, new, delta, size);
    new[0] = new[RAM_PAGE_SIZE - 1] = 1;
    size = delta_make(old, new, delta);
    assert_in_range(size, 8, 12);
    check(old, new, delta, size);
    memset(new, 1, sizeof(new));
    assert_int_equal(delta_make(old, new, delta), 0);
}

static void test_hostile(void **test_state)
{
    (void)test_state;
    struct {
        uint8_t page[RAM_PAGE_SIZE], guard[64];
    } room = {{0}, {0}};
    static const uint8_t beyond[] = {0xff, 0x03, 2, 1, 1, 1, 1}; /* 511 words stay, 2 change */
    static const uint8_t skip[] = {0x81, 0x04, 0};               /* 513 words stay */
    static const uint8_t cut[] = {0, 1, 0xff, 1, 2, 3};          /* 8 bytes change, 3 come */
    static const uint8_t no_end[] = {0, 1, 1, 1};                /* nothing behind a run */
    static const uint8_t end_skips[] = {1, 0};                   /* an end is 0, 0 */
    static const struct {
        const uint8_t *bytes;
        size_t size;
    } cases[] = {{beyond, sizeof(beyond)},
                 {skip, sizeof(skip)},
                 {cut, sizeof(cut)},
                 {no_end, sizeof(no_end)},
                 {end_skips, sizeof(end_skips)}};
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct control_reader reader = {cases[i].bytes, cases[i].bytes + cases[i].size};
        assert_false(delta_apply(&reader, room.page));
    }
    uint64_t state = 1;
    for (unsigned run = 0; run < 100000; run++) {
        uint64_t bytes[4] = {made_random(&state), made_random(&state) & 0x0303030303030303,
                             made_random(&state), made_random(&state)};
        const uint8_t *at = (const uint8_t *)bytes;
        struct control_reader reader = {at, at + sizeof(bytes)};
        delta_apply(&reader, room.page);
        assert_true(reader.at <= reader.end);
    }
    for (size_t i = 0; i < sizeof(room.guard); i++)
        assert_int_equal(room.guard[i], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_changes),
        cmocka_unit_test(test_edges),
        cmocka_unit_test(test_hostile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
