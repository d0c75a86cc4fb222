/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of starting, finding and ending processes. */
#include "base/test.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/text.h"
#include "qemu/process.h"
#include "qemu/testing.h"

static void wait_gone(const struct process_id *id)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_CLOSE int fd = process_open(id, &err);
    if (fd >= 0)
        assert_ok(fd_wait(fd, POLLIN, -1, clock_deadline_ns(20000), &err), err);
    else
        assert_int_equal(err->kind, ERROR_NOT_FOUND);
}

/* The whole output of a script that runs to its end. */
static char *script_output(struct testing_script *fixture, const char *script, const char *user,
                           bool need_kvm)
{
    CLEANUP_ERROR struct error *err = NULL;
    assert_ok(testing_script_start(fixture, script, user, need_kvm, NULL, 0, &err), err);
    wait_gone(&fixture->id);
    return process_log_tail(fixture->log);
}

static void test_it_is_no_child_of_ours_and_leads_no_session(void **state)
{
    struct testing_script *fixture = *state;
    CLEANUP_ERROR struct error *err = NULL;
    assert_ok(testing_script_start(fixture, "exec sleep 1000", NULL, false, NULL, 0, &err), err);
    assert_int_equal(waitpid(fixture->id.pid, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
    assert_int_not_equal(getsid(fixture->id.pid), getsid(0));
    assert_int_not_equal(getsid(fixture->id.pid), fixture->id.pid);
    CLEANUP_CLOSE int fd = process_open(&fixture->id, &err);
    assert_ok(fd, err);
    struct process_id another = fixture->id;
    another.start_time--;
    assert_int_equal(process_open(&another, &err), -1);
    assert_int_equal(err->kind, ERROR_NOT_FOUND);
    assert_ok(process_end(&another, 0, NULL), err);
    struct pollfd alive = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&alive, 1, 0), 0);
    assert_ok(process_end(&fixture->id, 20000, NULL), err);
    assert_int_equal(poll(&alive, 1, 0), 1);
    assert_ok(process_end(&fixture->id, 0, NULL), err);
}

static volatile sig_atomic_t alarms;

static void count_alarm(int number)
{
    (void)number;
    alarms++;
}

