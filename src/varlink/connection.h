/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of a connection, shared by connection.c (messages) and client.c (calls). */
#ifndef VARLINK_CONNECTION_H
#define VARLINK_CONNECTION_H

#include <stdbool.h>
#include <stddef.h>

#include "varlink/varlink.h"

struct varlink_connection {
    struct varlink_stream stream;
    char *buffer; /* received and not yet handed out: [start, end) */
    size_t capacity;
    size_t start;
    size_t end;
    size_t scanned;    /* bytes after start known to hold no NUL */
    bool write_broken; /* a message went out in part: nothing can follow it */
    char *awaiting;    /* client: the method whose last reply has not come yet, or NULL */
};

#endif
