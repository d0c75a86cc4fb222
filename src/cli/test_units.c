/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of durations and rates. */
#include "base/test.h"

#include "cli/units.h"

static void test_durations_read_well(void **state)
{
    (void)state;
    char buffer[UNITS_DURATION_MAX];
    assert_string_equal(units_duration(0, buffer), "0 ms");
    assert_string_equal(units_duration(999, buffer), "999 ms");
    assert_string_equal(units_duration(6219, buffer), "6.21 s");
    assert_string_equal(units_duration(60000, buffer), "1 min 0 s");
    assert_string_equal(units_duration(3900000, buffer), "1 h 5 min");
    assert_string_equal(units_duration(-5, buffer), "0 ms");
}

static void test_rates_have_units(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t bytes;
    } good[] = {
        {"100", INT64_C(100) << 20}, {"1.5G", INT64_C(3) << 29}, {"512KiB/s", 512 << 10},
        {"100mib/s", 100 << 20},     {"800Mbit", 100000000},     {"10Gbit/s", 1250000000},
        {"1T", INT64_C(1) << 40},    {"4096B/s", 4096},          {"0.5", 1 << 19},
    };
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        CLEANUP_ERROR struct error *err = NULL;
        int64_t bytes = 0;
        assert_ok(units_parse_rate(good[i].text, &bytes, &err), err);
        assert_int_equal(bytes, good[i].bytes);
    }
}

static void test_what_is_no_rate_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "0",
                                      "-1",
                                      "M",
                                      "1e3",
                                      "inf",
                                      "0x10",
                                      "1.",
                                      ".5",
                                      "1 M",
                                      " 1",
                                      "1M/h",
                                      "/s",
                                      "1X",
                                      "1,5M",
                                      "0.1B",
                                      "99999999999999999999T"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        CLEANUP_ERROR struct error *err = NULL;
        int64_t bytes = 77;
        assert_int_equal(units_parse_rate(bad[i], &bytes, &err), -1);
        assert_int_equal(err->kind, ERROR_INVALID);
        assert_int_equal(bytes, 77);
    }
}

static void test_sizes(void **state)
{
    (void)state;
    int64_t bytes = 0;
    assert_int_equal(units_parse_size("512", &bytes, NULL), 0);
    assert_int_equal(bytes, INT64_C(512) << 20);
    assert_int_equal(units_parse_size("1.5GiB", &bytes, NULL), 0);
    assert_int_equal(bytes, INT64_C(3) << 29);
    assert_int_equal(units_parse_size("100B", &bytes, NULL), 0);
    assert_int_equal(bytes, 100);
    assert_int_equal(units_parse_size("1M/s", &bytes, NULL), -1);
    assert_int_equal(units_parse_size("800Mbit", &bytes, NULL), -1);
    assert_int_equal(units_parse_size("", &bytes, NULL), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_durations_read_well),
        cmocka_unit_test(test_rates_have_units),
        cmocka_unit_test(test_what_is_no_rate_is_refused),
        cmocka_unit_test(test_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
