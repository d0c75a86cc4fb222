/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS 1.3 sessions: context, handshake, end.
 *
 * Trust is one question: is the peer's key one of those allowed? It is asked in the middle of the
 * handshake by a callback that takes the place of OpenSSL's whole certificate check, so names,
 * dates and chains never matter. As a server we learn the client's key before we send a byte of
 * our own, and an unknown one ends the handshake with an alert. A client is done with its side of
 * the handshake before the server has judged it; it learns of a refusal with its first read.
 *
 * tls_io.c reads and writes, tls_bio.c is what lies below, tls_error.c words the failures.
 */
#include "wire/tls.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/text.h"
#include "wire/openssl.h"
#include "wire/tls_internal.h"

#define CIPHERS "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"

/* A peer's certificate is one small one: what a stranger may make us keep before we know it. */
#define CERTIFICATE_MAX 4096

/* Closing with unread bytes makes TCP throw away what is still on its way out. So at most this much
 * is read and dropped first; after a refusal also for so long, that the peer gets our alert. */
#define DRAIN_MAX        ((size_t)64 * 1024)
#define REFUSAL_DRAIN_MS INT64_C(2000)

struct tls_context {
    SSL_CTX *ssl;
    tls_allowed *allowed;
    void *allowed_context;
    char own[FINGERPRINT_MAX];
};

static void cleanup_tls(struct tls **tls)
{
    tls_close(*tls);
}

/* Takes the place of OpenSSL's certificate check. Returns 1 for a key that is allowed, else 0. */
static int verify(X509_STORE_CTX *store, void *context)
{
    (void)context;
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls *tls = SSL_get_app_data(ssl);
    X509 *certificate = X509_STORE_CTX_get0_cert(store);
    X509_STORE_CTX_set_error(store, X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT); /* -> unknown_ca */
    if (!certificate || fingerprint_of(certificate, tls->peer, NULL) < 0)
        return 0;
    bool good = tls->expected[0] ? strcmp(tls->peer, tls->expected) == 0
                                 : tls->allowed(tls->allowed_context, tls->peer);
    if (good)
        X509_STORE_CTX_set_error(store, X509_V_OK);
    return good;
}

static bool context_set_up(SSL_CTX *ssl, const struct identity *identity)
{
    SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_cert_verify_callback(ssl, verify, NULL);
    SSL_CTX_set_max_cert_list(ssl, CERTIFICATE_MAX);
    return SSL_CTX_set_min_proto_version(ssl, TLS1_3_VERSION) &&
           SSL_CTX_set_max_proto_version(ssl, TLS1_3_VERSION) &&
           SSL_CTX_set_ciphersuites(ssl, CIPHERS) &&
           SSL_CTX_set1_groups_list(ssl, "X25519:P-256") &&
           SSL_CTX_set1_sigalgs_list(ssl, "ECDSA+SHA256") && SSL_CTX_set_num_tickets(ssl, 0) &&
           SSL_CTX_set_max_early_data(ssl, 0) &&
           SSL_CTX_use_certificate(ssl, identity_certificate(identity)) &&
           SSL_CTX_use_PrivateKey(ssl, identity_key(identity));
}

struct tls_context *tls_context_new(const struct identity *identity, tls_allowed *allowed,
                                    void *allowed_context, struct error **err)
{
    struct tls_context *context = calloc(1, sizeof(*context));
    if (!context) {
        error_set(err, ERROR_SYSTEM, "out of memory");
        return NULL;
    }
    context->allowed = allowed;
    context->allowed_context = allowed_context;
    snprintf(context->own, sizeof(context->own), "%s", identity_fingerprint(identity));
    context->ssl = SSL_CTX_new(TLS_method());
    if (!context->ssl || !context_set_up(context->ssl, identity)) {
        openssl_error(err, "cannot set up TLS");
        tls_context_free(context);
        return NULL;
    }
    return context;
}

void tls_context_free(struct tls_context *context)
{
    if (!context)
        return;
    SSL_CTX_free(context->ssl);
    free(context);
}

/* Takes `fd` and `name` over, also on error. */
static struct tls *session_new(const struct tls_context *context, int fd, char *name,
                               struct error **err)
{
    struct tls *tls = calloc(1, sizeof(*tls));
    if (!tls) {
        close(fd);
        free(name);
        error_set(err, ERROR_SYSTEM, "out of memory");
        return NULL;
    }
    tls->fd = fd;
    fault_connection_opened(fd);
    tls->name = name;
    tls->record_limit = TLS_RECORD_LIMIT;
    memcpy(tls->own, context->own, sizeof(tls->own));
    tls->ssl = SSL_new(context->ssl);
    if (!tls->ssl || !SSL_set_app_data(tls->ssl, tls)) {
        openssl_error(err, "cannot start TLS");
    } else if (tls_bio_attach(tls, err) == 0) {
        return tls;
    }
    tls_close(tls);
    return NULL;
}

static int flush_wait(struct tls *tls, int cancel_fd, int64_t deadline_ns, struct error **err)
{
    for (;;) {
        int flushed = tls_flush(tls);
        if (flushed > 0)
            return 0;
        if (flushed < 0)
            return tls_error(tls, SSL_ERROR_SYSCALL, err);
        if (fd_wait(tls->fd, POLLOUT, cancel_fd, deadline_ns, err) < 0)
            return error_prefix(err, "%s", tls->name);
    }
}

