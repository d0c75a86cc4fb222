/* SPDX-License-Identifier: Apache-2.0 */
/* OpenSSL's error queue as an error object. */
#ifndef WIRE_OPENSSL_H
#define WIRE_OPENSSL_H

#include <openssl/err.h>

#include "base/error.h"

/* ERROR_INTERNAL "what: OpenSSL's reason"; empties the queue. Returns -1. */
static inline int openssl_error(struct error **err, const char *what)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    error_set(err, ERROR_INTERNAL, "%s: %s", what, reason ? reason : "OpenSSL gives no reason");
    ERR_clear_error();
    return -1;
}

#endif
