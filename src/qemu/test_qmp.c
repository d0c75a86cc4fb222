/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of the QMP client: protocol edge cases against a fake server, the rest with a real QEMU. */
#include "base/test.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/text.h"
#include "qemu/qmp.h"
#include "qemu/qmp_parse.h"
#include "qemu/testing.h"

#define GREETING                                                                                   \
    "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, \"major\": 7}, "             \
    "\"package\": \"\"}, \"capabilities\": [\"oob\"]}}\r\n"
#define PATIENCE clock_deadline_ns(20000)

/* --- a fake server: a thread that plays `script` on its end of a socket pair --- */

struct fake {
    int fd, client_fd;
    void (*script)(struct fake *);
    pthread_t thread;
    char line[4096]; /* the last command */
    int closed_event, event_event;
    int closed_count;
    char events[256];
    int64_t event_ns;
};

static void fake_say(struct fake *fake, const char *text)
{
    fd_write_full(fake->fd, text, strlen(text), NULL);
}

/* Reads one command into fake->line and returns its id. */
static long long fake_hear(struct fake *fake)
{
    size_t length = 0;
    while (length < sizeof(fake->line) - 1 &&
           fd_read_full(fake->fd, fake->line + length, 1, NULL) == 0)
        if (fake->line[length++] == '\n')
            break;
    fake->line[length] = '\0';
    const char *id = strstr(fake->line, "\"id\":");
    return id ? strtoll(id + 5, NULL, 10) : -1;
}

static void fake_answer(struct fake *fake, long long id, const char *value)
{
    CLEANUP_FREE char *text = text_format("{\"return\": %s, \"id\": %lld}\r\n", value, id);
    fake_say(fake, text);
}

static void fake_greet(struct fake *fake)
{
    fake_say(fake, GREETING);
    fake_answer(fake, fake_hear(fake), "{}");
}

static void *fake_run(void *argument)
{
    struct fake *fake = argument;
    fake->script(fake);
    return NULL;
}

static void on_event(void *context, const char *name, const json_t *data, int64_t received_ns)
{
    struct fake *fake = context;
    const size_t used = strlen(fake->events);
    snprintf(fake->events + used, sizeof(fake->events) - used, "%s:%lld ", name,
             (long long)json_opt_int(data, "n", -1));
    fake->event_ns = received_ns;
    fd_event_signal(fake->event_event);
}

static void on_closed(void *context)
{
    struct fake *fake = context;
    fake->closed_count++;
    fd_event_signal(fake->closed_event);
}

static struct qmp *fake_start(struct fake *fake, void (*script)(struct fake *), int64_t deadline_ns,
                              struct error **err)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    *fake = (struct fake){.fd = pair[0],
                          .script = script,
                          .closed_event = eventfd(0, EFD_CLOEXEC),
                          .event_event = eventfd(0, EFD_CLOEXEC)};
    assert_int_equal(pthread_create(&fake->thread, NULL, fake_run, fake), 0);
    const struct qmp_handler handler = {.event = on_event, .closed = on_closed, .context = fake};
    return qmp_attach(pair[1], &handler, -1, deadline_ns, err);
}

/* Everything that can still run has run when this returns. */
static void fake_end(struct fake *fake, struct qmp *qmp)
{
    pthread_join(fake->thread, NULL);
    qmp_close(qmp);
    if (fake->fd >= 0)
        close(fake->fd);
    close(fake->closed_event);
    close(fake->event_event);
}

static void fake_hang_up(struct fake *fake)
{
    close(STEAL_FD(fake->fd));
}

static void script_events_around_a_reply(struct fake *fake)
{
    fake_greet(fake);
    fake_say(fake, "{\"event\": \"STOP\", \"data\": {\"n\": 1}, \"timestamp\": {}}\r\n");
    long long id = fake_hear(fake);
    fake_say(fake, "{\"event\": \"RESUME\", \"timestamp\": {}}\r\n{\"ret");
    CLEANUP_FREE char *rest = text_format("urn\": {\"a\": 5}, \"id\": %lld}\r\n{\"event\": \"MIGR"
                                          "ATION\", \"data\": {\"n\": 3}}\r\n",
                                          id);
    fake_say(fake, rest);
    fake_answer(fake, fake_hear(fake), "[]");
}