static int handshake(struct tls *tls, int cancel_fd, int64_t deadline_ns, struct error **err)
{
    for (;;) {
        ERR_clear_error();
        int result = SSL_do_handshake(tls->ssl);
        int ssl_error = SSL_get_error(tls->ssl, result);
        if (result != 1 && ssl_error != SSL_ERROR_WANT_READ && ssl_error != SSL_ERROR_WANT_WRITE) {
            tls_error(tls, ssl_error, err);
            flush_wait(tls, cancel_fd, deadline_ns, NULL); /* our alert */
            return -1;
        }
        if (flush_wait(tls, cancel_fd, deadline_ns, err) < 0)
            return -1;
        if (result == 1)
            return 0;
        if (ssl_error == SSL_ERROR_WANT_READ &&
            fd_wait(tls->fd, POLLIN, cancel_fd, deadline_ns, err) < 0)
            return error_prefix(err, "%s", tls->name);
    }
}

struct tls *tls_connect(struct tls_context *context, const char *address, uint16_t port,
                        const char *fingerprint, int cancel_fd, int64_t deadline_ns,
                        struct error **err)
{
    if (!fingerprint_valid(fingerprint, err) || fault_network(err) < 0)
        return NULL;
    char *name = tls_socket_name(address, port);
    int fd = tls_socket_connect(address, port, name, cancel_fd, deadline_ns, err);
    if (fd < 0) {
        free(name);
        return NULL;
    }
    CLEANUP(cleanup_tls) struct tls *tls = session_new(context, fd, name, err);
    if (!tls)
        return NULL;
    snprintf(tls->expected, sizeof(tls->expected), "%s", fingerprint);
    SSL_set_connect_state(tls->ssl);
    CLEANUP_ERROR struct error *problem = NULL;
    if (handshake(tls, cancel_fd, deadline_ns, &problem) == 0)
        return STEAL(tls);
    if (problem->kind == ERROR_TIMEOUT) {
        error_set(err, ERROR_UNREACHABLE, "%s: it takes connections, but does not answer", name);
        error_hint(err, "check that the address and port are those of an agent, and its log");
    } else {
        error_move(err, STEAL(problem));
    }
    return NULL;
}

/* Reads and drops what a refused peer still sends, until it closes. */
static void drain(const struct tls *tls, int cancel_fd, int64_t deadline_ns)
{
    int64_t until_ns = clock_deadline_ns(REFUSAL_DRAIN_MS);
    if (until_ns > deadline_ns)
        until_ns = deadline_ns;
    char dropped[4096];
    shutdown(tls->fd, SHUT_WR);
    for (size_t total = 0; total < DRAIN_MAX;) {
        if (fd_wait(tls->fd, POLLIN, cancel_fd, until_ns, NULL) < 0)
            return;
        ssize_t got = recv(tls->fd, dropped, sizeof(dropped), MSG_DONTWAIT);
        if (got <= 0)
            return;
        total += (size_t)got;
    }
}

struct tls *tls_accept(struct tls_context *context, int fd, int cancel_fd, int64_t deadline_ns,
                       struct error **err)
{
    char *name = tls_socket_peer(fd);
    CLEANUP(cleanup_tls) struct tls *tls = session_new(context, fd, name, err);
    if (!tls)
        return NULL;
    if (fault_network(err) < 0 || fd_set_nonblocking(fd, true, err) < 0 || tls_tune(fd, err) < 0) {
        error_prefix(err, "%s", name);
        return NULL;
    }
    tls->allowed = context->allowed;
    tls->allowed_context = context->allowed_context;
    SSL_set_accept_state(tls->ssl);
    if (handshake(tls, cancel_fd, deadline_ns, err) < 0) {
        if (!tls->eof && !tls->sys_errno)
            drain(tls, cancel_fd, deadline_ns);
        return NULL;
    }
    return STEAL(tls);
}

/* Our goodbye, if the session is whole and the kernel takes it at once. Bytes left unread would
 * make TCP throw away what is still on its way out, so those that are here are dropped first. */
static void say_goodbye(struct tls *tls)
{
    if (!SSL_is_init_finished(tls->ssl) || tls->failed || tls->write_broken || tls->accepted)
        return;
    SSL_shutdown(tls->ssl);
    if (tls_flush(tls) < 0)
        return;
    char dropped[4096];
    for (size_t total = 0; total < DRAIN_MAX; total += sizeof(dropped))
        if (recv(tls->fd, dropped, sizeof(dropped), MSG_DONTWAIT) <= 0)
            break;
}

void tls_close(struct tls *tls)
{
    if (!tls)
        return;
    if (tls->ssl) {
        ERR_clear_error();
        if (tls->out)
            say_goodbye(tls);
        SSL_free(tls->ssl);
        ERR_clear_error();
    }
    fault_connection_closed(tls->fd);
    close(tls->fd);
    error_free(tls->late);
    free(tls->in);
    free(tls->out);
    free(tls->name);
    free(tls);
}

const char *tls_peer_fingerprint(const struct tls *tls)
{
    return tls->peer;
}

const char *tls_peer_name(const struct tls *tls)
{
    return tls->name;
}

int tls_fd(const struct tls *tls)
{
    return tls->fd;
}
