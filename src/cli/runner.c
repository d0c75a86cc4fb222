/* SPDX-License-Identifier: Apache-2.0 */
/* Runs the program for tests. */
#include "base/test.h"

#include "cli/runner.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"

#define ARGUMENTS_MAX 24
#define PATIENCE_S    60 /* for a program that hangs: the test fails then, instead of hanging too */

/* Two ends of what carries standard error. */
static void open_stderr(const struct runner *runner, int ends[2])
{
    struct winsize size = {.ws_row = 24, .ws_col = runner->columns};
    if (runner->columns)
        assert_int_equal(openpty(&ends[0], &ends[1], NULL, NULL, &size), 0);
    else
        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    fcntl(ends[1], F_SETFD, FD_CLOEXEC);
}

static int open_input(const struct runner *runner)
{
    int fd = memfd_create("stdin", MFD_CLOEXEC);
    assert_true(fd >= 0);
    if (runner->input)
        assert_int_equal(fd_write_full(fd, runner->input, strlen(runner->input), NULL), 0);
    lseek(fd, 0, SEEK_SET);
    return fd;
}

/* The environment of the run: only what the program looks at. */
static void make_environment(const struct runner *runner, char *socket, size_t size,
                             char *environment[])
{
    size_t count = 0;
    environment[count++] = (char *)"TERM=xterm";
    environment[count++] = (char *)"XDG_RUNTIME_DIR=/nonexistent";
    if (runner->no_colour)
        environment[count++] = (char *)"NO_COLOR=1";
    if (runner->socket) {
        snprintf(socket, size, "MUDANZA_CONNECT=%s", runner->socket);
        environment[count++] = socket;
    }
    environment[count] = NULL;
}

static void forget_texts(struct runner *runner)
{
    cleanup_text_function(&runner->stdout_text);
    cleanup_text_function(&runner->stderr_text);
    runner->stdout_text = runner->stderr_text = (struct text){0};
}

static void spawn(struct runner *runner, char *const argv[], int input, int err)
{
    char socket[256], *environment[8];
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t all, none;
    make_environment(runner, socket, sizeof(socket), environment);
    sigfillset(&all);
    sigemptyset(&none);
    if (runner->nohup)
        sigdelset(&all, SIGHUP);
    void (*before)(int) = signal(SIGHUP, runner->nohup ? SIG_IGN : SIG_DFL);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, runner->out, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, err, STDERR_FILENO);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    int result =
        posix_spawn(&runner->pid, runner->program, &actions, &attributes, argv, environment);
    signal(SIGHUP, before);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    if (result != 0) {
        runner->pid = 0;
        fail_msg("%s: %s", runner->program, strerror(result));
    }
}

void runner_start(struct runner *runner, const char *const arguments[])
{
    char *argv[ARGUMENTS_MAX + 2] = {(char *)"mudanza"};
    int ends[2];
    for (size_t i = 0; arguments[i]; i++) {
        assert_true(i < ARGUMENTS_MAX);
        argv[i + 1] = (char *)arguments[i];
    }
    forget_texts(runner);
    open_stderr(runner, ends);
    runner->out =
        runner->full ? open("/dev/full", O_RDWR | O_CLOEXEC) : memfd_create("stdout", MFD_CLOEXEC);
    runner->err = ends[0];
    CLEANUP_CLOSE int input = open_input(runner);
    spawn(runner, argv, input, ends[1]);
    close(ends[1]);
}

/* Reads some of standard error. Returns false at its end. */
static bool read_some(struct runner *runner)
{
    char buffer[4096];
    CLEANUP_ERROR struct error *err = NULL;
    assert_ok(fd_wait(runner->err, POLLIN, -1, clock_deadline_ns(PATIENCE_S * INT64_C(1000)), &err),
              err);
    ssize_t got = read(runner->err, buffer, sizeof(buffer));
    if (got > 0)
        text_append_bytes(&runner->stderr_text, buffer, (size_t)got);
    return got > 0; /* a terminal whose other end is closed gives EIO */
}

void runner_await(struct runner *runner, const char *text)
{
    while (!runner->stderr_text.data || !strstr(runner->stderr_text.data, text))
        if (!read_some(runner))
            fail_msg("'%s' was not said: %s", text,
                     runner->stderr_text.data ? runner->stderr_text.data : "nothing was");
}

void runner_signal(struct runner *runner, int number)
{
    assert_int_equal(kill(runner->pid, number), 0);
}

static void read_output(struct runner *runner)
{
    char buffer[4096];
    ssize_t got;
    lseek(runner->out, 0, SEEK_SET);
    while (!runner->full && (got = read(runner->out, buffer, sizeof(buffer))) > 0)
        text_append_bytes(&runner->stdout_text, buffer, (size_t)got);
    text_append(&runner->stdout_text, "%s", "");
    text_append(&runner->stderr_text, "%s", "");
}

int runner_finish(struct runner *runner)
{
    int status = 0;
    while (read_some(runner))
        ;
    assert_int_equal(waitpid(runner->pid, &status, 0), runner->pid);
    runner->pid = 0;
    runner->status = WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
    read_output(runner);
    close(runner->out);
    close(runner->err);
    return runner->status;
}

void runner_clear(struct runner *runner)
{
    if (runner->pid) {
        kill(runner->pid, SIGKILL);
        waitpid(runner->pid, NULL, 0);
        close(runner->out);
        close(runner->err);
        runner->pid = 0;
    }
    forget_texts(runner);
}

json_t *runner_json(const struct runner *runner)
{
    const char *text = runner->stdout_text.data;
    const char *end = strchr(text, '\n');
    CLEANUP_ERROR struct error *err = NULL;
    if (!end || end[1])
        fail_msg("not one line: '%s'", text);
    json_t *value = json_parse(text, (size_t)(end - text), &err);
    if (!json_is_object(value))
        fail_msg("not an object: '%s'", text);
    return value;
}