static void test_fake_server_events_and_replies_come_in_order(void **state)
{
    (void)state;
    CLEANUP_ERROR struct error *err = NULL;
    struct fake fake;
    struct qmp *qmp = fake_start(&fake, script_events_around_a_reply, PATIENCE, &err);
    assert_ok(qmp ? 0 : -1, err);
    assert_int_equal(qmp_version(qmp), 7002);
    CLEANUP_JSON json_t *reply = NULL;
    assert_ok(qmp_execute(qmp, "one", json_pack("{s:i}", "x", 1), &reply, &err), err);
    assert_int_equal(json_opt_int(reply, "a", 0), 5);
    assert_ok(qmp_execute(qmp, "two", NULL, NULL, &err), err);
    assert_string_equal(fake.line, "{\"execute\":\"two\",\"id\":2}\n");
    fake_end(&fake, qmp);
    assert_string_equal(fake.events, "STOP:1 RESUME:-1 MIGRATION:3 ");
    assert_true(fake.event_ns > 0 && fake.event_ns <= clock_now_ns());
    assert_int_equal(fake.closed_count, 0); /* we closed it ourselves */
}

static void script_late_reply(struct fake *fake)
{
    fake_greet(fake);
    long long late = fake_hear(fake), next = fake_hear(fake);
    fake_answer(fake, late, "\"late\"");
    fake_answer(fake, next, "\"next\"");
}

static void test_fake_server_a_reply_after_the_timeout_is_dropped(void **state)
{
    (void)state;
    CLEANUP_ERROR struct error *err = NULL;
    struct fake fake;
    struct qmp *qmp = fake_start(&fake, script_late_reply, PATIENCE, &err);
    assert_ok(qmp ? 0 : -1, err);
    assert_int_equal(qmp_execute_timeout(qmp, "slow", NULL, -1, 10, NULL, &err), -1);
    assert_int_equal(err->kind, ERROR_TIMEOUT);
    assert_string_equal(err->message, "slow: QEMU did not answer within 10 ms");
    error_free(STEAL(err));
    CLEANUP_JSON json_t *reply = NULL;
    assert_ok(qmp_execute(qmp, "next", NULL, &reply, &err), err);
    assert_string_equal(json_string_value(reply), "next");
    fake_end(&fake, qmp);
}

static void script_dies_in_a_command(struct fake *fake)
{
    fake_greet(fake);
    fake_hear(fake);
    fake_hang_up(fake);
}

static void test_fake_server_death_in_a_command_wakes_the_caller(void **state)
{
    (void)state;
    CLEANUP_ERROR struct error *err = NULL;
    struct fake fake;
    struct qmp *qmp = fake_start(&fake, script_dies_in_a_command, PATIENCE, &err);
    assert_ok(qmp ? 0 : -1, err);
    assert_int_equal(qmp_execute(qmp, "cont", NULL, NULL, &err), -1);
    assert_int_equal(err->kind, ERROR_QEMU);
    assert_string_equal(err->message, "cont: the QEMU process ended");
    error_free(STEAL(err));
    assert_ok(fd_wait(fake.closed_event, POLLIN, -1, PATIENCE, &err), err);
    assert_int_equal(qmp_execute(qmp, "stop", NULL, NULL, &err), -1);
    assert_string_equal(err->message, "stop: the QEMU process ended");
    fake_end(&fake, qmp);
    assert_int_equal(fake.closed_count, 1);
}

static void script_error_reply(struct fake *fake)
{
    fake_greet(fake);
    CLEANUP_FREE char *text =
        text_format("{\"id\": %lld, \"error\": {\"class\": \"GenericError\", \"desc\": "
                    "\"Device 'x' not found\"}}\r\n",
                    fake_hear(fake));
    fake_say(fake, text);
}

