/* SPDX-License-Identifier: Apache-2.0 */
/* The way to this host's agent. */
#include "cli/connect.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"

char *connect_socket(const char *given)
{
    const char *environment = getenv("MUDANZA_CONNECT");
    if (given)
        return text_copy(given);
    if (environment && *environment)
        return text_copy(environment);
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    if (geteuid() == 0 || !runtime || !*runtime)
        return text_copy(CONNECT_SYSTEM_SOCKET);
    return text_format("%s/mudanza/mudanza.sock", runtime);
}

struct varlink_connection *connect_agent(const char *socket, struct error **err)
{
    struct error *why = NULL;
    struct varlink_connection *connection = varlink_connect_unix(socket, &why);
    if (connection)
        return connection;
    error_prefix(&why, "cannot reach the agent");
    /* An ordinary user without an agent of their own, on a host where root has one. */
    if (why && why->kind == ERROR_UNREACHABLE && strcmp(socket, CONNECT_SYSTEM_SOCKET) != 0 &&
        access(CONNECT_SYSTEM_SOCKET, F_OK) == 0)
        error_hint(&why,
                   "root's agent is at --connect " CONNECT_SYSTEM_SOCKET
                   "; for one of your own: mudanzad --socket %s",
                   socket);
    error_move(err, why);
    return NULL;
}

int connect_call(const char *socket, const char *method, json_t *parameters, json_t **reply,
                 struct error **err)
{
    CLEANUP_JSON json_t *owned = parameters;
    if (!owned)
        return error_set(err, ERROR_INVALID, "an argument is not UTF-8 text");
    CLEANUP_CONNECTION struct varlink_connection *connection = connect_agent(socket, err);
    if (!connection)
        return -1;
    CLEANUP_FREE char *name = text_format("io.mudanza.%s", method);
    return varlink_call(connection, name, STEAL(owned), reply, -1, DEADLINE_NEVER, err);
}
