/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of `mudanza migrate` against a stand-in for the agent: options, progress, Ctrl-C. */
#include "base/test.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/command.h"
#include "cli/runner.h"
#include "cli/standin.h"

struct fixture {
    struct standin *standin;
    struct runner runner;
};

static const char *program;

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    fixture->standin = standin_start();
    fixture->runner.program = program;
    fixture->runner.socket = standin_socket(fixture->standin);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    runner_clear(&fixture->runner);
    standin_stop(fixture->standin);
    free(fixture);
    return 0;
}

static void assert_options(struct fixture *fixture, const char *expected)
{
    CLEANUP_JSON json_t *call = standin_call(fixture->standin, "Migrate");
    CLEANUP_FREE char *text =
        json_dumps(json_object_get(call, "options"), JSON_SORT_KEYS | JSON_COMPACT);
    assert_string_equal(text, expected);
}

static void test_options_reach_the_agent_in_its_units(void **state)
{
    struct fixture *fixture = *state;
    struct runner *runner = &fixture->runner;
    assert_int_equal(RUN(runner, "migrate", "web", "beta"), COMMAND_DONE);
    assert_options(fixture, "{}");
    runner->input = "<domain/>";
    assert_int_equal(RUN(runner, "migrate", "--non-live", "--persistent", "--undefine-source",
                         "--name=new", "--xml", "-", "--bandwidth", "1.5G", "--downtime", "20",
                         "--timeout", "90", "--auto-converge", "--post-copy", "--verify",
                         "--connections", "3", "web", "beta"),
                     COMMAND_DONE);
    assert_options(
        fixture,
        "{\"auto_converge\":true,\"bandwidth\":1610612736,\"connections\":3,\"downtime_ms\":20,"
        "\"mode\":\"non_live\",\"new_name\":\"new\",\"persistent\":true,"
        "\"post_copy\":true,\"timeout_s\":90,\"undefine_source\":true,"
        "\"verify\":true,\"xml\":\"<domain/>\"}");
    assert_int_equal(RUN(runner, "migrate", "--live", "web", "beta"), COMMAND_DONE);
    assert_options(fixture, "{\"mode\":\"live\"}");
    assert_int_equal(RUN(runner, "migrate", "--offline", "web", "beta"), COMMAND_DONE);
    assert_options(fixture, "{\"mode\":\"offline\"}");
}

/* Every number before " %" in order; they must not fall. Returns how many there are. */
static size_t assert_rising_percent(const char *text)
{
    double last = 0;
    size_t count = 0;
    for (const char *at = text; (at = strstr(at, " %")); at += 2) {
        const char *number = at;
        while (number > text && strchr("0123456789.", number[-1]))
            number--;
        double percent = strtod(number, NULL);
        assert_true(percent >= last && percent <= 100);
        last = percent;
        count++;
    }
    return count;
}

static void test_lines_come_one_for_each_phase(void **state)
{
    struct fixture *fixture = *state;
    struct runner *runner = &fixture->runner;
    assert_int_equal(RUN(runner, "migrate", "web", "beta"), COMMAND_DONE);
    assert_string_equal(runner->stderr_text.data, "web: plan 10.0 %, 128.0 MiB/s, round 1\n"
                                                  "web: prepare 40.0 %, 128.0 MiB/s, round 1\n"
                                                  "web: copy 40.0 %, 128.0 MiB/s, round 1\n"
                                                  "web: handover 60.0 %, 128.0 MiB/s, round 1\n"
                                                  "web: confirm 100.0 %, 128.0 MiB/s, round 1\n");
    assert_int_equal(assert_rising_percent(runner->stderr_text.data), 5);
    assert_non_null(strstr(runner->stdout_text.data, "\nweb  non-live  completed  alpha  beta  "));
    assert_int_equal(RUN(runner, "migrate", "web", "beta", "--quiet"), COMMAND_DONE);
    assert_string_equal(runner->stderr_text.data, "");
}

