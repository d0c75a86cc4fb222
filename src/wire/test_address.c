/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of addresses as people write them. */
#include "base/test.h"

#include "wire/tls.h"

static void test_good_addresses_are_split(void **state)
{
    (void)state;
    static const struct {
        const char *text, *address;
        uint16_t port;
    } good[] = {
        {"host", "host", 7},
        {"host:1", "host", 1},
        {"a-b.example.org:65535", "a-b.example.org", 65535},
        {"10.0.0.1", "10.0.0.1", 7},
        {"10.0.0.1:0", "10.0.0.1", 0},
        {"*", "*", 7},
        {"*:7000", "*", 7000},
        {"::1", "::1", 7},
        {"[::1]", "::1", 7},
        {"[::1]:7000", "::1", 7000},
        {"[fe80::1%eth0]:7000", "fe80::1%eth0", 7000},
        {"2001:db8::7000", "2001:db8::7000", 7},
    };
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        CLEANUP_FREE char *address = NULL;
        uint16_t port = 0;
        CLEANUP_ERROR struct error *err = NULL;
        assert_ok(wire_parse_address(good[i].text, 7, &address, &port, &err), err);
        assert_string_equal(address, good[i].address);
        assert_int_equal(port, good[i].port);
    }
}

static void test_bad_addresses_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        ":7000",
        "host:",
        "host:65536",
        "host:-1",
        "host:+1",
        "host:1 ",
        "host:x",
        "ho st",
        "host/x",
        "host:1:2",
        "[::1",
        "[::1]x",
        "[::1]7000",
        "[host]:7000",
        "[]:7000",
        "[::1]:",
        "a*",
        "10.0.0.1:7000:7000",
        "[::1]:70000",
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        char *address = NULL;
        uint16_t port = 0;
        CLEANUP_ERROR struct error *err = NULL;
        assert_int_equal(wire_parse_address(bad[i], 7, &address, &port, &err), -1);
        assert_int_equal(err->kind, ERROR_INVALID);
        assert_non_null(err->hint);
        assert_null(address);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_addresses_are_split),
        cmocka_unit_test(test_bad_addresses_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
