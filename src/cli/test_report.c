/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of reports: the table, the reasons, the exit status, and what --json prints. */
#include "base/test.h"

#include <string.h>

#include "cli/report.h"

static json_t *sample(const char *mode, const char *outcome)
{
    json_t *report =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:I, s:I, s:i, s:b, s:[]}", "vm", "web",
                  "mode", mode, "outcome", outcome, "source", "alpha", "destination", "beta",
                  "total_ms", 612, "downtime_ms", 18, "ram_bytes", (json_int_t)162529280,
                  "wire_bytes", (json_int_t)146800640, "rounds", 3, "verified", 1, "problems");
    assert_non_null(report);
    return report;
}

static void test_several_moves_make_one_table(void **state)
{
    (void)state;
    CLEANUP_JSON json_t *reports = json_array();
    json_array_append_new(reports, sample("live", "completed"));
    json_array_append_new(reports, sample("non_live", "in_doubt"));
    json_array_append_new(reports, sample("offline", "completed"));
    CLEANUP_TEXT struct text text = {0};
    report_table(reports, &text);
    assert_string_equal(
        text.data,
        "VM   Mode      Outcome    From   To      Time  Downtime        RAM       Wire  Rounds  "
        "Verified\n"
        "web  live      completed  alpha  beta  612 ms     18 ms  155.0 MiB  140.0 MiB       3  "
        "yes\n"
        "web  non-live  in-doubt   alpha  beta  612 ms         -  155.0 MiB  140.0 MiB       3  "
        "yes\n"
        "web  offline   completed  alpha  beta  612 ms         -          -  140.0 MiB       -  "
        "-\n");
}

static void test_problems_come_one_a_line_with_what_to_do(void **state)
{
    (void)state;
    CLEANUP_JSON json_t *report = sample("live", "failed");
    json_object_set_new(report, "reason", json_string("beta cannot take it"));
    json_object_set_new(report, "problems",
                        json_pack("[{s:s, s:s, s:s}, {s:s, s:s}]", "check", "bridge", "message",
                                  "bridge 'br0' does not exist on beta", "hint", "create it there",
                                  "check", "memory", "message", "too little\033 RAM"));
    CLEANUP_TEXT struct text text = {0};
    report_reason(report, &text);
    assert_string_equal(text.data, "mudanza: web: move failed: beta cannot take it\n"
                                   "  bridge: bridge 'br0' does not exist on beta\n"
                                   "    create it there\n"
                                   "  memory: too little? RAM\n");
}

static void test_a_reason_has_its_hint(void **state)
{
    (void)state;
    CLEANUP_JSON json_t *report = sample("live", "in_doubt");
    json_object_set_new(report, "reason", json_string("beta does not answer"));
    json_object_set_new(report, "hint", json_string("wait for it"));
    CLEANUP_TEXT struct text text = {0};
    report_reason(report, &text);
    assert_string_equal(text.data, "mudanza: web: move in-doubt: beta does not answer\n"
                                   "  wait for it\n");
}

static void test_a_completed_move_needs_no_reason(void **state)
{
    (void)state;
    CLEANUP_JSON json_t *report = sample("live", "completed");
    CLEANUP_TEXT struct text text = {0};
    report_reason(report, &text);
    assert_int_equal(text.length, 0);
}

static void test_warnings_come_with_a_completed_move_too(void **state)
{
    (void)state;
    CLEANUP_JSON json_t *report = sample("live", "completed");
    json_object_set_new(report, "warnings", json_pack("[s]", "it is not stored\nthere"));
    CLEANUP_TEXT struct text text = {0};
    report_reason(report, &text);
    CLEANUP_FREE char *expected = text_format("mudanza: warning: %s: it is not stored?there\n",
                                              json_opt_string(report, "vm", ""));
    assert_string_equal(text.data, expected);
    assert_int_equal(report_status(report), COMMAND_DONE);
}

static void test_the_status_follows_the_outcome(void **state)
{
    (void)state;
    static const struct {
        const char *outcome;
        enum command_status status;
    } cases[] = {
        {"completed", COMMAND_DONE},   {"aborted", COMMAND_FAILED},   {"failed", COMMAND_FAILED},
        {"in_doubt", COMMAND_UNKNOWN}, {"in-doubt", COMMAND_UNKNOWN}, {"", COMMAND_FAILED},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        CLEANUP_JSON json_t *report = sample("live", cases[i].outcome);
        assert_int_equal(report_status(report), cases[i].status);
    }
}

static void test_json_says_null_where_there_is_nothing(void **state)
{
    (void)state;
    CLEANUP_JSON json_t *report = report_normalize(sample("non_live", "in_doubt"));
    assert_true(json_is_null(json_object_get(report, "reason")));
    assert_true(json_is_null(json_object_get(report, "hint")));
    assert_string_equal(json_opt_string(report, "mode", ""), "non-live");
    assert_string_equal(json_opt_string(report, "outcome", ""), "in-doubt");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_several_moves_make_one_table),
        cmocka_unit_test(test_problems_come_one_a_line_with_what_to_do),
        cmocka_unit_test(test_a_reason_has_its_hint),
        cmocka_unit_test(test_a_completed_move_needs_no_reason),
        cmocka_unit_test(test_warnings_come_with_a_completed_move_too),
        cmocka_unit_test(test_the_status_follows_the_outcome),
        cmocka_unit_test(test_json_says_null_where_there_is_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