static void test_fake_server_errors_name_the_command(void **state)
{
    (void)state;
    CLEANUP_ERROR struct error *err = NULL;
    struct fake fake;
    struct qmp *qmp = fake_start(&fake, script_error_reply, PATIENCE, &err);
    assert_ok(qmp ? 0 : -1, err);
    json_t *reply = NULL;
    assert_int_equal(qmp_execute(qmp, "eject", NULL, &reply, &err), -1);
    assert_int_equal(err->kind, ERROR_QEMU);
    assert_string_equal(err->message, "eject: Device 'x' not found");
    assert_null(reply);
    fake_end(&fake, qmp);
}

static void script_garbage(struct fake *fake)
{
    fake_greet(fake);
    fake_hear(fake);
    fake_say(fake, "qemu: command not found\r\n");
}

static void test_fake_server_garbage_ends_the_connection(void **state)
{
    (void)state;
    CLEANUP_ERROR struct error *err = NULL;
    struct fake fake;
    struct qmp *qmp = fake_start(&fake, script_garbage, PATIENCE, &err);
    assert_ok(qmp ? 0 : -1, err);
    assert_int_equal(qmp_execute(qmp, "cont", NULL, NULL, &err), -1);
    assert_non_null(strstr(err->message, "cont: QEMU's monitor: JSON line 1"));
    fake_end(&fake, qmp);
    assert_int_equal(fake.closed_count, 1);
}

static void script_endless(struct fake *fake)
{
    fake_greet(fake);
    fake_hear(fake);
    static char spaces[1 << 20];
    memset(spaces, ' ', sizeof(spaces));
    while (fd_write_full(fake->fd, spaces, sizeof(spaces), NULL) == 0)
        ; /* until the client has had enough */
}

static void test_fake_server_an_endless_message_is_refused(void **state)
{
    (void)state;
    CLEANUP_ERROR struct error *err = NULL;
    struct fake fake;
    struct qmp *qmp = fake_start(&fake, script_endless, PATIENCE, &err);
    assert_ok(qmp ? 0 : -1, err);
    assert_int_equal(qmp_execute(qmp, "cont", NULL, NULL, &err), -1);
    assert_non_null(strstr(err->message, "sent a message of more than 16777216 bytes"));
    fake_end(&fake, qmp);
}

static void script_silent(struct fake *fake)
{
    fake_hear(fake); /* ends when the client gives up */
}

static void test_fake_server_silence_instead_of_a_greeting_times_out(void **state)
{
    (void)state;
    CLEANUP_ERROR struct error *err = NULL;
    struct fake fake;
    assert_null(fake_start(&fake, script_silent, clock_deadline_ns(10), &err));
    assert_int_equal(err->kind, ERROR_TIMEOUT);
    assert_non_null(strstr(err->message, "greeting"));
    assert_non_null(err->hint);
    fake_end(&fake, NULL);
}

static void script_wrong_greeting(struct fake *fake)
{
    fake_say(fake, "{\"hello\": 1}\r\n");
}

static void test_fake_server_another_greeting_is_refused(void **state)
{
    (void)state;
    CLEANUP_ERROR struct error *err = NULL;
    struct fake fake;
    assert_null(fake_start(&fake, script_wrong_greeting, PATIENCE, &err));
    assert_int_equal(err->kind, ERROR_CORRUPT);
    fake_end(&fake, NULL);
}

static void test_integers_beyond_int64_become_reals(void **state)
{
    (void)state;
    static const char text[] = "{\"a\": 18446744073709551552, \"b\": 9223372036854775807, "
                               "\"c\": \"\\\"18446744073709551615\", \"d\": 1e30, "
                               "\"e\": -9223372036854775809}";
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_JSON json_t *value = qmp_parse(text, strlen(text), &err);
    assert_ok(value ? 0 : -1, err);
    assert_true(json_real_value(json_object_get(value, "a")) == 0x1p64);
    assert_true(json_opt_int(value, "b", 0) == INT64_MAX);
    assert_string_equal(json_opt_string(value, "c", ""), "\"18446744073709551615");
    assert_true(json_real_value(json_object_get(value, "e")) == -0x1p63);
    assert_null(qmp_parse("", 0, &err));
    assert_non_null(err);
}

