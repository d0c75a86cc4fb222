/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fault injection: named points in the code at which this process can be told to die, to stand
 * still, to fail, or to lose its connections.
 *
 * Only builds with -Dfaults=true have it. In all others the functions below are empty and the
 * points cost nothing. Nothing is armed unless fault_arm was called.
 *
 * Each action is announced in the log, and, with fault_set_socket, to whoever listens there, before
 * it is carried out: so that a test can wait for it instead of guessing.
 */
#ifndef BASE_FAULT_H
#define BASE_FAULT_H

#include <stdbool.h>

#include "base/error.h"
#include "base/fault_points.h"
#include "base/json.h"

#define FAULT_ENUM(id, name, role, phase, can_fail, sentence) FAULT_##id,
enum fault_point { FAULT_POINTS(FAULT_ENUM) FAULT_POINT_COUNT };
#undef FAULT_ENUM

#ifdef MUDANZA_FAULTS

/* For mudanzad --help. */
#define FAULT_HELP                                                                                 \
    "\n"                                                                                           \
    "This build can inject faults, for tests:\n"                                                   \
    "  --fault NAME:ACTION[@N][,...]  what happens at the N-th passage of a point\n"               \
    "  --fault-socket PATH    who is told before it happens\n"                                     \
    "  --list-faults [--json] the points\n"

/*
 * Arms "NAME:ACTION[@N][,NAME:ACTION[@N]]...". The action is carried out at the N-th passage of the
 * point, at the first without @N, at each with @*:
 *   kill      the process kills itself (SIGKILL)
 *   stop      the process stops itself (SIGSTOP)
 *   delay=MS  the thread sleeps
 *   hold      the thread waits until whoever listens on the socket answers or hangs up
 *   error     the call there fails (only at points that can)
 *   cut       every connection to other agents is shut down
 *   cut=MS    the same, and none can be made for so long
 *   cut-one   the youngest of them is shut down
 *   skip      what the point guards is left out (only at store-open)
 * NULL arms nothing. ERROR_INVALID names what is wrong.
 */
int fault_arm(const char *text, struct error **err);

/* Where actions are announced: a UNIX stream socket, one connection and one line "NAME ACTION" an
 * action. */
void fault_set_socket(const char *path);

/* Disarms everything and sets the counts of passages back. For tests. */
void fault_reset(void);

/* The points: number, name, role, phase, whether `error` is possible, and a sentence each. */
json_t *fault_list(struct error **err);

/* Passes a point at which the call can fail: 0, or -1 with ERROR_SYSTEM when it is to. */
int fault_point(enum fault_point point, struct error **err);
/* Passes a point at which nothing can fail. */
void fault_pass(enum fault_point point);
/* Passes a point that guards something: true when that is to be left out. */
bool fault_skip(enum fault_point point);

/* Sockets to other agents, for `cut`. The second one comes before close(2). */
void fault_connection_opened(int fd);
void fault_connection_closed(int fd);
/* ERROR_UNREACHABLE while `cut=MS` lasts. */
int fault_network(struct error **err);

#else

#define FAULT_HELP ""

static inline int fault_unsupported(struct error **err)
{
    error_set(err, ERROR_UNSUPPORTED, "this mudanzad was built without fault injection");
    return error_hint(err, "it is for tests: meson setup -Dfaults=true");
}

static inline int fault_arm(const char *text, struct error **err)
{
    (void)text;
    return fault_unsupported(err);
}

static inline json_t *fault_list(struct error **err)
{
    fault_unsupported(err);
    return NULL;
}

static inline void fault_set_socket(const char *path)
{
    (void)path;
}

static inline int fault_point(enum fault_point point, struct error **err)
{
    (void)point;
    (void)err;
    return 0;
}

static inline void fault_pass(enum fault_point point)
{
    (void)point;
}

static inline bool fault_skip(enum fault_point point)
{
    (void)point;
    return false;
}

static inline void fault_connection_opened(int fd)
{
    (void)fd;
}

static inline void fault_connection_closed(int fd)
{
    (void)fd;
}

static inline int fault_network(struct error **err)
{
    (void)err;
    return 0;
}

#endif

#endif
