/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Varlink (varlink.org): JSON objects, each ended by a NUL byte, over any byte stream.
 *
 * Three layers, usable apart: varlink_stream (bytes in and out, with deadline and cancel),
 * varlink_connection (messages; blocking; one thread at a time reads, one at a time writes), and
 * varlink_service (dispatch of calls to methods, checked against the interface description).
 */
#ifndef VARLINK_VARLINK_H
#define VARLINK_VARLINK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/json.h"

/* The largest message either side takes, without its NUL. */
#define VARLINK_MESSAGE_MAX ((size_t)16 * 1024 * 1024)

/* A byte stream below a connection: a UNIX socket or a TLS session. */
struct varlink_stream {
    const struct varlink_stream_ops *ops;
    void *context;
};

struct varlink_stream_ops {
    /* Reads 1..size bytes. Returns the count, 0 at the end of the stream, -1 on error (also
     * ERROR_CANCELLED and ERROR_TIMEOUT). */
    ssize_t (*read)(void *context, void *buffer, size_t size, int cancel_fd, int64_t deadline_ns,
                    struct error **err);
    /* Writes all of it. Returns 0 or -1. */
    int (*write)(void *context, const void *buffer, size_t size, int cancel_fd, int64_t deadline_ns,
                 struct error **err);
    /* True when read() would return buffered bytes although the descriptor is not readable. */
    bool (*pending)(void *context);
    int (*fd)(void *context); /* for poll(2) */
    void (*close)(void *context);
};

/* A stream over a connected socket, which it owns. */
struct varlink_stream varlink_stream_fd(int fd);

struct varlink_connection;

/* Takes the stream over; varlink_connection_free closes it. Never NULL. */
struct varlink_connection *varlink_connection_new(struct varlink_stream stream);
void varlink_connection_free(struct varlink_connection *connection);

/* Connects to an agent's local socket. The error says whether nobody listens there. */
struct varlink_connection *varlink_connect_unix(const char *path, struct error **err);

int varlink_connection_fd(const struct varlink_connection *connection);
/* True when a whole message, or part of one, is already in memory: do not poll before reading. */
bool varlink_connection_pending(const struct varlink_connection *connection);

/* After a failed send (-1, also when cancelled) part of the message may be out, and every later one
 * fails with ERROR_UNREACHABLE: free the connection. */
int varlink_send(struct varlink_connection *connection, const json_t *message, int cancel_fd,
                 int64_t deadline_ns, struct error **err);
/* Owned by the caller. NULL without an error: the other side closed between two messages. A receive
 * that was cancelled or timed out may be repeated; nothing is lost. */
json_t *varlink_receive(struct varlink_connection *connection, int cancel_fd, int64_t deadline_ns,
                        struct error **err);

/*
 * Client: one call, one reply. `parameters` is taken over (NULL: none). On success *reply is the
 * reply's parameters (never NULL, owned by the caller; `reply` may be NULL). A Varlink error of the
 * form `*.Failed (kind, message, hint)` becomes that error; any other one names itself. A call that
 * was cancelled or timed out leaves its reply outstanding: the connection takes no other call.
 */
int varlink_call(struct varlink_connection *connection, const char *method, json_t *parameters,
                 json_t **reply, int cancel_fd, int64_t deadline_ns, struct error **err);

/* The same in two steps, with something else to do between them: the call goes out, and its reply
 * is taken. */
int varlink_call_begin(struct varlink_connection *connection, const char *method,
                       json_t *parameters, int cancel_fd, int64_t deadline_ns, struct error **err);
int varlink_call_end(struct varlink_connection *connection, json_t **reply, int cancel_fd,
                     int64_t deadline_ns, struct error **err);

/* The same with `more`: start, then next until *continues is false or it fails. After a timeout or
 * cancel next may be called again. */
int varlink_call_more(struct varlink_connection *connection, const char *method, json_t *parameters,
                      int cancel_fd, int64_t deadline_ns, struct error **err);
int varlink_next(struct varlink_connection *connection, json_t **reply, bool *continues,
                 int cancel_fd, int64_t deadline_ns, struct error **err);
/* True while the last reply to a call has not come: an error then is of the connection, not of the
 * other side's answer. */
bool varlink_connection_awaiting(const struct varlink_connection *connection);

/* Server. A call being answered; valid until its method returns. */
struct varlink_call {
    struct varlink_connection *connection;
    const char *method; /* full name */
    json_t *parameters; /* checked against the interface; borrowed */
    bool more;          /* the caller takes several replies */
    bool oneway;
    void *peer; /* what the server knows of the caller, as given to varlink_serve */
    int cancel_fd;
};

/* One more reply before the last (only if call->more). `parameters` is taken over. Fails when the
 * caller is gone or takes nothing for 30 s. */
int varlink_reply_more(struct varlink_call *call, json_t *parameters, struct error **err);

/*
 * A method. Fills *reply (taken over by the service; NULL is an empty object) and returns 0, or
 * returns -1 with an error, which becomes `INTERFACE.Failed`. `context` is the service's.
 */
typedef int varlink_method(void *context, struct varlink_call *call, json_t **reply,
                           struct error **err);

struct varlink_method_entry {
    const char *name;       /* without the interface */
    varlink_method *method; /* NULL: described, and answered with MethodNotImplemented */
};

struct varlink_service;

/*
 * A service of one interface, described by `description` (the text of its .varlink file, kept),
 * plus org.varlink.service (GetInfo, GetInterfaceDescription). Every method of the description must
 * be in `methods`, and no other, and the error Failed must be described: ERROR_INTERNAL otherwise.
 * `methods` is copied. Calls with wrong parameters are refused with
 * org.varlink.service.InvalidParameter (its `parameter` is a path, such as "options.mode"), and
 * unknown ones as the specification says. A reply that differs from the description goes out as
 * Failed with kind "internal".
 */
struct varlink_service *varlink_service_new(const char *product, const char *version,
                                            const char *description,
                                            const struct varlink_method_entry *methods,
                                            size_t n_methods, void *context, struct error **err);
void varlink_service_free(struct varlink_service *service);

/* Serves one connection until the peer closes it (0), or cancel_fd fires, a message is malformed or
 * the connection breaks (-1 with ERROR_CANCELLED, ERROR_INVALID, ERROR_UNREACHABLE, ...). A call
 * that is being answered when cancel_fd fires still gets its replies. Blocking: one thread a
 * connection. Does not free the connection. */
int varlink_serve(const struct varlink_service *service, struct varlink_connection *connection,
                  void *peer, int cancel_fd, struct error **err);

#endif
