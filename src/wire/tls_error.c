/* SPDX-License-Identifier: Apache-2.0 */
/* What went wrong with a TLS session, in words that say what to do about it. */
#include <errno.h>
#include <string.h>

#include "wire/openssl.h"
#include "wire/tls_internal.h"

/* The alerts by which a peer says that it does not take our key. */
static bool is_refusal(unsigned long code)
{
    if (ERR_GET_LIB(code) != ERR_LIB_SSL)
        return false;
    switch (ERR_GET_REASON(code)) {
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
    case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
        return true;
    default:
        return false;
    }
}

static int refused(const struct tls *tls, struct error **err)
{
    error_set(err, ERROR_DENIED, "%s: that host does not know this host's key %s", tls->name,
              tls->own);
    return error_hint(err,
                      "on that host: mudanza host add NAME ADDRESS %s, with this host's name "
                      "and address",
                      tls->own);
}

/* We ourselves refused the peer's key in the handshake. */
static int unknown_key(const struct tls *tls, struct error **err)
{
    if (!tls->expected[0]) {
        error_set(err, ERROR_DENIED, "%s: unknown key %s", tls->name, tls->peer);
        return error_hint(err, "if that is one of your hosts: mudanza host add NAME ADDRESS %s",
                          tls->peer);
    }
    error_set(err, ERROR_DENIED, "%s: the key there is %s, but %s is expected", tls->name,
              tls->peer, tls->expected);
    return error_hint(err,
                      "compare with `mudanza id` on that host; if it has a new key, remove the "
                      "host and add it again with that fingerprint; if not, another machine "
                      "answers at this address");
}

static int lost(const struct tls *tls, struct error **err)
{
    if (tls->sys_errno) {
        error_set(err, ERROR_UNREACHABLE, "%s: connection lost: %s", tls->name,
                  strerror(tls->sys_errno));
        if (err && *err)
            (*err)->sys_errno = tls->sys_errno;
        return -1;
    }
    return error_set(err, ERROR_UNREACHABLE, "%s: connection lost: cut off without a goodbye",
                     tls->name);
}

static int protocol_error(const struct tls *tls, unsigned long code, struct error **err)
{
    const char *reason = ERR_reason_error_string(code);
    switch (ERR_GET_LIB(code) == ERR_LIB_SSL ? ERR_GET_REASON(code) : 0) {
    case SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC:
    case SSL_R_SSLV3_ALERT_BAD_RECORD_MAC:
        return error_set(err, ERROR_CORRUPT, "%s: bytes were changed on the way (TLS: %s)",
                         tls->name, reason);
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
        return error_set(err, ERROR_DENIED, "%s: the other side shows no key", tls->name);
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_HTTP_REQUEST:
        error_set(err, ERROR_PEER, "%s: the other side does not speak TLS 1.3 (%s)", tls->name,
                  reason);
        return error_hint(err, "check that the address and port are those of an agent");
    default:
        return error_set(err, ERROR_PEER, "%s: TLS: %s", tls->name,
                         reason ? reason : "failed without a reason");
    }
}

int tls_error(const struct tls *tls, int ssl_error, struct error **err)
{
    unsigned long code = ssl_error == SSL_ERROR_SSL ? ERR_peek_error() : 0;
    ERR_clear_error();
    if (is_refusal(code))
        return refused(tls, err);
    if (ERR_GET_LIB(code) == ERR_LIB_SSL &&
        ERR_GET_REASON(code) == SSL_R_CERTIFICATE_VERIFY_FAILED && tls->peer[0])
        return unknown_key(tls, err);
    if (tls->sys_errno || tls->eof)
        return lost(tls, err);
    return protocol_error(tls, code, err);
}
