/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of the filter of pages: what is in passes, little else does, a bad part is refused. */
#include "base/test.h"

#include <string.h>

#include "stream/page_filter.h"

#define LIMIT ((size_t)1 << 20)

/* Hashes of a real hasher, the same in each run. */
static uint8_t *make_hashes(uint32_t first, size_t n)
{
    static const struct page_hash_key key = {"the key of this test"};
    struct page_hasher *hasher = page_hasher_new(&key, NULL);
    uint8_t *hashes = malloc(n * PAGE_HASH_SIZE + 1), page[PAGE_SIZE_BYTES] = {0};
    assert_non_null(hasher);
    assert_non_null(hashes);
    for (size_t i = 0; i < n; i++) {
        uint32_t number = first + (uint32_t)i;
        memcpy(page, &number, sizeof(number));
        assert_true(page_hash(hasher, page, hashes + i * PAGE_HASH_SIZE));
    }
    page_hasher_free(hasher);
    return hashes;
}

static void take(struct page_filter *filter, const uint8_t *hashes, size_t n, bool last)
{
    CLEANUP_ERROR struct error *err = NULL;
    size_t size;
    CLEANUP_FREE uint8_t *part = page_filter_make(hashes, n, last, &size);
    assert_non_null(part);
    assert_ok(page_filter_take(filter, part, size, &err), err);
}

static void test_all_that_is_in_passes_and_little_else(void **state)
{
    (void)state;
    enum { FIRST = 5000, SECOND = 20000, FOREIGN = 100000 };
    CLEANUP_FREE uint8_t *hashes = make_hashes(0, FIRST + SECOND);
    CLEANUP_FREE uint8_t *foreign = make_hashes(FIRST + SECOND, FOREIGN);
    struct page_filter *filter = page_filter_new(LIMIT);
    take(filter, hashes, FIRST, false);
    assert_false(page_filter_complete(filter));
    assert_false(page_filter_empty(filter));
    take(filter, hashes + (size_t)FIRST * PAGE_HASH_SIZE, SECOND, false);
    take(filter, NULL, 0, true);
    assert_true(page_filter_complete(filter));
    for (size_t i = 0; i < FIRST + SECOND; i++)
        assert_true(page_filter_has(filter, hashes + i * PAGE_HASH_SIZE));
    unsigned passed = 0;
    for (size_t i = 0; i < FOREIGN; i++)
        passed += page_filter_has(filter, foreign + i * PAGE_HASH_SIZE);
    assert_in_range(passed, 1, FOREIGN * 4 / 100); /* two parts, about 1.3 % each */
    page_filter_free(filter);
}

static void test_an_empty_filter_lets_nothing_pass(void **state)
{
    (void)state;
    CLEANUP_FREE uint8_t *hashes = make_hashes(0, 100);
    struct page_filter *filter = page_filter_new(LIMIT);
    assert_true(page_filter_empty(filter));
    take(filter, NULL, 0, true);
    assert_true(page_filter_empty(filter));
    for (size_t i = 0; i < 100; i++)
        assert_false(page_filter_has(filter, hashes + i * PAGE_HASH_SIZE));
    page_filter_free(filter);
}

static void test_the_largest_part_is_taken(void **state)
{
    (void)state;
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_FREE uint8_t *hashes = calloc(PAGE_FILTER_PART_PAGES, PAGE_HASH_SIZE);
    size_t size;
    assert_non_null(hashes);
    CLEANUP_FREE uint8_t *part = page_filter_make(hashes, PAGE_FILTER_PART_PAGES, false, &size);
    assert_non_null(part);
    assert_int_equal(size, PAGE_FILTER_PART_MAX);
    struct page_filter *filter = page_filter_new(size);
    assert_ok(page_filter_take(filter, part, size, &err), err);
    page_filter_free(filter);
}

static void refused(struct page_filter *filter, const uint8_t *part, size_t size,
                    enum error_kind kind, const char *why)
{
    CLEANUP_ERROR struct error *err = NULL;
    assert_int_equal(page_filter_take(filter, part, size, &err), -1);
    assert_int_equal(err->kind, kind);
    assert_non_null(strstr(err->message, why));
}

static void test_parts_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    size_t size;
    CLEANUP_FREE uint8_t *hashes = make_hashes(0, 100);
    CLEANUP_FREE uint8_t *part = page_filter_make(hashes, 100, false, &size);
    struct page_filter *filter = page_filter_new(LIMIT);
    refused(filter, part, 7, ERROR_CORRUPT, "a part of 7 bytes");
    refused(filter, part, size - 1, ERROR_CORRUPT, "that says it has 2 lines");
    refused(filter, part, size - 64, ERROR_CORRUPT, "that says it has 2 lines");
    part[7] = 2;
    refused(filter, part, size, ERROR_CORRUPT, "flags 0x2");
    part[7] = 0;
    part[0] = 0xff; /* 4 billion lines */
    refused(filter, part, size, ERROR_CORRUPT, "lines");
    part[0] = 0;
    uint8_t nothing[PAGE_FILTER_HEADER_SIZE] = {0};
    refused(filter, nothing, sizeof(nothing), ERROR_CORRUPT, "0 lines");
    assert_int_equal(page_filter_take(filter, part, size, NULL), 0); /* it was good all the time */
    page_filter_free(filter);
}

static void test_a_filter_that_lets_everything_pass_is_refused(void **state)
{
    (void)state;
    size_t size;
    CLEANUP_FREE uint8_t *hashes = make_hashes(0, 100);
    CLEANUP_FREE uint8_t *part = page_filter_make(hashes, 100, false, &size);
    struct page_filter *filter = page_filter_new(LIMIT);
    memset(part + PAGE_FILTER_HEADER_SIZE, 0xff, size - PAGE_FILTER_HEADER_SIZE);
    refused(filter, part, size, ERROR_CORRUPT, "too many pages");
    page_filter_free(filter);
}

static void test_limits_hold(void **state)
{
    (void)state;
    size_t size;
    CLEANUP_FREE uint8_t *hashes = make_hashes(0, 100);
    CLEANUP_FREE uint8_t *part = page_filter_make(hashes, 100, false, &size);
    CLEANUP_FREE uint8_t *last = page_filter_make(hashes, 100, true, &size);
    struct page_filter *filter = page_filter_new(2 * size);
    assert_int_equal(page_filter_take(filter, part, size, NULL), 0);
    assert_int_equal(page_filter_take(filter, part, size, NULL), 0);
    refused(filter, part, size, ERROR_PEER, "larger than");
    page_filter_free(filter);
    filter = page_filter_new(LIMIT);
    assert_int_equal(page_filter_take(filter, last, size, NULL), 0);
    refused(filter, part, size, ERROR_CORRUPT, "after the last one");
    page_filter_free(filter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_that_is_in_passes_and_little_else),
        cmocka_unit_test(test_an_empty_filter_lets_nothing_pass),
        cmocka_unit_test(test_the_largest_part_is_taken),
        cmocka_unit_test(test_parts_that_do_not_fit_are_refused),
        cmocka_unit_test(test_a_filter_that_lets_everything_pass_is_refused),
        cmocka_unit_test(test_limits_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
