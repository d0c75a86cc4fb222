/* SPDX-License-Identifier: Apache-2.0 */
/* Short-lived helper programs: started, read, and gone with us. */
#include "qemu/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/text.h"

#define LAST_LINE_MAX   1000
#define EXIT_NO_PROGRAM 127

/* The program's path; owned by the caller. What cannot be found is left for exec to refuse. */
static char *child_program(const char *name)
{
    const char *path = strchr(name, '/') ? NULL : getenv("PATH");
    while (path && *path) {
        const size_t length = strcspn(path, ":");
        char *candidate = text_format("%.*s/%s", (int)length, path, name);
        if (access(candidate, X_OK) == 0)
            return candidate;
        free(candidate);
        path += length + (path[length] == ':');
    }
    return text_copy(name);
}

/* Between fork and exec: async-signal-safe calls only. */
static _Noreturn void child_exec(const char *program, const char *const *argv, const int stdio[3],
                                 int keep_fd, pid_t parent)
{
    sigset_t none;
    sigemptyset(&none);
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
        _exit(EXIT_NO_PROGRAM);
    for (int fd = 0; fd < 3; fd++)
        if (dup2(stdio[fd], fd) < 0)
            _exit(EXIT_NO_PROGRAM);
    if (keep_fd >= 0 && fcntl(keep_fd, F_SETFD, 0) < 0)
        _exit(EXIT_NO_PROGRAM);
    execv(program, (char *const *)(uintptr_t)argv);
    _exit(EXIT_NO_PROGRAM);
}

pid_t child_start(const char *const *argv, int output_fd, int error_fd, int keep_fd,
                  struct error **err)
{
    CLEANUP_FREE char *program = child_program(argv[0]);
    if (access(program, X_OK) < 0)
        return error_errno(err, errno, "%s", argv[0]);
    CLEANUP_CLOSE int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (null_fd < 0)
        return error_errno(err, errno, "/dev/null");
    const int stdio[3] = {null_fd, output_fd, error_fd};
    const pid_t parent = getpid();
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t pid = fork();
    if (pid == 0)
        child_exec(program, argv, stdio, keep_fd, parent);
    int errnum = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return pid < 0 ? error_errno(err, errnum, "%s: fork", argv[0]) : pid;
}

int child_end(pid_t pid)
{
    int status = 0;
    kill(pid, SIGKILL); /* not waited for yet, so the number is still its own */
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return status;
}

/* Reads all of `fd` until its end. */
static int child_read(int fd, size_t max, int64_t deadline_ns, struct text *text,
                      struct error **err)
{
    char buffer[65536];
    text_append(text, "%s", ""); /* so that it is text also when nothing comes */
    for (;;) {
        if (fd_wait(fd, POLLIN, -1, deadline_ns, err) < 0)
            return -1;
        ssize_t got = read(fd, buffer, sizeof(buffer));
        if (got == 0)
            return 0;
        if (got < 0 && errno != EINTR)
            return error_errno(err, errno, "reading");
        if (got > 0 && text->length + (size_t)got > max)
            return error_set(err, ERROR_INVALID, "it says more than %zu bytes", max);
        if (got > 0)
            text_append_bytes(text, buffer, (size_t)got);
    }
}

/* Success, or the last line of what it said on standard error. */
static int child_check(int status, int error_fd, struct error **err)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    if (WIFSIGNALED(status))
        return error_set(err, ERROR_SYSTEM, "it was killed by signal %d", WTERMSIG(status));
    char said[LAST_LINE_MAX + 1] = "";
    off_t end = lseek(error_fd, 0, SEEK_END);
    ssize_t got =
        pread(error_fd, said, LAST_LINE_MAX, end > LAST_LINE_MAX ? end - LAST_LINE_MAX : 0);
    while (got > 0 && said[got - 1] == '\n')
        got--;
    if (got <= 0)
        return error_set(err, ERROR_SYSTEM, "it ended with status %d", WEXITSTATUS(status));
    said[got] = '\0';
    const char *line = strrchr(said, '\n');
    return error_set(err, ERROR_SYSTEM, "%s", line ? line + 1 : said);
}

/* Reads its output and waits for its end; kills it when that takes too long. */
static int child_finish(pid_t pid, int output_fd, int error_fd, size_t max, int64_t deadline_ns,
                        struct text *text, struct error **err)
{
    CLEANUP_CLOSE int ended = pidfd_open(pid, 0);
    int result = ended < 0 ? error_errno(err, errno, "pidfd_open")
                           : child_read(output_fd, max, deadline_ns, text, err);
    if (result == 0)
        result = fd_wait(ended, POLLIN, -1, deadline_ns, err);
    int status = child_end(pid);
    return result < 0 ? -1 : child_check(status, error_fd, err);
}

char *child_output(const char *const *argv, size_t max, int64_t deadline_ns, struct error **err)
{
    int output[2];
    CLEANUP_CLOSE int error_fd = memfd_create("standard-error", MFD_CLOEXEC);
    if (error_fd < 0 || pipe2(output, O_CLOEXEC) < 0) {
        error_errno(err, errno, "%s", argv[0]);
        return NULL;
    }
    CLEANUP_CLOSE int output_fd = output[0];
    pid_t pid = child_start(argv, output[1], error_fd, -1, err);
    close(output[1]);
    if (pid < 0)
        return NULL;
    CLEANUP_TEXT struct text text = {0};
    if (child_finish(pid, output_fd, error_fd, max, deadline_ns, &text, err) < 0) {
        error_prefix(err, "%s", argv[0]);
        return NULL;
    }
    return STEAL(text.data);
}
