/* SPDX-License-Identifier: Apache-2.0 */
/* Moves a VM, as the commands migrate and demo do it. */
#ifndef CLI_MIGRATE_H
#define CLI_MIGRATE_H

#include "cli/follow.h"

/* One move to ask for. */
struct migrate_request {
    const char *socket; /* of the agent that has the VM */
    const char *vm;
    const char *host;
    json_t *options; /* MigrateOptions of io.mudanza; borrowed */
    enum progress_style style;
};

/*
 * Moves it, with progress on standard error. Ctrl-C asks the agent to abort, a second one leaves.
 * `connection` is one to the agent at request->socket without an open call. FOLLOW_REPORT: *report
 * is there (owned by the caller) and says how it ended; else an error says why there is none.
 */
enum follow_end migrate_run(struct varlink_connection *connection,
                            const struct migrate_request *request, json_t **report,
                            struct error **err);

#endif
