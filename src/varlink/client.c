/* SPDX-License-Identifier: Apache-2.0 */
/* Varlink calls from the caller's side. */
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "varlink/connection.h"

static int call_send(struct varlink_connection *connection, const char *method, json_t *parameters,
                     bool more, int cancel_fd, int64_t deadline_ns, struct error **err)
{
    CLEANUP_JSON json_t *owned = parameters;
    if (connection->awaiting)
        return error_set(err, ERROR_STATE, "%s: the call of %s has not been answered", method,
                         connection->awaiting);
    CLEANUP_JSON json_t *message = json_pack("{s:s, s:O*}", "method", method, "parameters", owned);
    if (!message || (more && json_object_set_new(message, "more", json_true()) < 0))
        return error_set(err, ERROR_INTERNAL, "%s: cannot be written as a call", method);
    if (varlink_send(connection, message, cancel_fd, deadline_ns, err) < 0)
        return error_prefix(err, "%s", method);
    connection->awaiting = text_copy(method);
    return 0;
}

/* The kind of an error that is not our own *.Failed. */
static enum error_kind foreign_kind(const char *name)
{
    static const struct {
        const char *name;
        enum error_kind kind;
    } known[] = {
        {"org.varlink.service.InvalidParameter", ERROR_INVALID},
        {"org.varlink.service.InterfaceNotFound", ERROR_UNSUPPORTED},
        {"org.varlink.service.MethodNotFound", ERROR_UNSUPPORTED},
        {"org.varlink.service.MethodNotImplemented", ERROR_UNSUPPORTED},
        {"org.varlink.service.PermissionDenied", ERROR_DENIED},
    };
    for (size_t i = 0; i < ARRAY_SIZE(known); i++)
        if (strcmp(known[i].name, name) == 0)
            return known[i].kind;
    return ERROR_PEER;
}

static int reply_error(const char *method, const char *name, const json_t *parameters,
                       struct error **err)
{
    const char *last = strrchr(name, '.');
    if (last && strcmp(last, ".Failed") == 0 && json_opt_string(parameters, "message", NULL))
        return json_to_error(parameters, err);
    CLEANUP_FREE char *details =
        json_object_size(parameters) ? json_dumps(parameters, JSON_COMPACT) : NULL;
    return error_set(err, foreign_kind(name), "%s: %s%s%s", method, name, details ? " " : "",
                     details ? details : "");
}

static int reply_take(json_t *message, const char *method, json_t **reply, bool *continues,
                      struct error **err)
{
    json_t *parameters = json_object_get(message, "parameters");
    json_t *error = json_object_get(message, "error");
    json_t *more = json_object_get(message, "continues");
    if ((error && !json_is_string(error)) || (more && !json_is_boolean(more)) ||
        (parameters && !json_is_object(parameters) && !json_is_null(parameters)))
        return error_set(err, ERROR_PEER, "%s: malformed reply", method);
    if (error)
        return reply_error(method, json_string_value(error), parameters, err);
    *continues = json_is_true(more);
    if (reply)
        *reply = json_is_object(parameters) ? json_incref(parameters) : json_object();
    return 0;
}

int varlink_call_more(struct varlink_connection *connection, const char *method, json_t *parameters,
                      int cancel_fd, int64_t deadline_ns, struct error **err)
{
    return call_send(connection, method, parameters, true, cancel_fd, deadline_ns, err);
}

int varlink_next(struct varlink_connection *connection, json_t **reply, bool *continues,
                 int cancel_fd, int64_t deadline_ns, struct error **err)
{
    if (!connection->awaiting)
        return error_set(err, ERROR_STATE, "no call waits for a reply");
    CLEANUP_ERROR struct error *problem = NULL;
    CLEANUP_JSON json_t *message = varlink_receive(connection, cancel_fd, deadline_ns, &problem);
    if (!message) {
        if (!problem)
            error_set(&problem, ERROR_UNREACHABLE,
                      "the other side closed the connection without a reply");
        error_prefix(&problem, "%s", connection->awaiting);
        return error_move(err, STEAL(problem));
    }
    *continues = false;
    CLEANUP_FREE char *method = STEAL(connection->awaiting);
    int result = reply_take(message, method, reply, continues, err);
    if (result == 0 && *continues)
        connection->awaiting = STEAL(method);
    return result;
}

bool varlink_connection_awaiting(const struct varlink_connection *connection)
{
    return connection->awaiting != NULL;
}

int varlink_call_begin(struct varlink_connection *connection, const char *method,
                       json_t *parameters, int cancel_fd, int64_t deadline_ns, struct error **err)
{
    return call_send(connection, method, parameters, false, cancel_fd, deadline_ns, err);
}

int varlink_call_end(struct varlink_connection *connection, json_t **reply, int cancel_fd,
                     int64_t deadline_ns, struct error **err)
{
    CLEANUP_FREE char *method = connection->awaiting ? text_copy(connection->awaiting) : NULL;
    bool continues = false;
    CLEANUP_JSON json_t *answer = NULL;
    if (varlink_next(connection, &answer, &continues, cancel_fd, deadline_ns, err) < 0)
        return -1;
    if (continues)
        return error_set(err, ERROR_PEER, "%s: more than one reply, but one was asked for", method);
    if (reply)
        *reply = STEAL(answer);
    return 0;
}

int varlink_call(struct varlink_connection *connection, const char *method, json_t *parameters,
                 json_t **reply, int cancel_fd, int64_t deadline_ns, struct error **err)
{
    if (varlink_call_begin(connection, method, parameters, cancel_fd, deadline_ns, err) < 0)
        return -1;
    return varlink_call_end(connection, reply, cancel_fd, deadline_ns, err);
}