static void test_lines_come_at_most_once_a_second(void **state)
{
    struct fixture *fixture = *state;
    struct runner *runner = &fixture->runner;
    int64_t start_ns = clock_now_ns();
    assert_int_equal(RUN(runner, "migrate", "chatty", "beta"), COMMAND_DONE);
    size_t seconds = (size_t)((clock_now_ns() - start_ns) / NS_PER_S);
    assert_in_range(assert_rising_percent(runner->stderr_text.data), 1, seconds + 1);
}

/* Each drawing begins at column one, erases what was there, and ends before the last column. */
static void assert_drawings_fit(const char *text, size_t columns)
{
    for (const char *at = text; (at = strstr(at, "\r\033[K")); at += 4) {
        size_t length = strcspn(at + 4, "\r\n");
        assert_true(length < columns);
    }
}

static void test_a_terminal_gets_a_bar(void **state)
{
    struct fixture *fixture = *state;
    struct runner *runner = &fixture->runner;
    runner->no_colour = true;
    runner->columns = 40;
    assert_int_equal(RUN(runner, "migrate", "web", "beta"), COMMAND_DONE);
    const char *text = runner->stderr_text.data;
    assert_int_equal(assert_rising_percent(text), 5);
    assert_drawings_fit(text, 40);
    assert_non_null(strstr(text, "\r\033[Kconfirm   [##"));
    assert_string_equal(text + strlen(text) - 4, "\r\033[K"); /* the bar is gone at the end */
    assert_null(strstr(text, "\033[32m"));
    runner->no_colour = false;
    assert_int_equal(RUN(runner, "migrate", "web", "beta"), COMMAND_DONE);
    assert_non_null(strstr(runner->stderr_text.data, "\033[32m"));
    runner->columns = 4;
    assert_int_equal(RUN(runner, "migrate", "web", "beta"), COMMAND_DONE);
    assert_drawings_fit(runner->stderr_text.data, 4);
}

static void test_problems_are_listed_with_hints(void **state)
{
    struct fixture *fixture = *state;
    struct runner *runner = &fixture->runner;
    assert_int_equal(RUN(runner, "migrate", "broken", "beta"), COMMAND_FAILED);
    assert_string_equal(runner->stderr_text.data, "mudanza: broken: move failed: beta cannot take "
                                                  "it\n"
                                                  "  bridge: bridge 'br0' is missing\n"
                                                  "    create it\n"
                                                  "  memory: too little RAM\n");
}

static void test_the_status_tells_failed_from_not_known(void **state)
{
    struct fixture *fixture = *state;
    struct runner *runner = &fixture->runner;
    assert_int_equal(RUN(runner, "migrate", "nobody", "beta"), COMMAND_FAILED);
    assert_int_equal(RUN(runner, "migrate", "doubtful", "beta"), COMMAND_UNKNOWN);
    assert_int_equal(RUN(runner, "migrate", "fatal", "beta"), COMMAND_UNKNOWN);
    assert_non_null(strstr(runner->stderr_text.data, "how the move ends is not known here"));
    assert_non_null(strstr(runner->stderr_text.data, "mudanza job fatal"));
    assert_int_equal(RUN(runner, "migrate", "rude", "beta"), COMMAND_UNKNOWN);
    assert_int_equal(RUN(runner, "job", "web", "--watch"), COMMAND_DONE);
    assert_int_equal(RUN(runner, "job", "broken", "--watch"), COMMAND_FAILED);
    assert_int_equal(RUN(runner, "job", "doubtful", "--watch"), COMMAND_UNKNOWN);
}

