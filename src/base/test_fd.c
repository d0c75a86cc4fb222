/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of descriptor helpers. */
#include "base/test.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"

static void test_short_read_names_both_counts(void **state)
{
    (void)state;
    int pair[2];
    assert_int_equal(pipe(pair), 0);
    CLEANUP_ERROR struct error *err = NULL;
    char buffer[8];
    assert_ok(fd_write_full(pair[1], "abc", 3, &err), err);
    close(pair[1]);
    assert_int_equal(fd_read_full(pair[0], buffer, sizeof(buffer), &err), -1);
    assert_string_equal(err->message, "ends after 3 of 8 bytes");
    close(pair[0]);
}

static void test_wait_is_cancelled_timed_out_or_ready(void **state)
{
    (void)state;
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    CLEANUP_CLOSE int cancel = eventfd(0, EFD_CLOEXEC);
    struct error *err = NULL;
    assert_int_equal(fd_wait(pair[0], POLLIN, cancel, clock_deadline_ns(1), &err), -1);
    assert_int_equal(err->kind, ERROR_TIMEOUT);
    error_free(err);
    err = NULL;
    fd_event_signal(cancel);
    assert_int_equal(fd_wait(pair[0], POLLIN, cancel, DEADLINE_NEVER, &err), -1);
    assert_int_equal(err->kind, ERROR_CANCELLED);
    error_free(err);
    err = NULL;
    fd_event_clear(cancel);
    assert_ok(fd_write_full(pair[1], "x", 1, &err), err);
    assert_ok(fd_wait(pair[0], POLLIN, cancel, DEADLINE_NEVER, &err), err);
    close(pair[0]);
    close(pair[1]);
}

static void test_a_socket_s_path_fits_or_is_refused(void **state)
{
    (void)state;
    CLEANUP_ERROR struct error *err = NULL;
    struct sockaddr_un address;
    char path[sizeof(address.sun_path) + 1];
    memset(path, 'a', sizeof(path));
    path[sizeof(address.sun_path) - 1] = '\0';
    assert_ok(fd_unix_address(path, &address, &err), err);
    assert_int_equal(address.sun_family, AF_UNIX);
    assert_string_equal(address.sun_path, path);

    path[sizeof(address.sun_path) - 1] = 'a';
    path[sizeof(address.sun_path)] = '\0';
    assert_int_equal(fd_unix_address(path, &address, &err), -1);
    assert_int_equal(err->kind, ERROR_INVALID);
    assert_non_null(strstr(err->message, "107 bytes"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_short_read_names_both_counts),
        cmocka_unit_test(test_wait_is_cancelled_timed_out_or_ready),
        cmocka_unit_test(test_a_socket_s_path_fits_or_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
