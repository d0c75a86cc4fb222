/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of when a link counts as scarce. */
#include "base/test.h"

#include "migrate/relay_pace.h"

static void test_a_slow_link_is_scarce_at_once(void **state)
{
    (void)state;
    struct relay_pace pace;
    relay_pace_begin(&pace);
    assert_false(relay_pace_judge(&pace, true, 0)); /* nothing came through: no rate */
    assert_true(relay_pace_judge(&pace, true, 119e6));
    assert_true(relay_pace_judge(&pace, true, 100e6));
    assert_false(relay_pace_judge(&pace, false, 110e6));
}

static void test_a_moment_is_none(void **state)
{
    (void)state;
    struct relay_pace pace;
    relay_pace_begin(&pace);
    for (unsigned moment = 0; moment < 3; moment++) {
        assert_false(relay_pace_judge(&pace, false, 578e6));
        assert_false(relay_pace_judge(&pace, true, 0));
        assert_false(relay_pace_judge(&pace, true, 229e6));
    }
}

static void test_a_link_that_became_slow_is_scarce_before_long(void **state)
{
    (void)state;
    struct relay_pace pace;
    relay_pace_begin(&pace);
    assert_false(relay_pace_judge(&pace, false, 578e6));
    unsigned waits = 1;
    while (!relay_pace_judge(&pace, true, 119e6))
        waits++;
    assert_in_range(waits, 3, 10); /* of 20 ms */
    assert_true(relay_pace_judge(&pace, true, 119e6));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_slow_link_is_scarce_at_once),
        cmocka_unit_test(test_a_moment_is_none),
        cmocka_unit_test(test_a_link_that_became_slow_is_scarce_before_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
