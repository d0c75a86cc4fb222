/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of the exception for kvmclock: the measured case, and everything next to it. */
#include "base/test.h"

#include <string.h>

#include "migrate/kvmclock.h"

#define AT 0xc20

/* Measured, docs/ram-digest.md. */
static const uint8_t clock_before[KVMCLOCK_SIZE] = {
    0x04, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x9b, 0xe1, 0x8c, 0xab, 0xf8, 0x0a, 0x00, 0x00,
    0x8f, 0x90, 0x62, 0x02, 0x00, 0x00, 0x00, 0x00, 0x14, 0x39, 0x37, 0xc5, 0xff, 0x01, 0x00, 0x00};

struct pages {
    uint8_t source[4096], destination[4096];
    unsigned clocks;
};

static void make(struct pages *pages)
{
    memset(pages, 0, sizeof(*pages));
    memcpy(pages->source + AT, clock_before, KVMCLOCK_SIZE);
    memcpy(pages->destination + AT, clock_before, KVMCLOCK_SIZE);
    pages->destination[AT] = 6;
    pages->destination[AT + 29] = 0;
}

static bool explained(struct pages *pages)
{
    pages->clocks = 0;
    return kvmclock_explains(pages->source, pages->destination, sizeof(pages->source),
                             &pages->clocks);
}

static void test_the_measured_case_is_explained(void **state)
{
    (void)state;
    struct pages pages;
    make(&pages);
    assert_true(explained(&pages));
    assert_int_equal(pages.clocks, 1);
}

static void test_version_carries(void **state)
{
    (void)state;
    struct pages pages;
    make(&pages);
    memcpy(pages.source + AT, (uint8_t[]){0xfe, 0xff, 0, 0}, 4);
    memcpy(pages.destination + AT, (uint8_t[]){0x00, 0x00, 1, 0}, 4);
    assert_true(explained(&pages));
}

/* Every other byte of the page, and every other value of the two that may differ. */
static void test_nothing_beside_it_is_explained(void **state)
{
    (void)state;
    struct pages pages;
    for (size_t at = 0; at < sizeof(pages.source); at++) {
        make(&pages);
        pages.destination[at] ^= 0x10;
        if (explained(&pages))
            fail_msg("a change of byte %zu passes", at);
    }
    for (unsigned version = 0; version < 256; version++) {
        make(&pages);
        pages.destination[AT] = (uint8_t)version;
        assert_int_equal(explained(&pages), version == 6);
    }
    for (unsigned flags = 1; flags < 256; flags++) {
        make(&pages);
        pages.destination[AT + 29] = (uint8_t)flags;
        assert_false(explained(&pages));
    }
}

static void test_what_is_no_clock_is_not_explained(void **state)
{
    (void)state;
    static const struct {
        size_t byte;
        uint8_t value;
    } broken[] = {{0, 5}, {4, 1}, {27, 0x7f}, {28, 32}, {29, 4}, {30, 1}, {31, 1}};
    for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
        struct pages pages;
        make(&pages);
        pages.source[AT + broken[i].byte] = broken[i].value;
        if (broken[i].byte)
            pages.destination[AT + broken[i].byte] = broken[i].byte == 29 ? 4 : broken[i].value;
        else
            pages.destination[AT] = 7;
        if (explained(&pages))
            fail_msg("byte %zu = %u passes", broken[i].byte, broken[i].value);
    }
}

static void test_two_clocks_count_two_and_the_edge_none(void **state)
{
    (void)state;
    struct pages pages;
    make(&pages);
    memcpy(pages.source + 64, pages.source + AT, KVMCLOCK_SIZE);
    memcpy(pages.destination + 64, pages.destination + AT, KVMCLOCK_SIZE);
    assert_true(explained(&pages));
    assert_int_equal(pages.clocks, 2);
    memset(&pages, 0, sizeof(pages));
    memcpy(pages.source + 4080, clock_before, 16);
    memcpy(pages.destination + 4080, clock_before, 16);
    pages.destination[4080] = 6;
    assert_false(explained(&pages));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_measured_case_is_explained),
        cmocka_unit_test(test_version_carries),
        cmocka_unit_test(test_nothing_beside_it_is_explained),
        cmocka_unit_test(test_what_is_no_clock_is_not_explained),
        cmocka_unit_test(test_two_clocks_count_two_and_the_edge_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