static void test_ctrl_c_aborts_and_waits_for_the_report(void **state)
{
    struct fixture *fixture = *state;
    struct runner *runner = &fixture->runner;
    runner_start(runner, (const char *const[]){"migrate", "slow", "beta", NULL});
    runner_await(runner, "slow: copy");
    runner_signal(runner, SIGINT);
    assert_int_equal(runner_finish(runner), COMMAND_FAILED);
    CLEANUP_JSON json_t *call = standin_call(fixture->standin, "AbortJob");
    assert_string_equal(json_opt_string(call, "vm", ""), "slow");
    assert_non_null(strstr(runner->stdout_text.data, "  aborted  "));
    assert_non_null(strstr(runner->stderr_text.data, "slow: asking the agent to abort"));
    assert_non_null(strstr(runner->stderr_text.data, "slow: move aborted: the user asked for it"));
}

static void test_a_second_ctrl_c_leaves(void **state)
{
    struct fixture *fixture = *state;
    struct runner *runner = &fixture->runner;
    runner_start(runner, (const char *const[]){"migrate", "stubborn", "beta", "--json", NULL});
    runner_await(runner, "stubborn: copy");
    runner_signal(runner, SIGINT);
    runner_await(runner, "stubborn: cannot abort: stubborn: the destination has it already");
    runner_signal(runner, SIGINT);
    assert_int_equal(runner_finish(runner), COMMAND_UNKNOWN);
    assert_non_null(strstr(runner->stderr_text.data, "the move goes on"));
    CLEANUP_JSON json_t *object = runner_json(runner);
    json_t *error = json_object_get(object, "error");
    assert_string_equal(json_opt_string(error, "kind", ""), "cancelled");
}

static void test_a_lost_terminal_does_not_abort(void **state)
{
    struct fixture *fixture = *state;
    struct runner *runner = &fixture->runner;
    static const int signals[] = {SIGHUP, SIGTERM};
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
        runner_start(runner, (const char *const[]){"migrate", "stubborn", "beta", NULL});
        runner_await(runner, "stubborn: copy");
        runner_signal(runner, signals[i]);
        assert_int_equal(runner_finish(runner), COMMAND_UNKNOWN);
        CLEANUP_JSON json_t *call = standin_call(fixture->standin, "AbortJob");
        assert_null(call);
    }
}

/* Were the hang-up not ignored, the program would leave before the abort. */
static void test_nohup_keeps_waiting(void **state)
{
    struct fixture *fixture = *state;
    struct runner *runner = &fixture->runner;
    runner->nohup = true;
    runner_start(runner, (const char *const[]){"migrate", "slow", "beta", "--quiet", NULL});
    standin_await(fixture->standin, "Migrate");
    runner_signal(runner, SIGHUP);
    runner_signal(runner, SIGINT);
    assert_int_equal(runner_finish(runner), COMMAND_FAILED);
    assert_non_null(strstr(runner->stdout_text.data, "  aborted  "));
    assert_non_null(strstr(runner->stderr_text.data, "slow: asking the agent to abort"));
}

static void test_ctrl_c_while_watching_leaves_the_move_alone(void **state)
{
    struct fixture *fixture = *state;
    struct runner *runner = &fixture->runner;
    runner_start(runner, (const char *const[]){"job", "slow", "--watch", NULL});
    runner_await(runner, "slow: copy");
    runner_signal(runner, SIGINT);
    assert_int_equal(runner_finish(runner), COMMAND_UNKNOWN);
    CLEANUP_JSON json_t *call = standin_call(fixture->standin, "AbortJob");
    assert_null(call);
}

int main(int argc, char *argv[])
{
    if (argc != 2)
        return 1;
    program = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_options_reach_the_agent_in_its_units, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lines_come_one_for_each_phase, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lines_come_at_most_once_a_second, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_terminal_gets_a_bar, setup, teardown),
        cmocka_unit_test_setup_teardown(test_problems_are_listed_with_hints, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_status_tells_failed_from_not_known, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_ctrl_c_aborts_and_waits_for_the_report, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_second_ctrl_c_leaves, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_lost_terminal_does_not_abort, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nohup_keeps_waiting, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ctrl_c_while_watching_leaves_the_move_alone, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
