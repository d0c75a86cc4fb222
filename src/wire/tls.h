/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS 1.3 between agents, both sides authenticated by pinned keys.
 *
 * A session is used by one thread at a time. Sockets below are non-blocking; the blocking calls
 * wait with poll(2), a deadline and a cancel eventfd. There is no fallback to anything older, no
 * renegotiation, no session tickets, no certificate authority. Only AES-128-GCM, AES-256-GCM and
 * ChaCha20-Poly1305 are offered. Keys are updated before AES-GCM's limit of 2^24.5 records.
 */
#ifndef WIRE_TLS_H
#define WIRE_TLS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "varlink/varlink.h"
#include "wire/identity.h"

struct tls_context;
struct tls;

/* Asked during the handshake, from the thread that does it: may this key talk to us? */
typedef bool tls_allowed(void *context, const char *fingerprint);

struct tls_context *tls_context_new(const struct identity *identity, tls_allowed *allowed,
                                    void *allowed_context, struct error **err);
void tls_context_free(struct tls_context *context);

/*
 * Connects to ADDRESS (name or number) and PORT, and checks that the peer's key has `fingerprint`.
 * Errors: ERROR_UNREACHABLE (no route, refused, no answer), ERROR_DENIED when the key there is
 * another one (both fingerprints are named) or when the peer does not know ours.
 * In TLS 1.3 the peer's refusal of our key arrives only with the first read: tls_read maps the
 * alert to ERROR_DENIED too.
 */
struct tls *tls_connect(struct tls_context *context, const char *address, uint16_t port,
                        const char *fingerprint, int cancel_fd, int64_t deadline_ns,
                        struct error **err);

/* Server side of the handshake on an accepted socket, which is taken over even on error. A peer
 * whose key is not allowed gets an alert and not one byte of ours. */
struct tls *tls_accept(struct tls_context *context, int fd, int cancel_fd, int64_t deadline_ns,
                       struct error **err);

/* Closes the socket after sending close_notify without waiting. NULL is fine. */
void tls_close(struct tls *tls);

const char *tls_peer_fingerprint(const struct tls *tls); /* borrowed */
const char *tls_peer_name(const struct tls *tls);        /* "ADDRESS:PORT", borrowed */
int tls_fd(const struct tls *tls);
/* True when a read would return at once (with bytes, the end or an error) from what is in memory,
 * so that poll(2) on tls_fd must not come first. */
bool tls_pending(struct tls *tls);

/* Reads 1..size bytes; 0 when the peer closed properly; -1 on error. A connection cut without
 * close_notify is ERROR_UNREACHABLE, never a quiet end. */
ssize_t tls_read(struct tls *tls, void *buffer, size_t size, int cancel_fd, int64_t deadline_ns,
                 struct error **err);
/* Reads exactly `size` bytes; an early end is ERROR_UNREACHABLE. */
int tls_read_full(struct tls *tls, void *buffer, size_t size, int cancel_fd, int64_t deadline_ns,
                  struct error **err);
/* Writes all of it. When it fails after a part is out (also by cancel or deadline), later writes
 * fail and tls_close says no goodbye, so that the peer sees a cut and not an end. */
int tls_write(struct tls *tls, const void *buffer, size_t size, int cancel_fd, int64_t deadline_ns,
              struct error **err);

/*
 * Without waiting, for loops that serve both directions. Return the count (> 0), 0 when it would
 * wait (*want is then POLLIN or POLLOUT on tls_fd), -1 on error; tls_try_read also returns -1 with
 * ERROR_UNREACHABLE "closed by the peer" at a proper end. After a tls_try_write that returned 0 the
 * next one must have the same buffer and at least the same size.
 */
ssize_t tls_try_read(struct tls *tls, void *buffer, size_t size, short *want, struct error **err);
ssize_t tls_try_write(struct tls *tls, const void *buffer, size_t size, short *want,
                      struct error **err);

/* A Varlink stream over the session, which it owns from then on. */
struct varlink_stream tls_varlink_stream(struct tls *tls);

/* Listens on ADDRESS:PORT ("[::1]:7000", "10.0.0.1:7000", "*:7000"). Returns the non-blocking
 * listening socket. */
int tls_listen(const char *address, uint16_t port, struct error **err);

#define WIRE_DEFAULT_PORT 16517

/* Splits "ADDRESS[:PORT]" / "[V6][:PORT]". *address is owned by the caller. */
int wire_parse_address(const char *text, uint16_t default_port, char **address, uint16_t *port,
                       struct error **err);

#endif
