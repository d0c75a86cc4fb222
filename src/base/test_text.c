/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of text helpers. */
#include "base/test.h"

#include <string.h>

#include "base/text.h"

static void test_numbers_are_whole_and_in_range(void **state)
{
    (void)state;
    int64_t value = 0;
    assert_int_equal(text_parse_int("42", 0, 100, &value, NULL), 0);
    assert_int_equal(value, 42);
    static const char *const bad[] = {"", "4x", " 4", "+4", "101", "-1", "99999999999999999999"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(text_parse_int(bad[i], 0, 100, &value, NULL), -1);
}

static void test_sizes_read_well(void **state)
{
    (void)state;
    char buffer[TEXT_SIZE_MAX];
    assert_string_equal(text_size(0, "", buffer), "0 B");
    assert_string_equal(text_size(1536, "", buffer), "1.5 KiB");
    assert_string_equal(text_size(UINT64_C(1) << 30, "/s", buffer), "1.0 GiB/s");
}

static void test_hex_there_and_back(void **state)
{
    (void)state;
    const uint8_t bytes[3] = {0x00, 0xaf, 0xff};
    uint8_t back[3];
    char hex[7];
    text_hex(bytes, 3, hex);
    assert_string_equal(hex, "00afff");
    assert_int_equal(text_unhex("00AFff", back, 3, NULL), 0);
    assert_memory_equal(back, bytes, 3);
    assert_int_equal(text_unhex("00AFf", back, 3, NULL), -1);
    assert_int_equal(text_unhex("00AFfg", back, 3, NULL), -1);
}

static void test_text_grows(void **state)
{
    (void)state;
    CLEANUP_TEXT struct text text = {0};
    for (int i = 0; i < 1000; i++)
        text_append(&text, "%03d", i);
    assert_int_equal(text.length, 3000);
    assert_string_equal(text.data + 2997, "999");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_are_whole_and_in_range),
        cmocka_unit_test(test_sizes_read_well),
        cmocka_unit_test(test_hex_there_and_back),
        cmocka_unit_test(test_text_grows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
