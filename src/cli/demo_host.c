/* SPDX-License-Identifier: Apache-2.0 */
/* One host of the demo. */
#include "cli/demo_host.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/file.h"
#include "cli/demo_files.h"
#include "cli/output.h"
#include "qemu/child.h"
#include "wire/tls.h"

#define QEMU_USER    "mudanza-qemu" /* scripts/setup and the packages make it */
#define READY_MS     30000
#define CALL_MS      30000
#define STOP_MS      10000
#define RECEIVE_SIZE (32 << 20)
#define LOG_MAX      ((size_t)4 << 20)
#define LOG_LINES    5

/* --- the agent --------------------------------------------------------------------------------*/

/* Its configuration: a file of our own, so that the machine's has no say. Returns its path, owned
 * by the caller; NULL on error. */
static char *write_config(const struct demo_host *host, struct error **err)
{
    CLEANUP_FREE char *path = text_format("%s/mudanzad.conf", host->directory);
    CLEANUP_TEXT struct text text = {0};
    text_append(&text, "name = %s\n", host->name);
    text_append(&text, "listen = %s:%d\n", host->address, WIRE_DEFAULT_PORT);
    text_append(&text, "socket = %s\n", host->socket);
    text_append(&text, "state-dir = %s/state\n", host->directory);
    text_append(&text, "run-dir = %s/run\n", host->directory);
    text_append(&text, "emulator = " DEMO_EMULATOR "\n");
    text_append(&text, "qemu-user = %s\n", getpwnam(QEMU_USER) ? QEMU_USER : "");
    text_append(&text, "log-level = warning\n");
    if (file_write_atomic(path, text.data, text.length, 0600, err) < 0)
        return NULL;
    return STEAL(path);
}

/* The socket at which it says that it is ready, as systemd would have it. */
static int open_notify(const char *path, struct error **err)
{
    struct sockaddr_un address;
    if (fd_unix_address(path, &address, err) < 0)
        return error_prefix(err, "%s", path);
    CLEANUP_CLOSE int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        return error_errno(err, errno, "%s", path);
    return STEAL_FD(fd);
}

static bool says_ready(int notify_fd)
{
    char message[4096];
    ssize_t length = recv(notify_fd, message, sizeof(message) - 1, MSG_DONTWAIT);
    if (length <= 0)
        return false;
    message[length] = '\0';
    return strstr(message, "READY=1") != NULL;
}

static int await_ready(const struct demo_host *host, int notify_fd, struct error **err)
{
    const int64_t deadline_ns = clock_deadline_ns(READY_MS);
    CLEANUP_CLOSE int ended = pidfd_open(host->pid, 0);
    if (ended < 0)
        return error_errno(err, errno, "pidfd_open");
    for (;;) {
        struct pollfd polls[] = {{.fd = notify_fd, .events = POLLIN},
                                 {.fd = ended, .events = POLLIN},
                                 {.fd = host->cancel_fd, .events = POLLIN}};
        int ready = poll(polls, ARRAY_SIZE(polls), clock_poll_ms(deadline_ns));
        if (ready < 0 && errno != EINTR)
            return error_errno(err, errno, "poll");
        if (ready == 0)
            return error_set(err, ERROR_TIMEOUT, "the agent is not ready in time");
        if (ready > 0 && polls[2].revents)
            return error_set(err, ERROR_CANCELLED, "cancelled");
        if (ready > 0 && polls[0].revents && says_ready(notify_fd))
            return 0;
        if (ready > 0 && polls[1].revents)
            return error_set(err, ERROR_SYSTEM, "the agent ended before it was ready");
    }
}

/* In a session of its own, so that Ctrl-C is not for it but for us. */
static int launch(struct demo_host *host, const char *agent, struct error **err)
{
    CLEANUP_FREE char *config = write_config(host, err);
    if (!config)
        return -1;
    CLEANUP_FREE char *log = text_format("%s/log", host->directory);
    CLEANUP_FREE char *path = text_format("%s/notify", host->directory);
    CLEANUP_FREE char *variable = text_format("NOTIFY_SOCKET=%s", path);
    CLEANUP_CLOSE int notify_fd = open_notify(path, err);
    if (notify_fd < 0)
        return -1;
    CLEANUP_CLOSE int log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log_fd < 0)
        return error_errno(err, errno, "%s", log);
    const char *const argv[] = {"ip",     "netns", "exec",     host->namespace, "env", variable,
                                "setsid", agent,   "--config", config,          NULL};
    pid_t pid = child_start(argv, log_fd, log_fd, -1, err);
    if (pid < 0)
        return -1;
    host->pid = pid;
    return await_ready(host, notify_fd, err);
}

