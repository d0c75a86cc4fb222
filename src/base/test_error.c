/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of error objects. */
#include "base/test.h"

#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"

static void test_message_grows_from_the_inside_out(void **state)
{
    (void)state;
    CLEANUP_ERROR struct error *err = NULL;
    assert_int_equal(error_errno(&err, ENOENT, "disk %s", "a.img"), -1);
    error_prefix(&err, "VM %s", "web");
    error_hint(&err, "make %s", "it");
    assert_string_equal(err->message, "VM web: disk a.img: No such file or directory");
    assert_string_equal(err->hint, "make it");
    assert_int_equal(err->sys_errno, ENOENT);
}

static void test_first_error_wins(void **state)
{
    (void)state;
    CLEANUP_ERROR struct error *err = NULL;
    error_set(&err, ERROR_STATE, "one");
    error_set(&err, ERROR_QEMU, "two");
    assert_string_equal(err->message, "one");
    struct error *other = NULL;
    error_set(&other, ERROR_QEMU, "three");
    error_move(&err, other);
    assert_string_equal(err->message, "one");
}

static void test_a_copy_has_all_of_it(void **state)
{
    (void)state;
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_ERROR struct error *copy = NULL;
    error_errno(&err, ENOENT, "100%% of %s", "it");
    error_hint(&err, "50%% more");
    assert_int_equal(error_copy(&copy, err), -1);
    assert_int_equal(copy->kind, err->kind);
    assert_int_equal(copy->sys_errno, ENOENT);
    assert_string_equal(copy->message, err->message);
    assert_string_equal(copy->hint, "50% more");
    CLEANUP_ERROR struct error *other = NULL;
    error_set(&other, ERROR_QEMU, "two");
    assert_int_equal(error_copy(&copy, other), -1);
    assert_int_equal(copy->kind, err->kind);
    assert_int_equal(error_copy(NULL, err), -1);
}

static void test_null_is_allowed(void **state)
{
    (void)state;
    assert_int_equal(error_set(NULL, ERROR_STATE, "x"), -1);
    assert_int_equal(error_prefix(NULL, "x"), -1);
    struct error *err = NULL;
    assert_int_equal(error_hint(&err, "x"), -1);
    assert_null(err);
}

static void test_every_kind_survives_json(void **state)
{
    (void)state;
    for (int kind = ERROR_INVALID; kind <= ERROR_INTERNAL; kind++) {
        CLEANUP_ERROR struct error *err = NULL, *back = NULL;
        error_set(&err, (enum error_kind)kind, "message %d", kind);
        error_hint(&err, "hint");
        CLEANUP_JSON json_t *object = json_from_error(err);
        json_to_error(object, &back);
        assert_int_equal(back->kind, kind);
        assert_string_equal(back->message, err->message);
        assert_string_equal(back->hint, "hint");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_message_grows_from_the_inside_out),
        cmocka_unit_test(test_first_error_wins),
        cmocka_unit_test(test_a_copy_has_all_of_it),
        cmocka_unit_test(test_null_is_allowed),
        cmocka_unit_test(test_every_kind_survives_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
