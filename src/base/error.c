/* SPDX-License-Identifier: Apache-2.0 */
/* Error objects: a kind, a message that names its subject, and a hint. */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const kind_names[] = {
    [ERROR_INVALID] = "invalid", [ERROR_NOT_FOUND] = "not-found",
    [ERROR_EXISTS] = "exists",   [ERROR_STATE] = "state",
    [ERROR_DENIED] = "denied",   [ERROR_UNSUPPORTED] = "unsupported",
    [ERROR_SYSTEM] = "system",   [ERROR_QEMU] = "qemu",
    [ERROR_PEER] = "peer",       [ERROR_UNREACHABLE] = "unreachable",
    [ERROR_TIMEOUT] = "timeout", [ERROR_CANCELLED] = "cancelled",
    [ERROR_CORRUPT] = "corrupt", [ERROR_INTERNAL] = "internal",
};

__attribute__((format(printf, 1, 0))) static char *format_text(const char *format, va_list args)
{
    char *text = NULL;
    if (vasprintf(&text, format, args) < 0)
        return strdup("out of memory");
    return text;
}

static int error_new(struct error **err, enum error_kind kind, int errnum, char *message)
{
    if (!err || *err) {
        free(message);
        return -1;
    }
    *err = calloc(1, sizeof(**err));
    if (!*err) {
        free(message);
        return -1;
    }
    (*err)->kind = kind;
    (*err)->sys_errno = errnum;
    (*err)->message = message;
    return -1;
}

int error_set(struct error **err, enum error_kind kind, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *message = format_text(format, args);
    va_end(args);
    return error_new(err, kind, 0, message);
}

int error_errno(struct error **err, int errnum, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    CLEANUP_FREE char *text = format_text(format, args);
    va_end(args);
    char *message = NULL;
    if (asprintf(&message, "%s: %s", text, strerror(errnum)) < 0)
        message = strdup("out of memory");
    return error_new(err, ERROR_SYSTEM, errnum, message);
}

int error_prefix(struct error **err, const char *format, ...)
{
    if (!err || !*err)
        return -1;
    va_list args;
    va_start(args, format);
    CLEANUP_FREE char *prefix = format_text(format, args);
    va_end(args);
    char *message = NULL;
    if (asprintf(&message, "%s: %s", prefix, (*err)->message) >= 0) {
        free((*err)->message);
        (*err)->message = message;
    }
    return -1;
}

int error_hint(struct error **err, const char *format, ...)
{
    if (!err || !*err)
        return -1;
    va_list args;
    va_start(args, format);
    free((*err)->hint);
    (*err)->hint = format_text(format, args);
    va_end(args);
    return -1;
}

int error_move(struct error **to, struct error *from)
{
    if (to && !*to)
        *to = from;
    else
        error_free(from);
    return -1;
}

int error_copy(struct error **to, const struct error *from)
{
    if (!to || *to)
        return -1;
    error_set(to, from->kind, "%s", from->message);
    if (from->hint)
        error_hint(to, "%s", from->hint);
    (*to)->sys_errno = from->sys_errno;
    return -1;
}

const char *error_kind_name(enum error_kind kind)
{
    return (size_t)kind < ARRAY_SIZE(kind_names) ? kind_names[kind] : "internal";
}

enum error_kind error_kind_parse(const char *name)
{
    for (size_t i = 0; name && i < ARRAY_SIZE(kind_names); i++)
        if (strcmp(name, kind_names[i]) == 0)
            return (enum error_kind)i;
    return ERROR_INTERNAL;
}

void error_free(struct error *error)
{
    if (!error)
        return;
    free(error->message);
    free(error->hint);
    free(error);
}