static void test_connecting_is_cancelled_while_nobody_accepts(void **state)
{
    (void)state;
    CLEANUP_ERROR struct error *err = NULL;
    char *directory = testing_directory();
    CLEANUP_FREE char *path = text_format("%s/socket", directory);
    assert_null(qmp_connect(path, NULL, -1, PATIENCE, &err));
    assert_non_null(strstr(err->message, "/socket: connecting: No such file"));
    error_free(STEAL(err));

    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    CLEANUP_CLOSE int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(listener, 0), 0);
    CLEANUP_CLOSE int first = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(first, (struct sockaddr *)&address, sizeof(address)), 0);
    CLEANUP_CLOSE int cancel = eventfd(1, EFD_CLOEXEC);
    assert_null(qmp_connect(path, NULL, cancel, PATIENCE, &err)); /* the backlog is full */
    assert_int_equal(err->kind, ERROR_CANCELLED);
    testing_directory_remove(directory);
}

/* --- with a real QEMU --- */

struct real {
    char *directory;
    struct testing_qemu qemu;
    int failures;
};

static int real_set_up(void **state)
{
    struct real *real = calloc(1, sizeof(*real));
    *state = real;
    real->directory = testing_directory();
    if (!testing_emulator())
        return 0;
    const char *const args[] = {"-M", "none", "-S", "-accel", "tcg", NULL};
    testing_start(&real->qemu, real->directory, "qemu", testing_emulator(), args, NULL, 0, NULL);
    return 0;
}

static int real_tear_down(void **state)
{
    struct real *real = *state;
    if (real->qemu.qmp)
        testing_stop(&real->qemu);
    testing_directory_remove(real->directory);
    free(real);
    return 0;
}

static struct qmp *real_qmp(void **state)
{
    struct real *real = *state;
    if (!real->qemu.qmp)
        skip();
    return real->qemu.qmp;
}

static void test_commands_errors_and_the_human_monitor(void **state)
{
    struct qmp *qmp = real_qmp(state);
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_JSON json_t *status = NULL;
    assert_ok(qmp_execute(qmp, "query-status", NULL, &status, &err), err);
    assert_string_equal(json_opt_string(status, "status", ""), "prelaunch");
    assert_true(qmp_version(qmp) >= 7002);
    CLEANUP_FREE char *output = NULL;
    assert_ok(qmp_human(qmp, "info version", &output, &err), err);
    CLEANUP_FREE char *version =
        text_format("%d.%d.", qmp_version(qmp) / 1000, qmp_version(qmp) % 1000);
    assert_memory_equal(output, version, strlen(version));
    assert_int_equal(qmp_execute(qmp, "no-such-command", NULL, NULL, &err), -1);
    assert_string_equal(err->message,
                        "no-such-command: The command no-such-command has not been found");
}

/* QEMU's copy of the pipe's end is the only one left, so closing it there is seen here. */
static void test_a_descriptor_goes_along_with_getfd(void **state)
{
    struct qmp *qmp = real_qmp(state);
    CLEANUP_ERROR struct error *err = NULL;
    int pipes[2];
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    assert_ok(
        qmp_execute_fd(qmp, "getfd", json_pack("{s:s}", "fdname", "end"), pipes[1], NULL, &err),
        err);
    close(pipes[1]);
    struct pollfd hung_up = {.fd = pipes[0], .events = POLLIN};
    assert_int_equal(poll(&hung_up, 1, 0), 0);
    assert_ok(qmp_execute(qmp, "closefd", json_pack("{s:s}", "fdname", "end"), NULL, &err), err);
    assert_ok(fd_wait(pipes[0], POLLIN, -1, PATIENCE, &err), err);
    close(pipes[0]);
}

