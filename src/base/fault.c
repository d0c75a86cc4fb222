/* SPDX-License-Identifier: Apache-2.0 */
/* Fault injection. */
#include "base/fault.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"

#define ARMED_MAX       32
#define CONNECTIONS_MAX 64
#define EACH_PASSAGE    0 /* in place of a number */

static const struct point {
    const char *name, *role, *phase;
    bool can_fail;
    const char *sentence;
} points[] = {
#define FAULT_ROW(id, name, role, phase, can_fail, sentence)                                       \
    [FAULT_##id] = {name, role, phase, can_fail, sentence},
    FAULT_POINTS(FAULT_ROW)
#undef FAULT_ROW
};

enum action { KILL, STOP, DELAY, HOLD, ERROR, CUT, CUT_ONE, SKIP };

static const struct {
    const char *name;
    bool takes_ms, needs_ms;
} actions[] = {
    [KILL] = {"kill"},   [STOP] = {"stop"},     [DELAY] = {"delay", true, true}, [HOLD] = {"hold"},
    [ERROR] = {"error"}, [CUT] = {"cut", true}, [CUT_ONE] = {"cut-one"},         [SKIP] = {"skip"},
};

struct armed {
    enum fault_point point;
    enum action action;
    int64_t ms;          /* 0: none given */
    unsigned passage;    /* EACH_PASSAGE, or counted from 1 */
    const char *wording; /* the action as it was given, for announcements */
};

/* Written before the process has threads; read by all of them. */
static struct armed armed[ARMED_MAX];
static size_t armed_count;
static char *socket_path;
static atomic_uint passages[FAULT_POINT_COUNT];

static pthread_mutex_t connections_lock = PTHREAD_MUTEX_INITIALIZER;
static int connections[CONNECTIONS_MAX];
static size_t connections_count;
static int64_t network_back_ns;

/* --- arming --- */

static int find_point(const char *name, enum fault_point *point, struct error **err)
{
    for (size_t i = 0; i < FAULT_POINT_COUNT; i++)
        if (strcmp(points[i].name, name) == 0) {
            *point = (enum fault_point)i;
            return 0;
        }
    error_set(err, ERROR_INVALID, "fault '%s': there is no such point", name);
    return error_hint(err, "`mudanzad --list-faults` names them");
}

static int find_action(const char *name, bool with_ms, enum action *action, struct error **err)
{
    for (size_t i = 0; i < ARRAY_SIZE(actions); i++)
        if (strcmp(actions[i].name, name) == 0 &&
            (with_ms ? actions[i].takes_ms : !actions[i].needs_ms)) {
            *action = (enum action)i;
            return 0;
        }
    error_set(err, ERROR_INVALID, "fault: '%s%s' is no action", name, with_ms ? "=MS" : "");
    return error_hint(err, "it is kill, stop, delay=MS, hold, error, cut, cut=MS, cut-one or skip");
}

static int check_fit(const struct armed *new, struct error **err)
{
    const char *name = points[new->point].name;
    if (new->action == ERROR && !points[new->point].can_fail)
        return error_set(err, ERROR_INVALID, "fault: nothing can fail at %s", name);
    if (new->action == SKIP &&new->point != FAULT_STORE_OPEN)
        return error_set(err, ERROR_INVALID, "fault: %s guards nothing to leave out", name);
    if (armed_count == ARMED_MAX)
        return error_set(err, ERROR_INVALID, "fault: more than %d", ARMED_MAX);
    return 0;
}

/* One "NAME:ACTION[=MS][@N]", which is taken apart in place. */
static int arm_one(char *text, struct error **err)
{
    struct armed new = {.passage = 1};
    int64_t passage = 1;
    char *colon = strchr(text, ':');
    if (!colon)
        return error_set(err, ERROR_INVALID, "fault '%s': not NAME:ACTION", text);
    *colon = '\0';
    char *action = colon + 1, *at = strchr(action, '@');
    if (at) {
        *at = '\0';
        if (strcmp(at + 1, "*") == 0)
            passage = EACH_PASSAGE;
        else if (text_parse_int(at + 1, 1, UINT32_MAX, &passage, err) < 0)
            return error_prefix(err, "fault %s: which passage", text);
        new.passage = (unsigned)passage;
    }
    CLEANUP_FREE char *wording = text_copy(action);
    char *equals = strchr(action, '=');
    if (equals) {
        *equals = '\0';
        if (text_parse_int(equals + 1, 1, INT32_MAX, &new.ms, err) < 0)
            return error_prefix(err, "fault %s: milliseconds", text);
    }
    if (find_point(text, &new.point, err) < 0 ||
        find_action(action, equals != NULL, &new.action, err) < 0 || check_fit(&new, err) < 0)
        return -1;
    new.wording = STEAL(wording);
    armed[armed_count++] = new;
    return 0;
}

int fault_arm(const char *text, struct error **err)
{
    CLEANUP_FREE char *copy = text_copy(text); /* NULL stays NULL */
    for (char *one = copy, *next; one; one = next) {
        next = strchr(one, ',');
        if (next)
            *next++ = '\0';
        if (arm_one(one, err) < 0)
            return -1;
    }
    return 0;
}

void fault_set_socket(const char *path)
{
    free(socket_path);
    socket_path = text_copy(path);
}

void fault_reset(void)
{
    while (armed_count)
        free((char *)armed[--armed_count].wording);
    for (size_t i = 0; i < FAULT_POINT_COUNT; i++)
        passages[i] = 0;
    fault_set_socket(NULL);
    LOCK_SCOPE(&connections_lock);
    network_back_ns = 0;
}

json_t *fault_list(struct error **err)
{
    (void)err; /* only builds without faults fail */
    json_t *list = json_array();
    for (size_t i = 0; i < FAULT_POINT_COUNT; i++)
        json_array_append_new(list, json_pack("{s:i, s:s, s:s, s:s, s:b, s:s}", "number",
                                              (int)i + 1, "name", points[i].name, "role",
                                              points[i].role, "phase", points[i].phase, "error",
                                              points[i].can_fail, "what", points[i].sentence));
    return list;
}

/* --- acting --- */

/* Tells the listener; with `wait` until it answers or hangs up. */
static void announce(const struct armed *fault, bool wait)
{
    const char *name = points[fault->point].name;
    log_warning(NULL, "fault: %s: %s", name, fault->wording);
    if (!socket_path)
        return;
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_FREE char *line = text_format("%s %s\n", name, fault->wording);
    CLEANUP_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un address;
    if (fd < 0)
        error_errno(&err, errno, "socket");
    else if (fd_unix_address(socket_path, &address, &err) < 0)
        error_prefix(&err, "%s", socket_path);
    else if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        error_errno(&err, errno, "%s", socket_path);
    else
        fd_write_full(fd, line, strlen(line), &err);
    if (err)
        log_error(NULL, "fault: announcing it: %s", err->message);
    char answer;
    while (wait && !err && read(fd, &answer, 1) < 0 && errno == EINTR)
        ;
}

static void sleep_ms(int64_t ms)
{
    struct timespec rest = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * NS_PER_MS};
    while (nanosleep(&rest, &rest) < 0 && errno == EINTR)
        ;
}

