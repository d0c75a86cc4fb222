/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of when a link counts as scarce. */
#include "base/test.h"

#include "base/clock.h"
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

static void test_more_is_under_way_while_the_end_is_far(void **state)
{
    (void)state;
    const struct link_status gigabit = {.rate = 119000000, .rtt_ns = 200 * NS_PER_US};
    const struct link_status fast = {.rate = 1190000000, .rtt_ns = 200 * NS_PER_US};
    const struct link_status slow = {.rate = 1000000, .rtt_ns = 200 * NS_PER_US};
    assert_true(relay_pace_under_way(&gigabit, true) > 3 * relay_pace_under_way(&gigabit, false));
    assert_int_equal(relay_pace_under_way(&fast, true), relay_pace_under_way(&fast, false));
    assert_int_equal(relay_pace_under_way(&slow, true), relay_pace_under_way(&slow, false));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_slow_link_is_scarce_at_once),
        cmocka_unit_test(test_a_moment_is_none),
        cmocka_unit_test(test_a_link_that_became_slow_is_scarce_before_long),
        cmocka_unit_test(test_more_is_under_way_while_the_end_is_far),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
