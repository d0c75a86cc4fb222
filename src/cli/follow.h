/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Follows a move to its end: shows its progress, turns Ctrl-C into an abort, hands back the report.
 *
 * The agent carries the move out whether anybody listens or not. So there are three ends:
 * the report came; the agent refused the call, and nothing moves; or this side left or lost the
 * connection, and how the move ends is not known here.
 */
#ifndef CLI_FOLLOW_H
#define CLI_FOLLOW_H

#include <stdbool.h>

#include "cli/progress.h"
#include "varlink/varlink.h"

enum follow_end {
    FOLLOW_REPORT,  /* *report is there */
    FOLLOW_REFUSED, /* an error: of the agent about the call */
    FOLLOW_UNKNOWN, /* an error: left, or the agent is gone */
};

struct follow {
    struct varlink_connection *connection; /* no call is open on it */
    const char *socket;                    /* of the same agent, for a second connection */
    const char *vm;
    bool abort_on_interrupt; /* the first SIGINT aborts the move; else it leaves at once */
    struct progress *progress;
};

/*
 * Calls `method`, which replies {progress: ?Progress, report: ?Report} until the move's end, with
 * `parameters` (taken over; NULL: an argument is not UTF-8). *report is owned by the caller; it is
 * NULL with FOLLOW_REPORT when the agent knows of no move.
 */
enum follow_end follow_run(const struct follow *follow, const char *method, json_t *parameters,
                           json_t **report, struct error **err);

#endif