static void cut(enum action action, int64_t ms)
{
    LOCK_SCOPE(&connections_lock);
    size_t first = action == CUT_ONE && connections_count ? connections_count - 1 : 0;
    for (size_t i = first; i < connections_count; i++)
        shutdown(connections[i], SHUT_RDWR);
    if (ms)
        network_back_ns = clock_deadline_ns(ms);
}

/* Kills or stops the process in this very moment, whatever its other threads do. */
static void signal_self(int number)
{
    kill(getpid(), number);
}

static void act(const struct armed *fault, bool *fails, bool *skips)
{
    announce(fault, fault->action == HOLD);
    switch (fault->action) {
    case KILL:
        signal_self(SIGKILL);
        break;
    case STOP:
        signal_self(SIGSTOP);
        break;
    case DELAY:
        sleep_ms(fault->ms);
        break;
    case CUT:
    case CUT_ONE:
        cut(fault->action, fault->ms);
        break;
    case ERROR:
        *fails = true;
        break;
    case SKIP:
        *skips = true;
        break;
    case HOLD: /* the announcement has waited */
        break;
    }
}

static void pass(enum fault_point point, bool *fails, bool *skips)
{
    *fails = *skips = false;
    if (!armed_count)
        return;
    unsigned passage = atomic_fetch_add(&passages[point], 1) + 1;
    for (size_t i = 0; i < armed_count; i++)
        if (armed[i].point == point &&
            (armed[i].passage == EACH_PASSAGE || armed[i].passage == passage))
            act(&armed[i], fails, skips);
}

int fault_point(enum fault_point point, struct error **err)
{
    bool fails, skips;
    pass(point, &fails, &skips);
    return fails ? error_set(err, ERROR_SYSTEM, "injected fault at %s", points[point].name) : 0;
}

void fault_pass(enum fault_point point)
{
    bool fails, skips;
    pass(point, &fails, &skips);
}

bool fault_skip(enum fault_point point)
{
    bool fails, skips;
    pass(point, &fails, &skips);
    return skips;
}

/* --- connections --- */

void fault_connection_opened(int fd)
{
    LOCK_SCOPE(&connections_lock);
    if (connections_count < CONNECTIONS_MAX)
        connections[connections_count++] = fd;
}

void fault_connection_closed(int fd)
{
    LOCK_SCOPE(&connections_lock);
    for (size_t i = 0; i < connections_count; i++)
        if (connections[i] == fd) {
            connections_count--;
            memmove(&connections[i], &connections[i + 1],
                    (connections_count - i) * sizeof(connections[0]));
            return;
        }
}

int fault_network(struct error **err)
{
    LOCK_SCOPE(&connections_lock);
    if (clock_now_ns() >= network_back_ns)
        return 0;
    return error_set(err, ERROR_UNREACHABLE, "injected fault: the network is down");
}
