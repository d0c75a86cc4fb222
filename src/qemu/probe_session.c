/* SPDX-License-Identifier: Apache-2.0 */
/* A QEMU that runs no guest and is only asked questions. */
#include "qemu/probe_session.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/text.h"
#include "qemu/child.h"

#define SESSION_START_MS 20000
#define SESSION_ARGS_MAX 32
#define LAST_LINE_MAX    1000

/* The last line of what QEMU said, in front of which the error already stands. */
static void probe_session_last_words(int said_fd, struct error **err)
{
    char said[LAST_LINE_MAX + 1];
    off_t end = lseek(said_fd, 0, SEEK_END);
    ssize_t got =
        pread(said_fd, said, LAST_LINE_MAX, end > LAST_LINE_MAX ? end - LAST_LINE_MAX : 0);
    while (got > 0 && said[got - 1] == '\n')
        got--;
    if (got <= 0 || !err || !*err)
        return;
    said[got] = '\0';
    const char *line = strrchr(said, '\n');
    struct error *whole = NULL;
    error_set(&whole, ERROR_QEMU, "%s: %s", (*err)->message, line ? line + 1 : said);
    error_free(*err);
    *err = whole;
}

static int probe_session_run(struct probe_session *session, const char *emulator, bool kvm,
                             const char *const *args, struct error **err)
{
    int monitor[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, monitor) < 0)
        return error_errno(err, errno, "socketpair");
    char chardev[64];
    snprintf(chardev, sizeof(chardev), "socket,id=monitor,fd=%d", monitor[1]);
    const char *argv[SESSION_ARGS_MAX] = {emulator,      "-S",
                                          "-nodefaults", "-no-user-config",
                                          "-display",    "none",
                                          "-chardev",    chardev,
                                          "-mon",        "chardev=monitor,mode=control",
                                          "-accel",      kvm ? "kvm" : "tcg"};
    for (size_t n = 12; *args && n + 1 < SESSION_ARGS_MAX; n++)
        argv[n] = *args++;
    session->pid = child_start(argv, session->said_fd, session->said_fd, monitor[1], err);
    close(monitor[1]);
    if (session->pid < 0) {
        close(monitor[0]);
        return -1;
    }
    session->qmp = qmp_attach(monitor[0], NULL, -1, clock_deadline_ns(SESSION_START_MS), err);
    return session->qmp ? 0 : -1;
}

int probe_session_start(struct probe_session *session, const char *emulator, bool kvm,
                        const char *const *args, struct error **err)
{
    struct error *problem = NULL;
    *session = (struct probe_session){.pid = -1, .said_fd = memfd_create("qemu", MFD_CLOEXEC)};
    if (session->said_fd < 0)
        return error_errno(err, errno, "memfd_create");
    if (probe_session_run(session, emulator, kvm, args, &problem) == 0)
        return 0;
    const int said_fd = dup(session->said_fd);
    probe_session_end(session); /* all that it says is said when it has ended */
    if (said_fd >= 0) {
        probe_session_last_words(said_fd, &problem);
        close(said_fd);
    }
    error_move(err, problem);
    return error_prefix(err, "asking %s", emulator);
}

void probe_session_end(struct probe_session *session)
{
    qmp_close(session->qmp);
    if (session->pid > 0)
        child_end(session->pid);
    if (session->said_fd >= 0)
        close(session->said_fd);
    *session = (struct probe_session){.pid = -1, .said_fd = -1};
}
