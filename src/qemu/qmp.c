/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QMP client: commands from any thread, events as they come.
 *
 * Theory of operation. The handshake (greeting, qmp_capabilities) is read by the connecting thread,
 * so that it can be cancelled and timed out; then one reader thread owns the receiving side until
 * the end. A command is a `struct qmp_call` on its caller's stack, linked into `calls` while it
 * waits. The reader finds it by its id and fills in the reply; a reply whose caller has given up
 * finds no call and is dropped. When the connection ends the reader records why (`ended`), wakes
 * every caller, and calls the `closed` handler last. `lock` guards calls, ended and next_id;
 * `send_lock` keeps the bytes of one command together; it is taken before `lock`, never after.
 */
#include "qemu/qmp.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "qemu/qmp_parse.h"

#define RECEIVE_SIZE     ((size_t)65536)
#define CONNECT_AGAIN_MS 10

struct qmp_call {
    int64_t id;
    json_t *reply; /* the whole message; owned */
    struct qmp_call *next;
};

struct qmp {
    int fd, stop_fd; /* stop_fd: an eventfd that ends the reader */
    int version;
    struct qmp_handler handler;
    pthread_t reader;
    pthread_mutex_t send_lock, descriptor_lock;

    pthread_mutex_t lock;
    pthread_cond_t changed; /* a reply came, or the connection ended */
    struct qmp_call *calls;
    struct error *ended; /* why; NULL while connected */
    int64_t next_id;

    /* Received bytes [0, length) of which [0, scanned) hold no line end. Reader only. */
    char *buffer;
    size_t length, scanned, capacity;
    int64_t received_ns;
};

static int qmp_ended(struct error **err)
{
    return error_set(err, ERROR_QEMU, "the QEMU process ended");
}

/* Receives at least one byte more. `cancel_fd` readable: ERROR_CANCELLED. */
static int qmp_receive_some(struct qmp *qmp, int cancel_fd, int64_t deadline_ns, struct error **err)
{
    if (qmp->capacity - qmp->length < RECEIVE_SIZE) {
        if (qmp->length > (size_t)QMP_MESSAGE_MAX)
            return error_set(err, ERROR_CORRUPT,
                             "QEMU's monitor sent a message of more than %d bytes",
                             QMP_MESSAGE_MAX);
        size_t capacity = 2 * qmp->capacity + RECEIVE_SIZE;
        char *larger = realloc(qmp->buffer, capacity);
        if (!larger)
            return error_set(err, ERROR_SYSTEM, "out of memory");
        qmp->buffer = larger;
        qmp->capacity = capacity;
    }
    for (;;) {
        if (fd_wait(qmp->fd, POLLIN, cancel_fd, deadline_ns, err) < 0)
            return -1;
        ssize_t got = recv(qmp->fd, qmp->buffer + qmp->length, RECEIVE_SIZE, MSG_DONTWAIT);
        if (got > 0) {
            qmp->received_ns = clock_now_ns();
            qmp->length += (size_t)got;
            return 0;
        }
        if (got == 0 || errno == ECONNRESET)
            return qmp_ended(err);
        if (errno != EAGAIN && errno != EINTR)
            return error_errno(err, errno, "QEMU's monitor");
    }
}

/* The next message, parsed; owned by the caller. QMP ends each one with a newline. */
static json_t *qmp_receive(struct qmp *qmp, int cancel_fd, int64_t deadline_ns, struct error **err)
{
    char *end;
    for (;;) {
        size_t fresh = qmp->length - qmp->scanned;
        end = fresh ? memchr(qmp->buffer + qmp->scanned, '\n', fresh) : NULL;
        if (end)
            break;
        qmp->scanned = qmp->length;
        if (qmp_receive_some(qmp, cancel_fd, deadline_ns, err) < 0)
            return NULL;
    }
    size_t size = (size_t)(end - qmp->buffer);
    json_t *message = qmp_parse(qmp->buffer, size, err);
    if (!message)
        error_prefix(err, "QEMU's monitor");
    qmp->length -= size + 1;
    qmp->scanned = 0;
    memmove(qmp->buffer, end + 1, qmp->length);
    return message;
}

