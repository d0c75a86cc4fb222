/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of fault injection. */
#include "base/test.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/text.h"

static int reset(void **state)
{
    (void)state;
    fault_reset();
    return 0;
}

static void arm(const char *text)
{
    CLEANUP_ERROR struct error *err = NULL;
    assert_ok(fault_arm(text, &err), err);
}

static void test_nothing_happens_unarmed(void **state)
{
    (void)state;
    CLEANUP_ERROR struct error *err = NULL;
    for (int point = 0; point < FAULT_POINT_COUNT; point++) {
        assert_ok(fault_point((enum fault_point)point, &err), err);
        fault_pass((enum fault_point)point);
        assert_false(fault_skip((enum fault_point)point));
    }
    assert_ok(fault_network(&err), err);
    assert_ok(fault_arm(NULL, &err), err);
}

static void test_error_at_the_first_passage(void **state)
{
    (void)state;
    arm("source-copy:error");
    CLEANUP_ERROR struct error *err = NULL;
    assert_ok(fault_point(FAULT_SOURCE_PLAN, &err), err);
    assert_int_equal(fault_point(FAULT_SOURCE_COPY, &err), -1);
    assert_int_equal(err->kind, ERROR_SYSTEM);
    assert_non_null(strstr(err->message, "source-copy"));
    assert_int_equal(fault_point(FAULT_SOURCE_COPY, NULL), 0);
}

static void test_error_at_a_later_passage_and_at_each(void **state)
{
    (void)state;
    arm("source-copy:error@3,source-plan:error@*");
    for (int passage = 1; passage <= 5; passage++) {
        assert_int_equal(fault_point(FAULT_SOURCE_COPY, NULL), passage == 3 ? -1 : 0);
        assert_int_equal(fault_point(FAULT_SOURCE_PLAN, NULL), -1);
    }
}

static void test_skip(void **state)
{
    (void)state;
    arm("store-open:skip@2");
    assert_false(fault_skip(FAULT_STORE_OPEN));
    assert_true(fault_skip(FAULT_STORE_OPEN));
}

static void test_delay(void **state)
{
    (void)state;
    arm("source-copy:delay=30");
    int64_t begin_ns = clock_now_ns();
    fault_pass(FAULT_SOURCE_COPY);
    assert_true(clock_now_ns() - begin_ns >= 30 * NS_PER_MS);
}

static void test_bad_faults_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } bad[] = {
        {"", "NAME:ACTION"},
        {"source-copy", "NAME:ACTION"},
        {"source-cpoy:kill", "'source-cpoy': there is no such point"},
        {"source-copy:klil", "'klil' is no action"},
        {"source-copy:delay", "'delay' is no action"},
        {"source-copy:kill=5", "'kill=MS' is no action"},
        {"source-copy:delay=0", "milliseconds"},
        {"source-copy:delay=x", "milliseconds"},
        {"source-copy:kill@0", "which passage"},
        {"source-copy:kill@", "which passage"},
        {"source-copy:kill,", "NAME:ACTION"},
        {"source-copy:skip", "leave out"},
        {"source-forgotten:error", "nothing can fail"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        CLEANUP_ERROR struct error *err = NULL;
        assert_int_equal(fault_arm(bad[i].text, &err), -1);
        assert_int_equal(err->kind, ERROR_INVALID);
        if (!strstr(err->message, bad[i].says))
            fail_msg("'%s': %s", bad[i].text, err->message);
    }
}

/* Passes the point in a child with the faults armed; returns how it stands afterwards. */
static int passed_by_child(const char *faults, int wait_options, pid_t *child)
{
    arm(faults);
    *child = fork();
    if (*child == 0) {
        fault_pass(FAULT_SOURCE_COPY);
        _exit(7);
    }
    int status = 0;
    assert_int_equal(waitpid(*child, &status, wait_options), *child);
    return status;
}

