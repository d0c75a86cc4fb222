/* SPDX-License-Identifier: Apache-2.0 */
/* The way to this host's agent. */
#ifndef CLI_CONNECT_H
#define CLI_CONNECT_H

#include "varlink/varlink.h"

/* The socket of root's agent. */
#define CONNECT_SYSTEM_SOCKET "/run/mudanza/mudanza.sock"

/*
 * The socket to talk to: `given` (--connect) if set, else MUDANZA_CONNECT, else that of root's
 * agent for root, else $XDG_RUNTIME_DIR/mudanza/mudanza.sock. Owned by the caller.
 */
char *connect_socket(const char *given);

/* Connects. The error says how to get an agent there. */
struct varlink_connection *connect_agent(const char *socket, struct error **err);

/*
 * Connects, calls io.mudanza.METHOD, disconnects. `parameters` is taken over; NULL means that they
 * could not be made because an argument is not UTF-8: ERROR_INVALID. *reply (may be NULL) is owned
 * by the caller. Returns 0 or -1.
 */
int connect_call(const char *socket, const char *method, json_t *parameters, json_t **reply,
                 struct error **err);

static inline void cleanup_connection_function(struct varlink_connection **connection)
{
    varlink_connection_free(*connection);
}
#define CLEANUP_CONNECTION CLEANUP(cleanup_connection_function)

#endif
