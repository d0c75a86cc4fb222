/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of Varlink messages over a socket pair: the test plays the other side byte by byte. */
#include "base/test.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/text.h"
#include "varlink/varlink.h"

struct fixture {
    struct varlink_connection *connection;
    int other; /* the far end, -1 once closed */
    int cancel;
};

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    fixture->connection = varlink_connection_new(varlink_stream_fd(pair[0]));
    fixture->other = pair[1];
    fixture->cancel = eventfd(0, EFD_CLOEXEC);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    varlink_connection_free(fixture->connection);
    if (fixture->other >= 0)
        close(fixture->other);
    close(fixture->cancel);
    free(fixture);
    return 0;
}

static void other_says(const struct fixture *fixture, const void *bytes, size_t size)
{
    CLEANUP_ERROR struct error *err = NULL;
    assert_ok(fd_write_full(fixture->other, bytes, size, &err), err);
}

static void other_closes(struct fixture *fixture)
{
    close(fixture->other);
    fixture->other = -1;
}

/* The next message's member "a", which every message here has. */
static int receive_a(const struct fixture *fixture)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_JSON json_t *message = varlink_receive(fixture->connection, -1, DEADLINE_NEVER, &err);
    assert_ok(message ? 0 : -1, err);
    return (int)json_opt_int(message, "a", -1);
}

static struct error *receive_error(const struct fixture *fixture, int64_t deadline_ns)
{
    struct error *err = NULL;
    assert_null(varlink_receive(fixture->connection, fixture->cancel, deadline_ns, &err));
    assert_non_null(err);
    return err;
}

static void test_a_message_in_pieces_survives_timeout_and_cancel(void **state)
{
    struct fixture *fixture = *state;
    other_says(fixture, "{\"a\"", 4);
    CLEANUP_ERROR struct error *late = receive_error(fixture, clock_deadline_ns(1));
    assert_int_equal(late->kind, ERROR_TIMEOUT);
    assert_true(varlink_connection_pending(fixture->connection));
    other_says(fixture, ": 12", 4);
    fd_event_signal(fixture->cancel);
    CLEANUP_ERROR struct error *cancelled = receive_error(fixture, DEADLINE_NEVER);
    assert_int_equal(cancelled->kind, ERROR_CANCELLED);
    other_says(fixture, "3}", 3);
    assert_int_equal(receive_a(fixture), 123);
    assert_false(varlink_connection_pending(fixture->connection));
}

static void test_several_messages_in_one_piece_come_one_by_one(void **state)
{
    struct fixture *fixture = *state;
    static const char bytes[] = "{\"a\": 1}\0{\"a\": 2}\0{\"a\": 3";
    other_says(fixture, bytes, sizeof(bytes) - 1);
    assert_int_equal(receive_a(fixture), 1);
    assert_true(varlink_connection_pending(fixture->connection));
    assert_int_equal(receive_a(fixture), 2);
    other_says(fixture, "4}", 3);
    other_closes(fixture);
    assert_int_equal(receive_a(fixture), 34);
    CLEANUP_ERROR struct error *err = NULL;
    assert_null(varlink_receive(fixture->connection, -1, DEADLINE_NEVER, &err));
    assert_null(err);
}

static void test_an_end_inside_a_message_is_an_error(void **state)
{
    struct fixture *fixture = *state;
    other_says(fixture, "{\"a\": 1}", 8);
    other_closes(fixture);
    CLEANUP_ERROR struct error *err = receive_error(fixture, DEADLINE_NEVER);
    assert_int_equal(err->kind, ERROR_UNREACHABLE);
}

static void test_malformed_messages_are_refused(void **state)
{
    struct fixture *fixture = *state;
    static const struct {
        const char *text;
        size_t size;
    } cases[] = {
        {"", 1},
        {"{", 2},
        {"[1]", 4},
        {"1", 2},
        {"{\"a\": 1} x", 11},
        {"{\"a\": \"\xff\"}", 11},            /* not UTF-8 */
        {"{\"a\": \"\xed\xa0\x80\"}", 13},    /* a surrogate */
        {"{\"a\": \"\\u0000\"}", 16},         /* NUL in a string */
        {"{\"a\": 1, \"a\": 2}", 17},         /* twice the same member */
        {"{\"a\": 9223372036854775808}", 27}, /* past 64 bits */
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        other_says(fixture, cases[i].text, cases[i].size);
        CLEANUP_ERROR struct error *err = receive_error(fixture, DEADLINE_NEVER);
        assert_int_equal(err->kind, ERROR_INVALID);
        assert_non_null(strstr(err->message, "malformed message"));
    }
    other_says(fixture, "{\"a\": 7}", 9);
    assert_int_equal(receive_a(fixture), 7);
}

struct writer {
    int fd;
    size_t size; /* of the message {"a":"xxx..."} without its NUL */
};

static void *write_large(void *argument)
{
    const struct writer *writer = argument;
    char *text = malloc(writer->size + 1);
    memset(text, 'x', writer->size);
    static const char head[] = {'{', '"', 'a', '"', ':', '"'}, tail[] = {'"', '}', '\0'};
    memcpy(text, head, sizeof(head));
    memcpy(text + writer->size - 2, tail, sizeof(tail));
    fd_write_full(writer->fd, text, writer->size + 1, NULL);
    free(text);
    return NULL;
}