/* Asks it for what the others must know, and whether it runs QEMU at all. */
static int introduce(struct demo_host *host, struct error **err)
{
    CLEANUP_JSON json_t *reply = NULL;
    const char *fingerprint;
    if (demo_host_call(host, "GetAgent", NULL, &reply, err) < 0 ||
        json_need_string(reply, "fingerprint", &fingerprint, err) < 0)
        return -1;
    host->fingerprint = text_copy(fingerprint);
    host->emulator_version = text_copy(json_opt_string(reply, "emulator_version", NULL));
    return 0;
}

int demo_host_start(struct demo_host *host, const char *agent, struct error **err)
{
    host->socket = text_format("%s/mudanza.sock", host->directory);
    if (launch(host, agent, err) < 0 || !(host->agent = varlink_connect_unix(host->socket, err)) ||
        introduce(host, err) < 0)
        return error_prefix(err, "host %s", host->name);
    return 0;
}

void demo_host_stop(struct demo_host *host)
{
    varlink_connection_free(STEAL(host->agent));
    if (host->pid <= 0)
        return;
    CLEANUP_CLOSE int ended = pidfd_open(host->pid, 0);
    kill(host->pid, SIGTERM); /* not waited for yet, so the number is still its own */
    if (ended >= 0)
        fd_wait(ended, POLLIN, -1, clock_deadline_ns(STOP_MS), NULL);
    child_end(host->pid);
    host->pid = 0;
}

int demo_host_call(const struct demo_host *host, const char *method, json_t *parameters,
                   json_t **reply, struct error **err)
{
    CLEANUP_FREE char *name = text_format("io.mudanza.%s", method);
    if (varlink_call(host->agent, name, parameters, reply, host->cancel_fd,
                     clock_deadline_ns(CALL_MS), err) < 0)
        return error_prefix(err, "host %s", host->name);
    return 0;
}

/* --- its network ------------------------------------------------------------------------------*/

/* A socket that stays in the namespace: made while this thread is there. */
static int socket_inside(const char *namespace, struct error **err)
{
    CLEANUP_FREE char *path = text_format("/run/netns/%s", namespace);
    CLEANUP_CLOSE int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    CLEANUP_CLOSE int there = open(path, O_RDONLY | O_CLOEXEC);
    if (home < 0 || there < 0 || setns(there, CLONE_NEWNET) < 0)
        return error_errno(err, errno, "%s", path);
    CLEANUP_CLOSE int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int errnum = errno;
    if (setns(home, CLONE_NEWNET) < 0)
        return error_errno(err, errno, "the way back from %s", path);
    if (fd < 0)
        return error_errno(err, errnum, "a socket in %s", path);
    return STEAL_FD(fd);
}

int demo_host_listen(const struct demo_host *host, uint16_t *port, struct error **err)
{
    static const int on = 1, receive_size = RECEIVE_SIZE;
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof(address);
    CLEANUP_CLOSE int fd = socket_inside(host->namespace, err);
    if (fd < 0)
        return -1;
    inet_pton(AF_INET, host->address, &address.sin_addr);
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &receive_size, sizeof(receive_size)) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on)) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_RXQ_OVFL, &on, sizeof(on)) < 0 ||
        bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) < 0)
        return error_errno(err, errno, "a socket at %s", host->address);
    *port = ntohs(address.sin_port);
    return STEAL_FD(fd);
}

/* --- its end ----------------------------------------------------------------------------------*/

/* Where the last so many lines of a text begin. */
static const char *last_lines(const char *text, int lines)
{
    const char *at = text + strlen(text);
    if (at > text && at[-1] == '\n')
        at--;
    while (at > text && (at[-1] != '\n' || --lines > 0))
        at--;
    return at;
}

void demo_host_log(const struct demo_host *host, struct text *text)
{
    if (!host->directory)
        return;
    CLEANUP_FREE char *path = text_format("%s/log", host->directory);
    CLEANUP_FREE char *log = file_read(path, LOG_MAX, NULL, NULL);
    if (!log || !*log)
        return;
    text_append(text, "%s's agent said last:\n", host->name);
    for (const char *line = last_lines(log, LOG_LINES); *line;
         line += strcspn(line, "\n"), line += *line == '\n') {
        CLEANUP_FREE char *raw = text_format("%.*s", (int)strcspn(line, "\n"), line);
        CLEANUP_FREE char *clean = output_clean(raw);
        text_append(text, "  %s\n", clean);
    }
}

void demo_host_clear(struct demo_host *host)
{
    demo_host_stop(host);
    free(host->namespace);
    free(host->directory);
    free(host->socket);
    free(host->fingerprint);
    free(host->emulator_version);
    *host = (struct demo_host){.cancel_fd = -1};
}
