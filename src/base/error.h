/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Error objects.
 *
 * A function that can fail takes `struct error **err` as its last parameter and returns -1 (or
 * NULL). *err must be NULL on entry; `err` itself may be NULL when the caller does not care.
 * On the way up each level may put its subject in front (error_prefix), so that the whole reads
 * `subject: what failed: reason`. The hint says what the user can do about it.
 */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include "base/cleanup.h"

enum error_kind {
    ERROR_INVALID,     /* bad input: XML, argument, message */
    ERROR_NOT_FOUND,   /* no such VM, host, file */
    ERROR_EXISTS,      /* name or UUID taken */
    ERROR_STATE,       /* not possible in the VM's present state */
    ERROR_DENIED,      /* not allowed: permission, unknown key */
    ERROR_UNSUPPORTED, /* known, but not carried out by us */
    ERROR_SYSTEM,      /* the operating system said no */
    ERROR_QEMU,        /* QEMU said no, or died */
    ERROR_PEER,        /* the other agent said no */
    ERROR_UNREACHABLE, /* the other agent cannot be reached, or is gone */
    ERROR_TIMEOUT,     /* a deadline passed */
    ERROR_CANCELLED,   /* the user asked for it */
    ERROR_CORRUPT,     /* bytes are not what they must be */
    ERROR_INTERNAL,
};

struct error {
    enum error_kind kind;
    int sys_errno; /* 0 when no system call is behind it */
    char *message; /* owned */
    char *hint;    /* owned; NULL when there is nothing to advise */
};

/* Sets *err. Always returns -1, so that `return error_set(...)` reads well. */
int error_set(struct error **err, enum error_kind kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same for a failed system call: ": " and the text of errnum are appended. */
int error_errno(struct error **err, int errnum, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "text: " in front of the message. Does nothing when there is no error. Returns -1. */
int error_prefix(struct error **err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Says what to do about it; replaces an earlier hint. Returns -1. */
int error_hint(struct error **err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Moves `from` into *to; frees `from` if `to` is NULL or already holds an error. Returns -1. */
int error_move(struct error **to, struct error *from);

/* The same with a copy; `from` stays the caller's. Returns -1. */
int error_copy(struct error **to, const struct error *from);

/* The word for a kind in messages between programs ("invalid", "not-found", ...), and back;
 * an unknown word is ERROR_INTERNAL. */
const char *error_kind_name(enum error_kind kind);
enum error_kind error_kind_parse(const char *name);

void error_free(struct error *error);

static inline void cleanup_error_function(struct error **error)
{
    error_free(*error);
}

#define CLEANUP_ERROR CLEANUP(cleanup_error_function)

#endif