static void test_the_largest_message_passes_and_one_byte_more_does_not(void **state)
{
    struct fixture *fixture = *state;
    for (size_t extra = 0; extra < 2; extra++) {
        struct writer writer = {.fd = fixture->other, .size = VARLINK_MESSAGE_MAX + extra};
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, write_large, &writer), 0);
        CLEANUP_ERROR struct error *err = NULL;
        CLEANUP_JSON json_t *message =
            varlink_receive(fixture->connection, -1, DEADLINE_NEVER, &err);
        if (extra) {
            assert_null(message);
            assert_int_equal(err->kind, ERROR_INVALID);
            assert_non_null(strstr(err->message, "larger than 16777216 bytes"));
        } else {
            assert_ok(message ? 0 : -1, err);
            assert_int_equal(json_string_length(json_object_get(message, "a")),
                             VARLINK_MESSAGE_MAX - 8);
        }
        pthread_join(thread, NULL);
    }
}

static void test_a_message_too_large_to_send_is_refused_and_harms_nothing(void **state)
{
    struct fixture *fixture = *state;
    char *text = malloc(VARLINK_MESSAGE_MAX);
    memset(text, 'x', VARLINK_MESSAGE_MAX);
    CLEANUP_JSON json_t *large = json_pack("{s:s%}", "a", text, VARLINK_MESSAGE_MAX);
    free(text);
    struct error *refused = NULL;
    assert_int_equal(varlink_send(fixture->connection, large, -1, DEADLINE_NEVER, &refused), -1);
    assert_int_equal(refused->kind, ERROR_INVALID);
    error_free(refused);
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_JSON json_t *small = json_pack("{s:i}", "a", 1);
    assert_ok(varlink_send(fixture->connection, small, -1, DEADLINE_NEVER, &err), err);
    char bytes[8];
    assert_ok(fd_read_full(fixture->other, bytes, sizeof(bytes), &err), err);
    assert_memory_equal(bytes, "{\"a\":1}", 8);
}

static void test_a_send_nobody_takes_ends_at_its_deadline_and_breaks_the_connection(void **state)
{
    struct fixture *fixture = *state;
    char *text = malloc(1 << 22);
    memset(text, 'x', 1 << 22);
    CLEANUP_JSON json_t *large = json_pack("{s:s%}", "a", text, (size_t)1 << 22);
    free(text);
    CLEANUP_ERROR struct error *late = NULL;
    assert_int_equal(varlink_send(fixture->connection, large, -1, clock_deadline_ns(20), &late),
                     -1);
    assert_int_equal(late->kind, ERROR_TIMEOUT);
    CLEANUP_JSON json_t *small = json_pack("{s:i}", "a", 1);
    CLEANUP_ERROR struct error *after = NULL;
    assert_int_equal(varlink_send(fixture->connection, small, -1, DEADLINE_NEVER, &after), -1);
    assert_int_equal(after->kind, ERROR_UNREACHABLE);
}

static void test_a_send_is_cancelled(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP_JSON json_t *small = json_pack("{s:i}", "a", 1);
    fd_event_signal(fixture->cancel);
    CLEANUP_ERROR struct error *err = NULL;
    assert_int_equal(
        varlink_send(fixture->connection, small, fixture->cancel, DEADLINE_NEVER, &err), -1);
    assert_int_equal(err->kind, ERROR_CANCELLED);
}

static void test_a_closed_socket_is_unreachable_and_raises_no_signal(void **state)
{
    struct fixture *fixture = *state;
    other_closes(fixture);
    CLEANUP_JSON json_t *small = json_pack("{s:i}", "a", 1);
    CLEANUP_ERROR struct error *err = NULL;
    assert_int_equal(varlink_send(fixture->connection, small, -1, DEADLINE_NEVER, &err), -1);
    assert_int_equal(err->kind, ERROR_UNREACHABLE);
}

static void test_connecting_says_whether_somebody_listens(void **state)
{
    (void)state;
    char directory[] = "/tmp/varlink-XXXXXX";
    assert_non_null(mkdtemp(directory));
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/socket", directory);
    CLEANUP_ERROR struct error *nothing = NULL;
    assert_null(varlink_connect_unix(address.sun_path, &nothing));
    assert_int_equal(nothing->kind, ERROR_UNREACHABLE);
    assert_non_null(strstr(nothing->message, "no agent listens there"));
    assert_non_null(nothing->hint);

    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(listener, 1), 0);
    CLEANUP_ERROR struct error *err = NULL;
    struct varlink_connection *connection = varlink_connect_unix(address.sun_path, &err);
    assert_ok(connection ? 0 : -1, err);
    varlink_connection_free(connection);
    close(listener);

    CLEANUP_ERROR struct error *stale = NULL;
    assert_null(varlink_connect_unix(address.sun_path, &stale));
    assert_int_equal(stale->kind, ERROR_UNREACHABLE);
    unlink(address.sun_path);
    rmdir(directory);

    char longer[200];
    memset(longer, 'a', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    CLEANUP_ERROR struct error *invalid = NULL;
    assert_null(varlink_connect_unix(longer, &invalid));
    assert_int_equal(invalid->kind, ERROR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_message_in_pieces_survives_timeout_and_cancel, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_several_messages_in_one_piece_come_one_by_one, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_an_end_inside_a_message_is_an_error, setup, teardown),
        cmocka_unit_test_setup_teardown(test_malformed_messages_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_largest_message_passes_and_one_byte_more_does_not,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_a_message_too_large_to_send_is_refused_and_harms_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_a_send_nobody_takes_ends_at_its_deadline_and_breaks_the_connection, setup,
            teardown),
        cmocka_unit_test_setup_teardown(test_a_send_is_cancelled, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_closed_socket_is_unreachable_and_raises_no_signal,
                                        setup, teardown),
        cmocka_unit_test(test_connecting_says_whether_somebody_listens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