static void *add_many_descriptors(void *argument)
{
    struct real *real = argument;
    for (int i = 0; i < 50; i++) {
        int pipes[2];
        struct stat pipe_stat;
        CLEANUP_JSON json_t *reply = NULL;
        CLEANUP_FREE char *link = NULL, *expected = NULL;
        char target[64] = "";
        if (pipe2(pipes, O_CLOEXEC) < 0 || fstat(pipes[1], &pipe_stat) < 0)
            return NULL;
        if (qmp_execute_fd(real->qemu.qmp, "add-fd", NULL, pipes[1], &reply, NULL) == 0) {
            link = text_format("/proc/%d/fd/%lld", (int)real->qemu.id.pid,
                               (long long)json_opt_int(reply, "fd", -1));
            if (readlink(link, target, sizeof(target) - 1) < 0)
                target[0] = '\0';
        }
        expected = text_format("pipe:[%lu]", (unsigned long)pipe_stat.st_ino);
        if (strcmp(target, expected) != 0)
            __atomic_add_fetch(&real->failures, 1, __ATOMIC_SEQ_CST);
        close(pipes[0]);
        close(pipes[1]);
    }
    return NULL;
}

static void *ask_status_often(void *argument)
{
    struct real *real = argument;
    for (int i = 0; i < 200; i++) {
        CLEANUP_JSON json_t *status = NULL;
        if (qmp_execute(real->qemu.qmp, "query-status", NULL, &status, NULL) < 0 ||
            !json_opt_string(status, "status", NULL))
            __atomic_add_fetch(&real->failures, 1, __ATOMIC_SEQ_CST);
    }
    return NULL;
}

static void test_threads_get_their_own_replies_and_descriptors(void **state)
{
    real_qmp(state);
    struct real *real = *state;
    pthread_t threads[6];
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL,
                                        i % 2 ? add_many_descriptors : ask_status_often, real),
                         0);
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(real->failures, 0);
}

static void *execute_stopped(void *argument)
{
    struct real *real = argument;
    struct error *err = NULL;
    qmp_execute(real->qemu.qmp, "query-status", NULL, NULL, &err);
    return err;
}

static void test_qemu_killed_in_a_command(void **state)
{
    real_qmp(state);
    struct real *real = *state;
    assert_int_equal(kill(real->qemu.id.pid, SIGSTOP), 0); /* so that it cannot answer before */
    pthread_t thread;
    void *result = NULL;
    assert_int_equal(pthread_create(&thread, NULL, execute_stopped, real), 0);
    assert_int_equal(process_end(&real->qemu.id, 0, NULL), 0);
    pthread_join(thread, &result);
    CLEANUP_ERROR struct error *err = result;
    assert_non_null(err);
    assert_int_equal(err->kind, ERROR_QEMU);
    assert_string_equal(err->message, "query-status: the QEMU process ended");
}

int main(void)
{
#define REAL_TEST(name) cmocka_unit_test_setup_teardown(name, real_set_up, real_tear_down)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fake_server_events_and_replies_come_in_order),
        cmocka_unit_test(test_fake_server_a_reply_after_the_timeout_is_dropped),
        cmocka_unit_test(test_fake_server_death_in_a_command_wakes_the_caller),
        cmocka_unit_test(test_fake_server_errors_name_the_command),
        cmocka_unit_test(test_fake_server_garbage_ends_the_connection),
        cmocka_unit_test(test_fake_server_an_endless_message_is_refused),
        cmocka_unit_test(test_fake_server_silence_instead_of_a_greeting_times_out),
        cmocka_unit_test(test_fake_server_another_greeting_is_refused),
        cmocka_unit_test(test_integers_beyond_int64_become_reals),
        cmocka_unit_test(test_connecting_is_cancelled_while_nobody_accepts),
        REAL_TEST(test_commands_errors_and_the_human_monitor),
        REAL_TEST(test_a_descriptor_goes_along_with_getfd),
        REAL_TEST(test_threads_get_their_own_replies_and_descriptors),
        REAL_TEST(test_qemu_killed_in_a_command),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
