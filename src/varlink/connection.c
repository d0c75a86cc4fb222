/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Varlink messages: JSON objects, each ended by a NUL byte.
 *
 * What is received stays in one buffer that grows up to the largest message allowed; a receive
 * that is cancelled or times out keeps what it has, and the next one goes on from there.
 */
#include "varlink/connection.h"

#include <stdlib.h>
#include <string.h>

#define BUFFER_FIRST ((size_t)16 * 1024)
#define BUFFER_MAX   (VARLINK_MESSAGE_MAX + 1)
/* A larger buffer is given back once it is empty. */
#define BUFFER_KEEP ((size_t)256 * 1024)

struct varlink_connection *varlink_connection_new(struct varlink_stream stream)
{
    struct varlink_connection *connection = calloc(1, sizeof(*connection));
    if (!connection)
        abort(); /* a few dozen bytes: nothing sensible is left to do */
    connection->stream = stream;
    return connection;
}

void varlink_connection_free(struct varlink_connection *connection)
{
    if (!connection)
        return;
    connection->stream.ops->close(connection->stream.context);
    free(connection->buffer);
    free(connection->awaiting);
    free(connection);
}

int varlink_connection_fd(const struct varlink_connection *connection)
{
    return connection->stream.ops->fd(connection->stream.context);
}

bool varlink_connection_pending(const struct varlink_connection *connection)
{
    return connection->end > connection->start ||
           connection->stream.ops->pending(connection->stream.context);
}

int varlink_send(struct varlink_connection *connection, const json_t *message, int cancel_fd,
                 int64_t deadline_ns, struct error **err)
{
    if (connection->write_broken)
        return error_set(err, ERROR_UNREACHABLE, "an earlier message was not sent whole");
    CLEANUP_FREE char *text = json_dumps(message, JSON_COMPACT);
    if (!text)
        return error_set(err, ERROR_INTERNAL, "message cannot be written as JSON");
    size_t length = strlen(text);
    if (length > VARLINK_MESSAGE_MAX)
        return error_set(err, ERROR_INVALID, "message of %zu bytes is larger than %zu", length,
                         VARLINK_MESSAGE_MAX);
    const struct varlink_stream *stream = &connection->stream;
    if (stream->ops->write(stream->context, text, length + 1, cancel_fd, deadline_ns, err) < 0) {
        connection->write_broken = true;
        return -1;
    }
    return 0;
}

/* Makes room behind `end`: by moving down what is there, else by a larger buffer. */
static int make_room(struct varlink_connection *connection, struct error **err)
{
    if (connection->start > 0) {
        memmove(connection->buffer, connection->buffer + connection->start,
                connection->end - connection->start);
        connection->end -= connection->start;
        connection->start = 0;
    }
    if (connection->end < connection->capacity)
        return 0;
    size_t capacity = connection->capacity ? connection->capacity * 2 : BUFFER_FIRST;
    if (capacity > BUFFER_MAX)
        capacity = BUFFER_MAX;
    if (capacity == connection->capacity)
        return error_set(err, ERROR_INVALID, "message is larger than %zu bytes",
                         VARLINK_MESSAGE_MAX);
    char *buffer = realloc(connection->buffer, capacity);
    if (!buffer)
        return error_set(err, ERROR_SYSTEM, "out of memory");
    connection->buffer = buffer;
    connection->capacity = capacity;
    return 0;
}

/* Takes the first `length` bytes and their NUL out of the buffer. */
static void consume(struct varlink_connection *connection, size_t length)
{
    connection->start += length + 1;
    connection->scanned = 0;
    if (connection->start < connection->end)
        return;
    connection->start = connection->end = 0;
    if (connection->capacity > BUFFER_KEEP) {
        free(connection->buffer);
        connection->buffer = NULL;
        connection->capacity = 0;
    }
}

static json_t *message_parse(const char *text, size_t length, struct error **err)
{
    json_t *message = json_parse(text, length, err);
    if (!message) {
        error_prefix(err, "malformed message");
    } else if (!json_is_object(message)) {
        json_decref(message);
        message = NULL;
        error_set(err, ERROR_INVALID, "malformed message: not a JSON object");
    }
    return message;
}

/* A message that is whole in memory. NULL without an error: there is none yet. */
static json_t *message_take(struct varlink_connection *connection, struct error **err)
{
    size_t have = connection->end - connection->start;
    if (!connection->buffer || connection->scanned == have)
        return NULL;
    const char *text = connection->buffer + connection->start;
    const char *nul = memchr(text + connection->scanned, '\0', have - connection->scanned);
    if (!nul) {
        connection->scanned = have;
        return NULL;
    }
    size_t length = (size_t)(nul - text);
    json_t *message = message_parse(text, length, err);
    consume(connection, length);
    return message;
}

json_t *varlink_receive(struct varlink_connection *connection, int cancel_fd, int64_t deadline_ns,
                        struct error **err)
{
    const struct varlink_stream *stream = &connection->stream;
    for (;;) {
        CLEANUP_ERROR struct error *problem = NULL;
        json_t *message = message_take(connection, &problem);
        if (message)
            return message;
        if (problem || make_room(connection, &problem) < 0) {
            error_move(err, STEAL(problem));
            return NULL;
        }
        ssize_t got =
            stream->ops->read(stream->context, connection->buffer + connection->end,
                              connection->capacity - connection->end, cancel_fd, deadline_ns, err);
        if (got < 0)
            return NULL;
        if (got == 0) {
            if (connection->end > connection->start)
                error_set(err, ERROR_UNREACHABLE,
                          "the other side closed the connection in the middle of a message");
            return NULL;
        }
        connection->end += (size_t)got;
    }
}
