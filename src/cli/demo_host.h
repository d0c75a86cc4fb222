/* SPDX-License-Identifier: Apache-2.0 */
/* One host of the demo: a network namespace, and the agent in it. */
#ifndef CLI_DEMO_HOST_H
#define CLI_DEMO_HOST_H

#include <stdint.h>
#include <sys/types.h>

#include "base/json.h"
#include "base/text.h"
#include "varlink/varlink.h"

struct demo_host {
    const char *name;
    const char *address; /* IPv4 */
    char *namespace;     /* as ip(8) calls it; owned, as the rest */
    char *directory;     /* exists; only root may enter */
    char *socket;        /* of the agent */
    char *fingerprint;
    char *emulator_version; /* NULL: the agent does not know */
    struct varlink_connection *agent;
    pid_t pid;     /* of the agent; 0: none runs */
    int cancel_fd; /* ends every wait */
};

/* Starts the agent, program `agent`, in the namespace; returns when it has said that it is ready,
 * and who it is. It dies with this thread. */
int demo_host_start(struct demo_host *host, const char *agent, struct error **err);

/* Ends the agent, gracefully if it lets itself be ended so. Its QEMUs go on. */
void demo_host_stop(struct demo_host *host);

/* Calls io.mudanza.METHOD; `parameters` and *reply as for varlink_call. */
int demo_host_call(const struct demo_host *host, const char *method, json_t *parameters,
                   json_t **reply, struct error **err);

/*
 * A UDP socket of the host's network, bound to its address; the port goes to *port. The kernel
 * stamps what arrives, counts what it has to drop, and keeps minutes of heartbeats, so that nobody
 * has to read while a move goes on. Returns the descriptor or -1.
 */
int demo_host_listen(const struct demo_host *host, uint16_t *port, struct error **err);

/* Appends the last lines of the agent's log, if there are any. */
void demo_host_log(const struct demo_host *host, struct text *text);

void demo_host_clear(struct demo_host *host);

#endif
