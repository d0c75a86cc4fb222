/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of a TLS session, shared by the tls*.c files and their tests. */
#ifndef WIRE_TLS_INTERNAL_H
#define WIRE_TLS_INTERNAL_H

#include <openssl/ssl.h>

#include "wire/tls.h"

/* A TLS record holds at most this much of what is written. */
#define TLS_RECORD_SIZE 16384
/* Records that are encrypted together and given to the kernel in one call. */
#define TLS_BATCH_RECORDS 16
#define TLS_BATCH_SIZE    ((size_t)TLS_BATCH_RECORDS * TLS_RECORD_SIZE)

struct tls {
    SSL *ssl;
    int fd;     /* non-blocking */
    char *name; /* "ADDRESS:PORT" of the peer, for messages */
    char own[FINGERPRINT_MAX];
    char peer[FINGERPRINT_MAX];     /* empty until the peer has shown its key */
    char expected[FINGERPRINT_MAX]; /* client: the only key accepted */
    tls_allowed *allowed;           /* server: who is accepted */
    void *allowed_context;

    /* Received and not yet decrypted: [in_start, in_end). */
    uint8_t *in;
    size_t in_start;
    size_t in_end;
    /* Encrypted and not yet taken by the kernel: [out_start, out_end). */
    uint8_t *out;
    size_t out_start;
    size_t out_end;
    size_t accepted;    /* plain bytes in there that the caller has not been told about */
    bool write_broken;  /* what was written last is not out whole, and never will be */
    bool eof;           /* TCP ended */
    int sys_errno;      /* TCP failed with this */
    bool failed;        /* no read can succeed any more */
    struct error *late; /* a failure seen after bytes that were still handed out */

    uint64_t records; /* sent under the present key */
    uint64_t record_limit;
};

/* How many records one key encrypts at most: a third of AES-GCM's 2^24.5 (RFC 8446, 5.5). */
#define TLS_RECORD_LIMIT (UINT64_C(1) << 23)

/* tls_socket.c */

/* Options of a TCP socket that carries a session; see there for each one's reason. */
int tls_tune(int fd, struct error **err);
/* A connected, non-blocking, tuned socket. `name` is "ADDRESS:PORT" for messages. */
int tls_socket_connect(const char *address, uint16_t port, const char *name, int cancel_fd,
                       int64_t deadline_ns, struct error **err);
/* "ADDRESS:PORT", with brackets around IPv6; owned by the caller. */
char *tls_socket_name(const char *address, uint16_t port);
/* The same of a socket's other end. */
char *tls_socket_peer(int fd);

/* tls_bio.c */

/* Puts the session's SSL on its socket and its buffers. Returns 0 or -1. */
int tls_bio_attach(struct tls *tls, struct error **err);
/* Hands buffered output to the kernel. Returns 1 when all is out, 0 when it would wait, -1 when the
 * connection is broken (sys_errno says how). */
int tls_flush(struct tls *tls);

/* tls_error.c */

/* Turns the failure of an SSL_* call (or of tls_flush) into an error that names the peer. Empties
 * OpenSSL's queue. Returns -1. */
int tls_error(const struct tls *tls, int ssl_error, struct error **err);

#endif
