/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of the convergence policy. */
#include "base/test.h"

#include "migrate/policy.h"

#define MIB (UINT64_C(1) << 20)

static void test_shrinking_rounds_leave_the_limit_alone(void **state)
{
    (void)state;
    struct policy policy;
    policy_init(&policy, 300);
    assert_int_equal(policy.limit_ms, POLICY_START_MS);
    for (int round = 1; round < 8; round++)
        assert_false(policy_look(&policy, round, (1024 * MIB) >> round));
    assert_int_equal(policy.limit_ms, POLICY_START_MS);
}

static void test_rounds_that_do_not_shrink_raise_it_to_the_maximum(void **state)
{
    (void)state;
    struct policy policy;
    policy_init(&policy, 10);
    int changes = 0;
    for (int round = 1; round < 20; round++)
        changes += policy_look(&policy, round, 400 * MIB);
    assert_int_equal(policy.limit_ms, 10);
    assert_int_equal(changes, 3); /* 2 -> 4 -> 8 -> 10 */
    assert_true(policy.exhausted);
}

static void test_short_rounds_raise_it_though_they_shrink(void **state)
{
    (void)state;
    struct policy policy;
    policy_init(&policy, 4);
    assert_false(policy_look(&policy, 4, 100 * MIB)); /* nothing is known of those before */
    assert_false(policy_look(&policy, 6, 50 * MIB));
    assert_true(policy_look(&policy, 9, 25 * MIB));
    assert_int_equal(policy.limit_ms, 4);
    assert_false(policy_look(&policy, 14, 10 * MIB));
    assert_false(policy.exhausted); /* it gets on */
}

static void test_one_round_counts_once(void **state)
{
    (void)state;
    struct policy policy;
    policy_init(&policy, 300);
    policy_look(&policy, 1, 100 * MIB);
    assert_true(policy_look(&policy, 2, 100 * MIB));
    assert_false(policy_look(&policy, 2, 100 * MIB));
    assert_false(policy_look(&policy, 2, 300 * MIB));
}

static void test_a_low_wish_is_the_start_and_the_end(void **state)
{
    (void)state;
    struct policy policy;
    policy_init(&policy, 1);
    for (int round = 1; round < 5; round++)
        assert_false(policy_look(&policy, round, 100 * MIB));
    assert_int_equal(policy.limit_ms, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shrinking_rounds_leave_the_limit_alone),
        cmocka_unit_test(test_rounds_that_do_not_shrink_raise_it_to_the_maximum),
        cmocka_unit_test(test_short_rounds_raise_it_though_they_shrink),
        cmocka_unit_test(test_one_round_counts_once),
        cmocka_unit_test(test_a_low_wish_is_the_start_and_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
