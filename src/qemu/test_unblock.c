/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of reading off what a process cannot get rid of, and of leaving alone what others want. */
#include "base/test.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/text.h"
#include "qemu/testing.h"
#include "qemu/unblock.h"

#define PATIENCE_MS 20000
/* More than a socket takes, however large its buffer may be. */
#define MUCH "33554432"

/* A process that has `fds` under their numbers, and does what `script` says. */
static void start(struct testing_script *fixture, const char *script, const int *fds, size_t n_fds)
{
    CLEANUP_ERROR struct error *err = NULL;
    assert_ok(testing_script_start(fixture, script, NULL, false, fds, n_fds, &err), err);
}

static void make_pair(int pair[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
}

static int unread(int fd)
{
    int count = -1;
    assert_int_equal(ioctl(fd, FIONREAD, &count), 0);
    return count;
}

static void test_who_stands_in_a_write_gets_through(void **state)
{
    struct testing_script *fixture = *state;
    CLEANUP_ERROR struct error *err = NULL;
    int stream[2], done[2];
    make_pair(stream);
    make_pair(done);
    const int fds[] = {stream[0], stream[1], done[1]};
    CLEANUP_FREE char *script = text_format(
        "head -c " MUCH " /dev/zero >&%d; echo >&%d; exec sleep 1000", stream[0], done[1]);
    start(fixture, script, fds, ARRAY_SIZE(fds));
    assert_ok(fd_wait(stream[1], POLLIN, -1, clock_deadline_ns(PATIENCE_MS), &err), err);
    assert_int_equal(unread(done[0]), 0);
    assert_true(qemu_unblock(&fixture->id, false));
    /* On a machine with other things to do it may have paused for longer than is waited for. */
    int64_t deadline_ns = clock_deadline_ns(PATIENCE_MS);
    while (fd_wait(done[0], POLLIN, -1, clock_deadline_ns(0), NULL) < 0) {
        assert_true(clock_now_ns() < deadline_ns);
        qemu_unblock(&fixture->id, false);
    }
    while (qemu_unblock(&fixture->id, false)) /* the rest, which nobody waits for */
        assert_true(clock_now_ns() < deadline_ns);
    assert_int_equal(unread(stream[1]), 0);
    for (size_t i = 0; i < 2; i++) {
        close(stream[i]);
        close(done[i]);
    }
}

/* A listener at `path`, a connection to it, and its other end. */
static void connect_named(const char *path, int *listener, int *client, int *server)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    *listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    *client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(*listener, (const struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(*listener, 1), 0);
    assert_int_equal(connect(*client, (const struct sockaddr *)&address, sizeof(address)), 0);
    *server = accept4(*listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(*server >= 0);
}

/* A monitor's client, a device's helper, a log: what they have said is for the process itself. */
static void test_what_others_said_stays(void **state)
{
    struct testing_script *fixture = *state;
    CLEANUP_FREE char *path = text_format("%s/socket", fixture->directory);
    int listener, client, server, pipe_ends[2], empty[2];
    connect_named(path, &listener, &client, &server);
    make_pair(empty);
    assert_int_equal(pipe2(pipe_ends, O_CLOEXEC), 0);
    assert_int_equal(write(client, "question", 8), 8);
    assert_int_equal(write(server, "answer", 6), 6);
    assert_int_equal(write(pipe_ends[1], "line", 4), 4);
    const int fds[] = {client, server, pipe_ends[0], empty[0], empty[1]};
    start(fixture, "exec sleep 1000", fds, ARRAY_SIZE(fds));
    assert_false(qemu_unblock(&fixture->id, false));
    assert_int_equal(unread(server), 8);
    assert_int_equal(unread(client), 6);
    assert_int_equal(unread(pipe_ends[0]), 4);
    const int all[] = {listener, client, server, pipe_ends[0], pipe_ends[1], empty[0], empty[1]};
    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        close(all[i]);
}

/* Post-copy past its commit point: only when nobody needs the guest's other half. */
static void test_what_is_spooled_stays(void **state)
{
    struct testing_script *fixture = *state;
    int stream[2], spool = memfd_create("mudanza-job-from-17", MFD_CLOEXEC);
    make_pair(stream);
    assert_int_equal(write(stream[0], "bytes", 5), 5);
    assert_int_equal(lseek(spool, 4711, SEEK_SET), 4711);
    const int fds[] = {stream[0], stream[1], spool};
    start(fixture, "exec sleep 1000", fds, ARRAY_SIZE(fds));
    assert_false(qemu_unblock(&fixture->id, false));
    assert_int_equal(unread(stream[1]), 5);
    assert_true(qemu_unblock(&fixture->id, true));
    assert_int_equal(unread(stream[1]), 0);
    assert_int_equal(write(stream[0], "bytes", 5), 5);
    assert_int_equal(lseek(spool, 0, SEEK_SET), 0); /* not begun: the move is void */
    assert_true(qemu_unblock(&fixture->id, false));
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        close(fds[i]);
}

static void test_another_process_of_its_number_is_not_touched(void **state)
{
    struct testing_script *fixture = *state;
    int stream[2];
    make_pair(stream);
    assert_int_equal(write(stream[0], "bytes", 5), 5);
    start(fixture, "exec sleep 1000", stream, 2);
    struct process_id another = fixture->id;
    another.start_time--;
    assert_false(qemu_unblock(&another, false));
    assert_int_equal(unread(stream[1]), 5);
    assert_true(qemu_unblock(&fixture->id, false));
    assert_int_equal(unread(stream[1]), 0);
    close(stream[0]);
    close(stream[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_who_stands_in_a_write_gets_through,
                                        testing_script_set_up, testing_script_tear_down),
        cmocka_unit_test_setup_teardown(test_what_others_said_stays, testing_script_set_up,
                                        testing_script_tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_spooled_stays, testing_script_set_up,
                                        testing_script_tear_down),
        cmocka_unit_test_setup_teardown(test_another_process_of_its_number_is_not_touched,
                                        testing_script_set_up, testing_script_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
