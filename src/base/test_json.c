/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of the JSON helpers. */
#include "base/test.h"

#include <string.h>

#include "base/json.h"

static void test_members_are_checked_by_name_and_type(void **state)
{
    (void)state;
    const char *text = "{\"s\":\"x\",\"i\":7,\"b\":true}";
    CLEANUP_JSON json_t *object = json_parse(text, strlen(text), NULL);
    struct error *err = NULL;
    int64_t number = 0;
    assert_ok(json_need_int(object, "i", &number, &err), err);
    assert_int_equal(number, 7);
    assert_int_equal(json_need_int(object, "s", &number, &err), -1);
    assert_string_equal(err->message, "member 's' is not an integer");
    error_free(err);
    err = NULL;
    assert_int_equal(json_need_int(object, "none", &number, &err), -1);
    assert_string_equal(err->message, "member 'none' is missing");
    error_free(err);
    assert_int_equal(json_opt_int(object, "s", 3), 3);
    assert_true(json_opt_bool(object, "b", false));
}

static void test_duplicates_and_garbage_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"{\"a\":1,\"a\":2}", "{", "", "{} x", "[1,]"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        CLEANUP_ERROR struct error *err = NULL;
        assert_null(json_parse(bad[i], strlen(bad[i]), &err));
        assert_int_equal(err->kind, ERROR_INVALID);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_members_are_checked_by_name_and_type),
        cmocka_unit_test(test_duplicates_and_garbage_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