/* Sends `size` bytes, the first of them together with descriptor `fd` unless it is -1. */
static int qmp_send_some(int socket_fd, const char *data, size_t size, int fd, ssize_t *sent)
{
    union {
        char space[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {0};
    struct iovec payload = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};
    struct msghdr message = {.msg_iov = &payload, .msg_iovlen = 1};
    if (fd >= 0) {
        message.msg_control = control.space;
        message.msg_controllen = sizeof(control.space);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(header), &fd, sizeof(int));
    }
    *sent = sendmsg(socket_fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    return *sent < 0 ? errno : 0;
}

/*
 * Sends a whole command. After an error in the middle the stream has half a command in it, so the
 * connection is shut down and the reader ends it for everybody.
 */
static int qmp_send(struct qmp *qmp, const char *data, size_t size, int fd, int cancel_fd,
                    int64_t deadline_ns, struct error **err)
{
    LOCK_SCOPE(&qmp->send_lock);
    for (size_t done = 0; done < size;) {
        ssize_t sent;
        int errnum = qmp_send_some(qmp->fd, data + done, size - done, done ? -1 : fd, &sent);
        if (errnum == 0) {
            done += (size_t)sent;
            continue;
        }
        if (errnum == EINTR)
            continue;
        if (errnum == EAGAIN && fd_wait(qmp->fd, POLLOUT, cancel_fd, deadline_ns, err) == 0)
            continue;
        if (done)
            shutdown(qmp->fd, SHUT_RDWR);
        if (errnum == EAGAIN)
            return -1; /* fd_wait's error */
        if (errnum == EPIPE || errnum == ECONNRESET) {
            qmp_ended(err);
            if (err && *err && !done)
                (*err)->sys_errno = EPIPE; /* certainly not sent */
            return -1;
        }
        return error_errno(err, errnum, "QEMU's monitor");
    }
    return 0;
}

/* A command as one line of text; owned by the caller. */
static char *qmp_format(const char *command, json_t *arguments, int64_t id)
{
    CLEANUP_JSON json_t *message =
        json_pack("{s:s, s:I}", "execute", command, "id", (json_int_t)id);
    if (message && arguments)
        json_object_set(message, "arguments", arguments);
    CLEANUP_FREE char *text = message ? json_dumps(message, JSON_COMPACT) : NULL;
    return text ? text_format("%s\n", text) : NULL;
}

/* Takes the "return" member out of a reply message, or makes its error ours. */
static int qmp_take_reply(const char *command, const json_t *message, json_t **reply,
                          struct error **err)
{
    const json_t *problem = json_object_get(message, "error");
    if (problem)
        return error_set(err, ERROR_QEMU, "%s: %s", command,
                         json_opt_string(problem, "desc", "failed without a description"));
    json_t *value = json_object_get(message, "return");
    if (!value)
        return error_set(err, ERROR_CORRUPT, "%s: QEMU's reply has neither result nor error",
                         command);
    if (reply)
        *reply = json_incref(value);
    return 0;
}

/* Hands the message over to the thread that waits for it: true, and it is no longer ours. */
static bool qmp_handle_reply(struct qmp *qmp, json_t *message)
{
    const json_t *id = json_object_get(message, "id");
    LOCK_SCOPE(&qmp->lock);
    for (struct qmp_call *call = qmp->calls; call; call = call->next) {
        if (json_is_integer(id) && json_integer_value(id) == call->id && !call->reply) {
            call->reply = message;
            pthread_cond_broadcast(&qmp->changed);
            return true;
        }
    }
    log_debug(NULL, "QEMU's monitor: a reply that nobody waits for any more");
    return false;
}

static void *qmp_reader(void *argument)
{
    struct qmp *qmp = argument;
    struct error *reason = NULL;
    for (;;) {
        CLEANUP_JSON json_t *message = qmp_receive(qmp, qmp->stop_fd, DEADLINE_NEVER, &reason);
        if (!message)
            break;
        const char *event = json_opt_string(message, "event", NULL);
        if (!event && qmp_handle_reply(qmp, message))
            message = NULL;
        else if (event && qmp->handler.event)
            qmp->handler.event(qmp->handler.context, event, json_object_get(message, "data"),
                               qmp->received_ns);
    }
    const bool stopped = reason->kind == ERROR_CANCELLED;
    shutdown(qmp->fd, SHUT_RDWR);
    pthread_mutex_lock(&qmp->lock);
    qmp->ended = reason;
    pthread_cond_broadcast(&qmp->changed);
    pthread_mutex_unlock(&qmp->lock);
    if (!stopped && qmp->handler.closed)
        qmp->handler.closed(qmp->handler.context);
    return NULL;
}

/* Waits until the reader has filled in the reply; the lock is held. */
static int qmp_wait(struct qmp *qmp, const struct qmp_call *call, int64_t timeout_ms,
                    struct error **err)
{
    const int64_t deadline_ns = clock_deadline_ns(timeout_ms);
    const struct timespec until = {.tv_sec = deadline_ns / NS_PER_S,
                                   .tv_nsec = deadline_ns % NS_PER_S};
    int result = 0;
    while (!call->reply && !qmp->ended && result != ETIMEDOUT)
        result = pthread_cond_timedwait(&qmp->changed, &qmp->lock, &until);
    if (call->reply)
        return 0;
    if (qmp->ended)
        return error_set(err, ERROR_QEMU, "%s", qmp->ended->message);
    return error_set(err, ERROR_TIMEOUT, "QEMU did not answer within %" PRId64 " ms", timeout_ms);
}

static void qmp_forget(struct qmp *qmp, const struct qmp_call *call)
{
    for (struct qmp_call **link = &qmp->calls; *link; link = &(*link)->next) {
        if (*link == call) {
            *link = call->next;
            return;
        }
    }
}

int qmp_execute_timeout(struct qmp *qmp, const char *command, json_t *arguments, int fd,
                        int64_t timeout_ms, json_t **reply, struct error **err)
{
    CLEANUP_JSON json_t *owned_arguments = arguments;
    struct qmp_call call = {0};
    pthread_mutex_lock(&qmp->lock);
    call.id = qmp->next_id++;
    call.next = qmp->calls;
    qmp->calls = &call; /* cppcheck-suppress autoVariables; unlinked below */
    pthread_mutex_unlock(&qmp->lock);

    CLEANUP_FREE char *text = qmp_format(command, owned_arguments, call.id);
    int result = text
                     ? qmp_send(qmp, text, strlen(text), fd, -1, clock_deadline_ns(timeout_ms), err)
                     : error_set(err, ERROR_INTERNAL, "arguments are not JSON");

    pthread_mutex_lock(&qmp->lock);
    if (result == 0)
        result = qmp_wait(qmp, &call, timeout_ms, err);
    qmp_forget(qmp, &call);
    pthread_mutex_unlock(&qmp->lock);

    CLEANUP_JSON json_t *message = call.reply;
    if (result < 0)
        return error_prefix(err, "%s", command);
    return qmp_take_reply(command, message, reply, err);
}

int qmp_execute(struct qmp *qmp, const char *command, json_t *arguments, json_t **reply,
                struct error **err)
{
    return qmp_execute_timeout(qmp, command, arguments, -1, QMP_TIMEOUT_MS, reply, err);
}

int qmp_execute_fd(struct qmp *qmp, const char *command, json_t *arguments, int fd, json_t **reply,
                   struct error **err)
{
    /* QEMU keeps only the descriptors that came last: one such command at a time. */
    LOCK_SCOPE(&qmp->descriptor_lock);
    return qmp_execute_timeout(qmp, command, arguments, fd, QMP_TIMEOUT_MS, reply, err);
}

int qmp_human(struct qmp *qmp, const char *line, char **output, struct error **err)
{
    CLEANUP_JSON json_t *reply = NULL;
    if (qmp_execute(qmp, "human-monitor-command", json_pack("{s:s}", "command-line", line), &reply,
                    err) < 0)
        return -1;
    if (!json_is_string(reply))
        return error_set(err, ERROR_CORRUPT, "human-monitor-command: the reply is not text");
    if (output)
        *output = text_copy(json_string_value(reply));
    return 0;
}

int qmp_version(const struct qmp *qmp)
{
    return qmp->version;
}

/* Greeting and capabilities negotiation, in the connecting thread. */
static int qmp_handshake(struct qmp *qmp, int cancel_fd, int64_t deadline_ns, struct error **err)
{
    CLEANUP_JSON json_t *greeting = qmp_receive(qmp, cancel_fd, deadline_ns, err);
    if (!greeting) {
        const bool silent = err && *err && (*err)->kind == ERROR_TIMEOUT;
        error_prefix(err, "waiting for the greeting of QEMU's monitor");
        return silent ? error_hint(err, "QEMU serves one client at a time: another one may hold it")
                      : -1;
    }
    int major, minor;
    if (json_unpack(greeting, "{s:{s:{s:{s:i, s:i}}}}", "QMP", "version", "qemu", "major", &major,
                    "minor", &minor) < 0)
        return error_set(err, ERROR_CORRUPT, "this is not the greeting of a QEMU monitor");
    qmp->version = major * 1000 + minor;

    const int64_t id = qmp->next_id++;
    CLEANUP_FREE char *text = qmp_format("qmp_capabilities", NULL, id);
    if (!text)
        return error_set(err, ERROR_SYSTEM, "out of memory");
    if (qmp_send(qmp, text, strlen(text), -1, cancel_fd, deadline_ns, err) < 0)
        return error_prefix(err, "qmp_capabilities");
    for (;;) {
        CLEANUP_JSON json_t *message = qmp_receive(qmp, cancel_fd, deadline_ns, err);
        if (!message)
            return error_prefix(err, "qmp_capabilities");
        if (json_opt_int(message, "id", -1) == id)
            return qmp_take_reply("qmp_capabilities", message, NULL, err);
    }
}

static void qmp_free(struct qmp *qmp)
{
    if (!qmp)
        return;
    if (qmp->fd >= 0)
        close(qmp->fd);
    if (qmp->stop_fd >= 0)
        close(qmp->stop_fd);
    pthread_mutex_destroy(&qmp->send_lock);
    pthread_mutex_destroy(&qmp->descriptor_lock);
    pthread_mutex_destroy(&qmp->lock);
    pthread_cond_destroy(&qmp->changed);
    error_free(qmp->ended);
    free(qmp->buffer);
    free(qmp);
}

static void qmp_free_function(struct qmp **qmp)
{
    qmp_free(*qmp);
}

static struct qmp *qmp_new(int fd, const struct qmp_handler *handler)
{
    struct qmp *qmp = calloc(1, sizeof(*qmp));
    if (!qmp)
        return NULL;
    qmp->fd = fd;
    qmp->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (handler)
        qmp->handler = *handler;
    pthread_mutex_init(&qmp->send_lock, NULL);
    pthread_mutex_init(&qmp->descriptor_lock, NULL);
    pthread_mutex_init(&qmp->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&qmp->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return qmp;
}

struct qmp *qmp_attach(int fd, const struct qmp_handler *handler, int cancel_fd,
                       int64_t deadline_ns, struct error **err)
{
    CLEANUP(qmp_free_function) struct qmp *qmp = qmp_new(fd, handler);
    if (!qmp || qmp->stop_fd < 0) {
        error_errno(err, errno, "QEMU's monitor");
        if (!qmp)
            close(fd);
        return NULL;
    }
    if (qmp_handshake(qmp, cancel_fd, deadline_ns, err) < 0)
        return NULL;
    int errnum = pthread_create(&qmp->reader, NULL, qmp_reader, qmp);
    if (errnum) {
        error_errno(err, errnum, "QEMU's monitor: starting a thread");
        return NULL;
    }
    return STEAL(qmp);
}

/* A connected socket. While the backlog is full the kernel offers nothing to wait on: try again. */
static int qmp_connect_socket(const char *path, int cancel_fd, int64_t deadline_ns,
                              struct error **err)
{
    struct sockaddr_un address;
    if (fd_unix_address(path, &address, err) < 0)
        return -1;
    CLEANUP_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return error_errno(err, errno, "socket");
    while (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
        if (errno != EAGAIN && errno != EINTR)
            return error_errno(err, errno, "connecting");
        if (clock_now_ns() >= deadline_ns)
            return error_set(err, ERROR_TIMEOUT, "connecting: QEMU does not accept");
        struct error *pause = NULL;
        fd_wait(-1, 0, cancel_fd, clock_deadline_ns(CONNECT_AGAIN_MS), &pause);
        if (pause->kind != ERROR_TIMEOUT)
            return error_move(err, pause);
        error_free(pause);
    }
    return STEAL_FD(fd);
}

struct qmp *qmp_connect(const char *socket_path, const struct qmp_handler *handler, int cancel_fd,
                        int64_t deadline_ns, struct error **err)
{
    int fd = qmp_connect_socket(socket_path, cancel_fd, deadline_ns, err);
    struct qmp *qmp = fd < 0 ? NULL : qmp_attach(fd, handler, cancel_fd, deadline_ns, err);
    if (!qmp)
        error_prefix(err, "%s", socket_path);
    return qmp;
}

void qmp_close(struct qmp *qmp)
{
    if (!qmp)
        return;
    fd_event_signal(qmp->stop_fd);
    pthread_join(qmp->reader, NULL);
    qmp_free(qmp);
}