static void test_kill(void **state)
{
    (void)state;
    pid_t child;
    int status = passed_by_child("source-copy:kill", 0, &child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void test_stop(void **state)
{
    (void)state;
    pid_t child;
    int status = passed_by_child("source-copy:stop", WUNTRACED, &child);
    assert_true(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    kill(child, SIGCONT);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

/* A listener as a test has it; `path` is where it is. */
static int listen_at(char path[64])
{
    snprintf(path, 64, "/tmp/test-fault-%d", (int)getpid());
    unlink(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 1), 0);
    return fd;
}

static void *pass_in_thread(void *argument)
{
    fault_pass(*(enum fault_point *)argument);
    return NULL;
}

static void read_announcement(int fd, const char *wanted)
{
    char line[64] = "";
    assert_true(read(fd, line, sizeof(line) - 1) > 0);
    assert_string_equal(line, wanted);
}

static void test_hold_until_answered(void **state)
{
    (void)state;
    char path[64];
    CLEANUP_CLOSE int listener = listen_at(path);
    fault_set_socket(path);
    arm("source-copy:hold@*");
    for (int hang_up = 0; hang_up < 2; hang_up++) {
        pthread_t thread;
        enum fault_point point = FAULT_SOURCE_COPY;
        assert_int_equal(pthread_create(&thread, NULL, pass_in_thread, &point), 0);
        int agent = accept(listener, NULL, NULL);
        read_announcement(agent, "source-copy hold\n");
        struct pollfd closed = {.fd = agent, .events = POLLIN};
        assert_int_equal(poll(&closed, 1, 50), 0); /* it waits */
        if (!hang_up)
            assert_int_equal(write(agent, "\n", 1), 1);
        else
            close(agent);
        assert_int_equal(pthread_join(thread, NULL), 0);
        if (!hang_up)
            close(agent);
    }
    unlink(path);
}

static void test_other_actions_are_announced_without_waiting(void **state)
{
    (void)state;
    char path[64];
    CLEANUP_CLOSE int listener = listen_at(path);
    fault_set_socket(path);
    arm("source-copy:error,source-copy:delay=2@2");
    assert_int_equal(fault_point(FAULT_SOURCE_COPY, NULL), -1);
    CLEANUP_CLOSE int first = accept(listener, NULL, NULL);
    read_announcement(first, "source-copy error\n");
    fault_pass(FAULT_SOURCE_COPY);
    CLEANUP_CLOSE int second = accept(listener, NULL, NULL);
    read_announcement(second, "source-copy delay=2\n");
    unlink(path);
}

static void test_no_listener_is_no_obstacle(void **state)
{
    (void)state;
    fault_set_socket("/nonexistent/socket");
    arm("source-copy:hold,source-copy:error@2");
    fault_pass(FAULT_SOURCE_COPY);
    assert_int_equal(fault_point(FAULT_SOURCE_COPY, NULL), -1);
}

static bool shut_down(int other_end)
{
    struct pollfd ready = {.fd = other_end, .events = POLLIN};
    return poll(&ready, 1, 0) == 1;
}

static void test_cut_one_then_all(void **state)
{
    (void)state;
    int pairs[3][2];
    for (int i = 0; i < 3; i++) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pairs[i]), 0);
        fault_connection_opened(pairs[i][0]);
    }
    fault_connection_closed(pairs[1][0]);
    arm("source-copy:cut-one,source-copy:cut@2");
    fault_pass(FAULT_SOURCE_COPY);
    assert_false(shut_down(pairs[0][1]));
    assert_true(shut_down(pairs[2][1]));
    fault_pass(FAULT_SOURCE_COPY);
    assert_true(shut_down(pairs[0][1]));
    assert_false(shut_down(pairs[1][1])); /* not ours any more */
    assert_int_equal(fault_network(NULL), 0);
    for (int i = 0; i < 3; i++) {
        fault_connection_closed(pairs[i][0]);
        close(pairs[i][0]);
        close(pairs[i][1]);
    }
}

static void test_cut_for_a_while(void **state)
{
    (void)state;
    arm("source-copy:cut=60000,source-plan:cut=1");
    fault_pass(FAULT_SOURCE_COPY);
    CLEANUP_ERROR struct error *err = NULL;
    assert_int_equal(fault_network(&err), -1);
    assert_int_equal(err->kind, ERROR_UNREACHABLE);
    fault_pass(FAULT_SOURCE_PLAN);
    while (fault_network(NULL) < 0) /* for a millisecond */
        usleep(1000);
}

static void test_list_is_complete_and_without_repetition(void **state)
{
    (void)state;
    CLEANUP_JSON json_t *list = fault_list(NULL);
    CLEANUP_JSON json_t *names = json_object();
    size_t i;
    const json_t *point;
    json_array_foreach (list, i, point) {
        assert_int_equal(json_opt_int(point, "number", 0), i + 1);
        assert_true(strlen(json_opt_string(point, "what", "")) > 10);
        json_object_set_new(names, json_opt_string(point, "name", ""), json_true());
    }
    assert_int_equal(json_array_size(list), FAULT_POINT_COUNT);
    assert_int_equal(json_object_size(names), FAULT_POINT_COUNT);
}

int main(void)
{
    log_set_level(LOG_ERR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_nothing_happens_unarmed, reset),
        cmocka_unit_test_teardown(test_error_at_the_first_passage, reset),
        cmocka_unit_test_teardown(test_error_at_a_later_passage_and_at_each, reset),
        cmocka_unit_test_teardown(test_skip, reset),
        cmocka_unit_test_teardown(test_delay, reset),
        cmocka_unit_test_teardown(test_bad_faults_are_refused, reset),
        cmocka_unit_test_teardown(test_kill, reset),
        cmocka_unit_test_teardown(test_stop, reset),
        cmocka_unit_test_teardown(test_hold_until_answered, reset),
        cmocka_unit_test_teardown(test_other_actions_are_announced_without_waiting, reset),
        cmocka_unit_test_teardown(test_no_listener_is_no_obstacle, reset),
        cmocka_unit_test_teardown(test_cut_one_then_all, reset),
        cmocka_unit_test_teardown(test_cut_for_a_while, reset),
        cmocka_unit_test_teardown(test_list_is_complete_and_without_repetition, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
