/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of the program itself against a stand-in for the agent: results, JSON, exit status. */
#include "base/test.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

/* A member below others: path(value, "vms", "0", "state"). */
static const json_t *walk(const json_t *value, const char *const path[])
{
    for (; *path; path++)
        value = json_is_array(value) ? json_array_get(value, (size_t)strtoul(*path, NULL, 10))
                                     : json_object_get(value, *path);
    return value;
}
#define AT(value, ...) walk(value, (const char *const[]){__VA_ARGS__, NULL})

static void assert_text(const json_t *value, const char *text)
{
    assert_true(json_is_string(value));
    assert_string_equal(json_string_value(value), text);
}

/* Every command that says one line, and the line. */
static void test_commands_say_what_they_did(void **state)
{
    struct fixture *fixture = *state;
    struct runner *runner = &fixture->runner;
    static const struct {
        const char *arguments[5], *line;
    } cases[] = {
        {{"undefine", "web"}, "web: undefined\n"},
        {{"start", "web"}, "web: started\n"},
        {{"start", "web", "--paused"}, "web: started, paused\n"},
        {{"state", "web"}, "running\n"},
        {{"destroy", "web"}, "web: destroyed\n"},
        {{"suspend", "web"}, "web: suspended\n"},
        {{"resume", "web"}, "web: resumed\n"},
        {{"dumpxml", "web"}, "<domain type='kvm'>\n</domain>\n"},
        {{"id", "--all"},
         "Name         alpha\n"
         "Fingerprint  SHA256:abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG\n"
         "Listens on   *:16517\n"
         "Version      0.1.0\n"
         "Protocol     2\n"
         "QEMU         /usr/bin/qemu-system-x86_64 (does not start)\n"
         "Kept RAM     155.0 MiB of web, which left 61 s ago\n"},
        {{"id"}, "SHA256:abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG\n"},
        {{"list", "--name"}, "web\ndoubtful\n"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        runner_start(runner, cases[i].arguments);
        assert_int_equal(runner_finish(runner), COMMAND_DONE);
        assert_string_equal(runner->stdout_text.data, cases[i].line);
        assert_string_equal(runner->stderr_text.data, "");
    }
}

static void test_define_takes_a_file_or_standard_input(void **state)
{
    struct fixture *fixture = *state;
    struct runner *runner = &fixture->runner;
    runner->input = "<domain/>";
    assert_int_equal(RUN(runner, "define", "-"), COMMAND_DONE);
    assert_string_equal(runner->stdout_text.data, "web: defined\n");
    assert_string_equal(runner->stderr_text.data,
                        "mudanza: warning: <seclabel> is kept without effect\n");
    CLEANUP_JSON json_t *call = standin_call(fixture->standin, "Define");
    assert_text(AT(call, "xml"), "<domain/>");
    runner->input = "no xml";
    assert_int_equal(RUN(runner, "define", "-"), COMMAND_FAILED);
    assert_string_equal(runner->stderr_text.data, "mudanza: line 1: <domain> expected\n");
    assert_int_equal(RUN(runner, "define", "/nonexistent/file"), COMMAND_FAILED);
    assert_non_null(strstr(runner->stderr_text.data, "/nonexistent/file: No such file"));
    runner->input = "\xff\xfe";
    assert_int_equal(RUN(runner, "define", "-"), COMMAND_FAILED);
    assert_non_null(strstr(runner->stderr_text.data, "is not UTF-8 text"));
}

static void test_list_is_a_table_and_warns_of_doubt(void **state)
{
    struct fixture *fixture = *state;
    struct runner *runner = &fixture->runner;
    assert_int_equal(RUN(runner, "list"), COMMAND_DONE);
    assert_non_null(strstr(runner->stdout_text.data, "\ndoubtful  in doubt  yes "));
    assert_non_null(strstr(runner->stderr_text.data, "doubtful is in doubt"));
    CLEANUP_JSON json_t *call = standin_call(fixture->standin, "List");
    assert_true(json_is_false(AT(call, "all")));
    assert_int_equal(RUN(runner, "list", "--all"), COMMAND_DONE);
    CLEANUP_JSON json_t *second = standin_call(fixture->standin, "List");
    assert_true(json_is_true(AT(second, "all")));
}

/* With --json every command prints one object, on success and on failure. */
static void test_json_is_one_object(void **state)
{
    struct fixture *fixture = *state;
    struct runner *runner = &fixture->runner;
    static const struct {
        const char *arguments[7];
        int status;
        const char *member;
    } cases[] = {
        {{"list", "--json"}, COMMAND_DONE, "vms"},
        {{"state", "web", "--json"}, COMMAND_DONE, "vm"},
        {{"start", "web", "--json"}, COMMAND_DONE, "vm"},
        {{"dumpxml", "web", "--json"}, COMMAND_DONE, "xml"},
        {{"id", "--json"}, COMMAND_DONE, "fingerprint"},
        {{"host", "list", "--json"}, COMMAND_DONE, "hosts"},
        {{"host", "remove", "beta", "--json"}, COMMAND_DONE, NULL},
        {{"destroy", "web", "--json"}, COMMAND_DONE, NULL},
        {{"shutdown", "web", "--json"}, COMMAND_DONE, NULL},
        {{"migrate", "web", "beta", "--json"}, COMMAND_DONE, "outcome"},
        {{"migrate", "broken", "beta", "--json"}, COMMAND_FAILED, "problems"},
        {{"migrate", "doubtful", "beta", "--json"}, COMMAND_UNKNOWN, "reason"},
        {{"migrate", "nobody", "beta", "--json"}, COMMAND_FAILED, "error"},
        {{"migrate", "fatal", "beta", "--json"}, COMMAND_UNKNOWN, "error"},
        {{"job", "old", "--json"}, COMMAND_DONE, "report"},
        {{"job", "slow", "--json"}, COMMAND_DONE, "progress"},
        {{"job", "web", "--json"}, COMMAND_FAILED, "error"},
        {{"job", "old", "--watch", "--json"}, COMMAND_FAILED, "report"},
        {{"job", "--json", "--", "resolve"}, COMMAND_DONE, "progress"}, /* a VM of that name */
        {{"job", "resolve", "old", "--json"}, COMMAND_USAGE, "error"},
        {{"job", "resolve", "old", "--runs-here", "--runs-there", "--json"},
         COMMAND_USAGE,
         "error"},
        {{"job", "resolve", "old", "--runs-here", "--json"},
         COMMAND_FAILED,
         "error"}, /* no doubt */
        {{"job", "resolve", "web", "--runs-here", "-y", "--json"}, COMMAND_DONE, "reason"},
        {{"job", "resolve", "web", "--runs-there", "-y", "--json"}, COMMAND_DONE, "outcome"},
        {{"job", "resolve", "late", "--runs-here", "-y", "--json"}, COMMAND_FAILED, "outcome"},
        {{"job", "resolve", "slow", "--runs-here", "-y", "--json"}, COMMAND_FAILED, "error"},
        {{"abort", "slow", "--json"}, COMMAND_DONE, "outcome"},
        {{"abort", "nobody", "--json"}, COMMAND_FAILED, "error"},
        {{"frobnicate", "--json"}, COMMAND_USAGE, "error"},
        {{"migrate", "web", "--json"}, COMMAND_USAGE, "error"},
        {{"--json", "--version"}, COMMAND_DONE, "version"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        runner_start(runner, cases[i].arguments);
        int status = runner_finish(runner);
        CLEANUP_JSON json_t *object = runner_json(runner);
        if (status != cases[i].status || (cases[i].member && !AT(object, cases[i].member)))
            fail_msg("%s %s: status %d, said %s", cases[i].arguments[0], cases[i].arguments[1],
                     status, runner->stdout_text.data);
        if (!cases[i].member)
            assert_int_equal(json_object_size(object), 0);
    }
}

static void test_the_report_has_every_member(void **state)
{
    struct fixture *fixture = *state;
    struct runner *runner = &fixture->runner;
    static const char *const members[] = {
        "vm",       "mode",        "outcome",   "reason",  "hint",       "source",   "destination",
        "total_ms", "downtime_ms", "ram_bytes", "rounds",  "wire_bytes", "verified", "problems",
        "phase",    "post_copy",   "plan_ms",   "copy_ms", "warnings",
    };
    assert_int_equal(RUN(runner, "migrate", "web", "beta", "--json"), COMMAND_DONE);
    CLEANUP_JSON json_t *report = runner_json(runner);
    for (size_t i = 0; i < ARRAY_SIZE(members); i++)
        assert_non_null(AT(report, members[i]));
    assert_text(AT(report, "mode"), "non-live");
    assert_text(AT(report, "outcome"), "completed");
    assert_true(json_is_null(AT(report, "reason")));
    assert_int_equal(RUN(runner, "migrate", "doubtful", "beta", "--json", "-q"), COMMAND_UNKNOWN);
    CLEANUP_JSON json_t *doubt = runner_json(runner);
    assert_text(AT(doubt, "outcome"), "in-doubt");
    assert_text(AT(doubt, "reason"), "beta does not answer");
}

static void test_errors_have_kind_message_and_hint(void **state)
{
    struct fixture *fixture = *state;
    struct runner *runner = &fixture->runner;
    assert_int_equal(RUN(runner, "--json", "start", "nobody"), COMMAND_FAILED);
    CLEANUP_JSON json_t *object = runner_json(runner);
    assert_text(AT(object, "error", "kind"), "not-found");
    assert_text(AT(object, "error", "message"), "nobody: no such VM");
    assert_text(AT(object, "error", "hint"), "mudanza list --all shows those there are");
    assert_string_equal(runner->stderr_text.data, "mudanza: nobody: no such VM\n"
                                                  "  mudanza list --all shows those there are\n");
}

static void test_without_an_agent_the_error_says_how_to_get_one(void **state)
{
    struct fixture *fixture = *state;
    struct runner *runner = &fixture->runner;
    assert_int_equal(RUN(runner, "list", "--connect", "/nonexistent/socket"), COMMAND_FAILED);
    assert_string_equal(runner->stdout_text.data, "");
    assert_non_null(strstr(runner->stderr_text.data, "/nonexistent/socket: no agent listens"));
    assert_non_null(strstr(runner->stderr_text.data, "mudanzad"));
    assert_non_null(strstr(runner->stderr_text.data, "--connect"));
    assert_int_equal(RUN(runner, "-c", runner->socket, "id"), COMMAND_DONE);
}

static void test_usage_errors_exit_with_2(void **state)
{
    struct fixture *fixture = *state;
    struct runner *runner = &fixture->runner;
    static const struct {
        const char *arguments[6], *said;
    } cases[] = {
        {{NULL}, "a command is missing"},
        {{"host"}, "'host' needs a second word"},
        {{"host", "lst"}, "did you mean 'host list'?"},
        {{"hots", "list"}, "did you mean 'host'?"},
        {{"mgirate"}, "did you mean 'migrate'?"},
        {{"--jsn", "list"}, "did you mean '--json'?"},
        {{"list", "--al"}, "did you mean '--all'?"},
        {{"start"}, "usage: mudanza start [OPTION]... VM"},
        {{"start", "a", "b"}, "one argument too many: 'b'"},
        {{"migrate", "a", "b", "--live", "--offline"}, "exclude each other"},
        {{"migrate", "a", "b", "--downtime", "0"}, "option '--downtime'"},
        {{"migrate", "a", "b", "--bandwidth=fast"}, "is not a rate"},
        {{"list", "--connect"}, "needs a value: PATH"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        runner_start(runner, cases[i].arguments);
        assert_int_equal(runner_finish(runner), COMMAND_USAGE);
        assert_string_equal(runner->stdout_text.data, "");
        assert_non_null(strstr(runner->stderr_text.data, cases[i].said));
    }
}

static void test_hosts_are_added_with_their_port(void **state)
{
    struct fixture *fixture = *state;
    struct runner *runner = &fixture->runner;
    static const struct {
        const char *given, *address;
        int port;
    } cases[] = {
        {"10.0.0.2", "10.0.0.2", 16517},
        {"10.0.0.2:7000", "10.0.0.2", 7000},
        {"[fd00::2]:7000", "fd00::2", 7000},
        {"host.example", "host.example", 16517},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        assert_int_equal(RUN(runner, "host", "add", "beta", cases[i].given, "SHA256:x"),
                         COMMAND_DONE);
        assert_string_equal(runner->stdout_text.data, "beta: added\n");
        CLEANUP_JSON json_t *call = standin_call(fixture->standin, "AddHost");
        assert_text(AT(call, "name"), "beta");
        assert_text(AT(call, "address"), cases[i].address);
        assert_int_equal(json_integer_value(AT(call, "port")), cases[i].port);
        assert_text(AT(call, "fingerprint"), "SHA256:x");
    }
    assert_int_equal(RUN(runner, "host", "add", "beta", "10.0.0.2:0x", "SHA256:x"), COMMAND_FAILED);
    assert_int_equal(strncmp(runner->stderr_text.data, "mudanza: beta: ", 15), 0);
}

static void test_hosts_are_listed_and_removed(void **state)
{
    struct fixture *fixture = *state;
    struct runner *runner = &fixture->runner;
    assert_int_equal(RUN(runner, "host", "list"), COMMAND_DONE);
    assert_string_equal(runner->stdout_text.data, "Name  Address    Port  Fingerprint\n"
                                                  "beta  10.0.0.2  16517  SHA256:x\n");
    assert_int_equal(RUN(runner, "host", "list", "--probe"), COMMAND_DONE);
    assert_non_null(strstr(runner->stdout_text.data, "SHA256:x     connection refused\n"));
    assert_int_equal(RUN(runner, "host", "list", "--name"), COMMAND_DONE);
    assert_string_equal(runner->stdout_text.data, "beta\n");
    assert_int_equal(RUN(runner, "host", "remove", "beta"), COMMAND_DONE);
    assert_string_equal(runner->stdout_text.data, "beta: removed\n");
    assert_int_equal(RUN(runner, "host", "--help"), COMMAND_DONE);
    assert_non_null(strstr(runner->stdout_text.data, "  host remove "));
    assert_null(strstr(runner->stdout_text.data, "  migrate "));
}

static void test_shutdown_waits_when_told(void **state)
{
    struct fixture *fixture = *state;
    struct runner *runner = &fixture->runner;
    assert_int_equal(RUN(runner, "shutdown", "web", "--wait", "60"), COMMAND_DONE);
    assert_string_equal(runner->stdout_text.data, "web: shut off\n");
    assert_int_equal(RUN(runner, "shutdown", "stubborn", "--wait", "1"), COMMAND_FAILED);
    assert_non_null(strstr(runner->stderr_text.data, "did not shut down within 1 s"));
    assert_non_null(strstr(runner->stderr_text.data, "mudanza destroy stubborn"));
}

static void test_abort_succeeds_only_if_aborted(void **state)
{
    struct fixture *fixture = *state;
    struct runner *runner = &fixture->runner;
    assert_int_equal(RUN(runner, "abort", "slow"), COMMAND_DONE);
    assert_int_equal(RUN(runner, "abort", "web"), COMMAND_FAILED);
    assert_int_equal(RUN(runner, "abort", "doubtful"), COMMAND_UNKNOWN);
    assert_int_equal(RUN(runner, "abort", "stubborn"), COMMAND_FAILED);
    assert_non_null(strstr(runner->stderr_text.data, "the destination has it already"));
}

static void test_output_that_cannot_be_written_is_a_failure(void **state)
{
    struct fixture *fixture = *state;
    struct runner *runner = &fixture->runner;
    runner->full = true;
    assert_int_equal(RUN(runner, "dumpxml", "web"), COMMAND_FAILED);
    assert_non_null(strstr(runner->stderr_text.data, "standard output: No space left"));
}

int main(int argc, char *argv[])
{
    if (argc != 2)
        return 1;
    program = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_commands_say_what_they_did, setup, teardown),
        cmocka_unit_test_setup_teardown(test_define_takes_a_file_or_standard_input, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_list_is_a_table_and_warns_of_doubt, setup, teardown),
        cmocka_unit_test_setup_teardown(test_json_is_one_object, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_report_has_every_member, setup, teardown),
        cmocka_unit_test_setup_teardown(test_errors_have_kind_message_and_hint, setup, teardown),
        cmocka_unit_test_setup_teardown(test_without_an_agent_the_error_says_how_to_get_one, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_usage_errors_exit_with_2, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hosts_are_added_with_their_port, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hosts_are_listed_and_removed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_shutdown_waits_when_told, setup, teardown),
        cmocka_unit_test_setup_teardown(test_abort_succeeds_only_if_aborted, setup, teardown),
        cmocka_unit_test_setup_teardown(test_output_that_cannot_be_written_is_a_failure, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