static void test_a_signal_does_not_make_it_look_dead(void **state)
{
    (void)state;
    const struct itimerval often = {{.tv_usec = 100}, {.tv_usec = 100}}, never = {0};
    const struct sigaction counted = {.sa_handler = count_alarm, .sa_flags = SA_RESTART};
    CLEANUP_CLOSE int fd = pidfd_open(getpid(), 0);
    bool alive = true;
    assert_true(fd >= 0);
    alarms = 0;
    assert_int_equal(sigaction(SIGALRM, &counted, NULL), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
    while (alive && alarms < 1000)
        alive = process_is_alive(fd);
    assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
    assert_true(alive);
}

static void test_one_that_ignores_sigterm_is_killed(void **state)
{
    struct testing_script *fixture = *state;
    CLEANUP_ERROR struct error *err = NULL;
    int ready[2];
    char byte;
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    CLEANUP_FREE char *script = text_format("trap '' TERM; echo >&%d; exec sleep 1000", ready[1]);
    assert_ok(testing_script_start(fixture, script, NULL, false, &ready[1], 1, &err), err);
    assert_ok(fd_read_full(ready[0], &byte, 1, &err), err);
    assert_ok(process_end(&fixture->id, 10, &err), err);
    wait_gone(&fixture->id);
    close(ready[0]);
    close(ready[1]);
}

static void test_only_the_listed_descriptors_are_inherited(void **state)
{
    struct testing_script *fixture = *state;
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_CLOSE int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    CLEANUP_CLOSE int leak = fcntl(null, F_DUPFD, 20); /* deliberately not close-on-exec */
    CLEANUP_CLOSE int kept = fcntl(null, F_DUPFD_CLOEXEC, 100);
    CLEANUP_CLOSE int second = fcntl(null, F_DUPFD_CLOEXEC, 50);
    const int fds[] = {kept, second};
    assert_true(leak >= 20 && kept >= 100 && second >= 50);
    assert_ok(testing_script_start(fixture, "for f in /proc/$$/fd/*; do echo ${f##*/}; done", NULL,
                                   false, fds, 2, &err),
              err);
    wait_gone(&fixture->id);
    CLEANUP_FREE char *log = process_log_tail(fixture->log);
    /* 3 is the directory that the shell lists; the leaked one is above it. */
    CLEANUP_FREE char *expected = text_format("0\n1\n%d\n2\n3\n%d", kept, second);
    assert_string_equal(log, expected);
}

static void test_failures_say_what_failed(void **state)
{
    struct testing_script *fixture = *state;
    CLEANUP_ERROR struct error *err = NULL;
    const char *const argv[] = {"/nonexistent/qemu", NULL};
    struct process_start start = {.argv = (char *const *)(uintptr_t)argv, .log_path = fixture->log};
    assert_int_equal(process_start(&start, &fixture->id, &err), -1);
    assert_string_equal(
        err->message,
        "starting /nonexistent/qemu: running the emulator: No such file or directory");
    error_free(STEAL(err));
    start.log_path = "/nonexistent/log";
    assert_int_equal(process_start(&start, &fixture->id, &err), -1);
    assert_string_equal(err->message,
                        "starting /nonexistent/qemu: /nonexistent/log: No such file or directory");
    error_free(STEAL(err));
    start.log_path = fixture->log;
    start.user = "no-such-user";
    assert_int_equal(process_start(&start, &fixture->id, &err), -1);
    assert_int_equal(err->kind, geteuid() == 0 ? ERROR_NOT_FOUND : err->kind);
    assert_non_null(strstr(err->message, "no-such-user"));
    assert_int_equal(fixture->id.pid, 0);
}

static void test_the_log_is_private_and_its_tail_starts_with_a_whole_line(void **state)
{
    struct testing_script *fixture = *state;
    CLEANUP_FREE char *tail = script_output(
        fixture, "i=1000; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done", NULL, false);
    struct stat log;
    assert_int_equal(stat(fixture->log, &log), 0);
    assert_int_equal(log.st_mode & 07777, 0600);
    assert_true(strlen(tail) <= 2000);
    assert_memory_equal(tail, "line 1", 6);
    assert_string_equal(tail + strlen(tail) - 9, "line 1999");
    CLEANUP_FREE char *none = process_log_tail("/nonexistent");
    assert_string_equal(none, "");
}

static void test_user_groups_and_privileges_are_dropped(void **state)
{
    if (geteuid() != 0)
        skip();
    struct testing_script *fixture = *state;
    CLEANUP_FREE char *log = script_output(
        fixture, "grep -E '^(Uid|Groups|NoNewPrivs|CapEff|SigBlk|SigIgn)' /proc/self/status; umask",
        "nobody", false);
    assert_string_equal(log, "Uid: 65534 65534 65534 65534\n"
                             "Groups: 65534 \n"
                             "SigBlk: 0000000000000000\n"
                             "SigIgn: 0000000000000000\n"
                             "CapEff: 0000000000000000\n"
                             "NoNewPrivs: 1\n"
                             "0077");
}

static void test_dev_kvm_is_opened_for_its_user_only(void **state)
{
    struct stat before = {0}, after;
    if (geteuid() != 0 || stat("/dev/kvm", &before) < 0)
        skip();
    if (before.st_mode & 0006)
        skip(); /* open to everyone here: nothing to do */
    /* Mounts that would propagate, as under systemd, but in a namespace of the test's own, which
     * does not hear of what others mount meanwhile. */
    assert_int_equal(unshare(CLONE_NEWNS), 0);
    assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
    assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_SHARED, NULL), 0);
    struct testing_script *fixture = *state;
    CLEANUP_FREE char *mounts = file_read("/proc/self/mountinfo", 1 << 20, NULL, NULL);
    CLEANUP_FREE char *log = script_output(
        fixture, "exec 9<>/dev/kvm && echo opened; stat -c %a:%U /dev/kvm; ls -d /tmp", "nobody",
        true);
    assert_string_equal(log, "opened\n600:nobody\n/tmp");
    CLEANUP_FREE char *mounts_after = file_read("/proc/self/mountinfo", 1 << 20, NULL, NULL);
    assert_string_equal(mounts_after, mounts);
    assert_int_equal(stat("/dev/kvm", &after), 0);
    assert_int_equal(after.st_ino, before.st_ino);
    assert_int_equal(after.st_mode, before.st_mode);
    assert_int_equal(after.st_uid, before.st_uid);
}

static void test_qemu_starts_and_ends(void **state)
{
    struct testing_script *fixture = *state;
    if (!testing_emulator())
        skip();
    struct testing_qemu qemu;
    const char *const args[] = {"-M", "none", "-S", "-accel", "tcg", NULL};
    testing_start(&qemu, fixture->directory, "qemu", testing_emulator(), args, NULL, 0, NULL);
    const struct process_id id = qemu.id;
    CLEANUP_CLOSE int fd = process_open(&id, NULL);
    assert_true(fd >= 0);
    testing_stop(&qemu);
    CLEANUP_ERROR struct error *err = NULL;
    assert_int_equal(process_open(&id, &err), -1);
    assert_int_equal(err->kind, ERROR_NOT_FOUND);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN); /* as the agent does; a child must not inherit it */
#define PROCESS_TEST(name)                                                                         \
    cmocka_unit_test_setup_teardown(name, testing_script_set_up, testing_script_tear_down)
    const struct CMUnitTest tests[] = {
        PROCESS_TEST(test_it_is_no_child_of_ours_and_leads_no_session),
        cmocka_unit_test(test_a_signal_does_not_make_it_look_dead),
        PROCESS_TEST(test_one_that_ignores_sigterm_is_killed),
        PROCESS_TEST(test_only_the_listed_descriptors_are_inherited),
        PROCESS_TEST(test_failures_say_what_failed),
        PROCESS_TEST(test_the_log_is_private_and_its_tail_starts_with_a_whole_line),
        PROCESS_TEST(test_user_groups_and_privileges_are_dropped),
        PROCESS_TEST(test_dev_kvm_is_opened_for_its_user_only),
        PROCESS_TEST(test_qemu_starts_and_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
