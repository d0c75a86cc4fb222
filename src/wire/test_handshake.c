/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of connecting, listening and the handshake, over loopback. */
#include "base/test.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "wire/testing.h"
#include "wire/tls_internal.h"

static struct tls *connect_with(struct testing *testing, const struct testing_side *expected,
                                int64_t deadline_ns, struct error **err)
{
    return tls_connect(testing->client.context, "127.0.0.1", testing->port,
                       identity_fingerprint(expected->identity), testing->cancel, deadline_ns, err);
}

static int option(const struct tls *tls, int level, int name)
{
    int value = 0;
    socklen_t size = sizeof(value);
    assert_int_equal(getsockopt(tls_fd(tls), level, name, &value, &size), 0);
    return value;
}

static void test_both_sides_know_each_other(void **state)
{
    struct testing *testing = *state;
    testing_connect(testing);
    const struct testing_side *client = &testing->client, *server = &testing->server;
    assert_string_equal(tls_peer_fingerprint(client->tls), identity_fingerprint(server->identity));
    assert_string_equal(tls_peer_fingerprint(server->tls), identity_fingerprint(client->identity));
    assert_non_null(strstr(tls_peer_name(server->tls), "127.0.0.1:"));
    const struct tls *both[] = {client->tls, server->tls};
    for (size_t i = 0; i < ARRAY_SIZE(both); i++) {
        assert_string_equal(SSL_get_version(both[i]->ssl), "TLSv1.3");
        assert_string_equal(SSL_get_cipher_name(both[i]->ssl), "TLS_AES_128_GCM_SHA256");
        assert_int_equal(option(both[i], IPPROTO_TCP, TCP_NODELAY), 1);
        assert_int_equal(option(both[i], IPPROTO_TCP, TCP_USER_TIMEOUT), 30000);
        assert_int_equal(option(both[i], SOL_SOCKET, SO_KEEPALIVE), 1);
        assert_true(option(both[i], IPPROTO_TCP, TCP_KEEPIDLE) +
                        option(both[i], IPPROTO_TCP, TCP_KEEPINTVL) *
                            option(both[i], IPPROTO_TCP, TCP_KEEPCNT) <=
                    30);
        assert_true(fcntl(tls_fd(both[i]), F_GETFL) & O_NONBLOCK);
    }
}

/* A stranger of its own making: plain OpenSSL, and a note of what is inside each record it gets. */
struct stranger {
    SSL_CTX *context;
    SSL *ssl;
    int fd;
    bool application; /* got a record of application data */
    bool ticket;      /* got a session ticket */
    int alert;        /* the last alert's number, else 0 */
};

static void note_record(int sent, int version, int type, const void *bytes, size_t size, SSL *ssl,
                        void *argument)
{
    struct stranger *stranger = argument;
    const uint8_t *message = bytes;
    (void)version;
    (void)ssl;
    if (sent || size == 0)
        return;
    if (type == SSL3_RT_INNER_CONTENT_TYPE && message[0] == SSL3_RT_APPLICATION_DATA)
        stranger->application = true;
    if (type == SSL3_RT_HANDSHAKE && message[0] == SSL3_MT_NEWSESSION_TICKET)
        stranger->ticket = true;
    if (type == SSL3_RT_ALERT && size == 2)
        stranger->alert = message[1];
}

static void stranger_open(struct stranger *stranger, const struct testing *testing,
                          const struct identity *identity, int version)
{
    *stranger = (struct stranger){.context = SSL_CTX_new(TLS_client_method())};
    assert_int_equal(SSL_CTX_set_min_proto_version(stranger->context, version), 1);
    assert_int_equal(SSL_CTX_set_max_proto_version(stranger->context, version), 1);
    if (identity) {
        assert_int_equal(SSL_CTX_use_certificate(stranger->context, identity_certificate(identity)),
                         1);
        assert_int_equal(SSL_CTX_use_PrivateKey(stranger->context, identity_key(identity)), 1);
    }
    SSL_CTX_set_msg_callback(stranger->context, note_record);
    SSL_CTX_set_msg_callback_arg(stranger->context, stranger);
    stranger->ssl = SSL_new(stranger->context);
    stranger->fd = testing_connect_plain(testing);
    assert_int_equal(SSL_set_fd(stranger->ssl, stranger->fd), 1);
}

static void stranger_close(struct stranger *stranger)
{
    SSL_free(stranger->ssl);
    SSL_CTX_free(stranger->context);
    close(stranger->fd);
}

/* The server refuses: one alert, then the end of TCP, and no application data before it. */
static void assert_refused(struct testing *testing, struct stranger *stranger, int alert)
{
    char bytes[16];
    if (SSL_connect(stranger->ssl) == 1)
        assert_true(SSL_read(stranger->ssl, bytes, sizeof(bytes)) <= 0);
    assert_int_equal(stranger->alert, alert);
    assert_false(stranger->application);
    assert_false(stranger->ticket);
    assert_int_equal(recv(stranger->fd, bytes, sizeof(bytes), 0), 0);
    stranger_close(stranger);
    testing_accept_join(testing);
    assert_null(testing->server.tls);
}

static void test_an_unknown_key_gets_an_alert_and_nothing_else(void **state)
{
    struct testing *testing = *state;
    struct stranger stranger;
    testing_accept_start(testing);
    /* The server's own key: a real one, but not that of its peer. */
    stranger_open(&stranger, testing, testing->server.identity, TLS1_3_VERSION);
    assert_refused(testing, &stranger, SSL_AD_UNKNOWN_CA);
    assert_int_equal(testing->accept_error->kind, ERROR_DENIED);
    const char *fingerprint = identity_fingerprint(testing->server.identity);
    assert_non_null(strstr(testing->accept_error->message, "unknown key"));
    assert_non_null(strstr(testing->accept_error->message, fingerprint));
    assert_non_null(strstr(testing->accept_error->hint, "mudanza host add"));
    assert_non_null(strstr(testing->accept_error->hint, fingerprint));
}

static void test_no_key_at_all_is_refused(void **state)
{
    struct testing *testing = *state;
    struct stranger stranger;
    testing_accept_start(testing);
    stranger_open(&stranger, testing, NULL, TLS1_3_VERSION);
    assert_refused(testing, &stranger, SSL_AD_CERTIFICATE_REQUIRED);
    assert_int_equal(testing->accept_error->kind, ERROR_DENIED);
    assert_non_null(strstr(testing->accept_error->message, "shows no key"));
}

static void test_older_tls_is_refused(void **state)
{
    struct testing *testing = *state;
    struct stranger stranger;
    testing_accept_start(testing);
    stranger_open(&stranger, testing, testing->client.identity, TLS1_2_VERSION);
    assert_refused(testing, &stranger, SSL_AD_PROTOCOL_VERSION);
    assert_int_equal(testing->accept_error->kind, ERROR_PEER);
    assert_non_null(strstr(testing->accept_error->message, "does not speak TLS 1.3"));
}

static void test_the_known_key_gets_no_session_ticket(void **state)
{
    struct testing *testing = *state;
    struct stranger stranger;
    testing_accept_start(testing);
    stranger_open(&stranger, testing, testing->client.identity, TLS1_3_VERSION);
    assert_int_equal(SSL_connect(stranger.ssl), 1);
    testing_accept_join(testing);
    CLEANUP_ERROR struct error *err = NULL;
    assert_ok(tls_write(testing->server.tls, "x", 1, -1, TESTING_DEADLINE, &err), err);
    char byte;
    assert_int_equal(SSL_read(stranger.ssl, &byte, 1), 1);
    assert_true(stranger.application);
    assert_false(stranger.ticket);
    assert_false(SSL_SESSION_is_resumable(SSL_get0_session(stranger.ssl)));
    stranger_close(&stranger);
}

/* A client of our own whose key the server does not know: the context of the server's side. */
static struct tls *connect_unknown(struct testing *testing)
{
    CLEANUP_ERROR struct error *err = NULL;
    testing_accept_start(testing);
    struct tls *tls =
        tls_connect(testing->server.context, "127.0.0.1", testing->port,
                    identity_fingerprint(testing->server.identity), -1, TESTING_DEADLINE, &err);
    assert_ok(tls ? 0 : -1, err);
    return tls;
}

static void assert_says_that_we_are_unknown(const struct testing *testing, const struct error *err)
{
    const char *own = identity_fingerprint(testing->server.identity);
    assert_int_equal(err->kind, ERROR_DENIED);
    assert_non_null(strstr(err->message, "127.0.0.1:"));
    assert_non_null(strstr(err->message, "does not know this host's key"));
    assert_non_null(strstr(err->hint, "mudanza host add"));
    assert_non_null(strstr(err->hint, own));
}

static void test_a_client_learns_with_its_first_read_that_it_is_unknown(void **state)
{
    struct testing *testing = *state;
    struct tls *tls = connect_unknown(testing);
    CLEANUP_ERROR struct error *err = NULL;
    char byte;
    assert_int_equal(tls_read(tls, &byte, 1, -1, TESTING_DEADLINE, &err), -1);
    assert_says_that_we_are_unknown(testing, err);
    tls_close(tls);
    testing_accept_join(testing);
}

static void test_a_client_that_only_writes_learns_it_too(void **state)
{
    struct testing *testing = *state;
    struct tls *tls = connect_unknown(testing);
    CLEANUP_ERROR struct error *err = NULL;
    static char bytes[1 << 20];
    while (tls_write(tls, bytes, sizeof(bytes), -1, TESTING_DEADLINE, &err) == 0)
        ;
    assert_says_that_we_are_unknown(testing, err);
    tls_close(tls);
    testing_accept_join(testing);
}

static void test_another_key_than_the_expected_one_is_refused(void **state)
{
    struct testing *testing = *state;
    CLEANUP_ERROR struct error *err = NULL;
    testing_accept_start(testing);
    assert_null(connect_with(testing, &testing->client, TESTING_DEADLINE, &err));
    testing_accept_join(testing);
    assert_int_equal(err->kind, ERROR_DENIED);
    assert_non_null(strstr(err->message, identity_fingerprint(testing->client.identity)));
    assert_non_null(strstr(err->message, identity_fingerprint(testing->server.identity)));
    assert_non_null(strstr(err->hint, "mudanza id"));
    assert_null(testing->server.tls);
    assert_int_equal(testing->accept_error->kind, ERROR_DENIED);
}

static void test_a_silent_client_is_dropped_at_the_deadline(void **state)
{
    struct testing *testing = *state;
    testing->accept_deadline_ns = clock_deadline_ns(50);
    int fd = testing_connect_plain(testing);
    assert_int_equal(send(fd, "\x16\x03", 2, 0), 2); /* the beginning of a record */
    testing_accept_start(testing);
    testing_accept_join(testing);
    assert_null(testing->server.tls);
    assert_int_equal(testing->accept_error->kind, ERROR_TIMEOUT);
    close(fd);
}

static void test_accepting_is_cancelled(void **state)
{
    struct testing *testing = *state;
    testing->accept_cancel = testing->cancel;
    int fd = testing_connect_plain(testing);
    testing_accept_start(testing);
    fd_event_signal(testing->cancel);
    testing_accept_join(testing);
    assert_null(testing->server.tls);
    assert_int_equal(testing->accept_error->kind, ERROR_CANCELLED);
    close(fd);
}

static void test_what_is_not_tls_is_refused(void **state)
{
    struct testing *testing = *state;
    static const char request[] = "GET / HTTP/1.0\r\n\r\n";
    int fd = testing_connect_plain(testing);
    assert_int_equal(send(fd, request, sizeof(request) - 1, 0), sizeof(request) - 1);
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    testing_accept_start(testing);
    testing_accept_join(testing);
    assert_null(testing->server.tls);
    assert_int_equal(testing->accept_error->kind, ERROR_PEER);
    close(fd);
}

static void test_a_client_that_goes_away_in_the_handshake_is_unreachable(void **state)
{
    struct testing *testing = *state;
    close(testing_connect_plain(testing));
    testing_accept_start(testing);
    testing_accept_join(testing);
    assert_null(testing->server.tls);
    assert_int_equal(testing->accept_error->kind, ERROR_UNREACHABLE);
}

static void test_a_server_that_does_not_answer_is_unreachable(void **state)
{
    struct testing *testing = *state;
    CLEANUP_ERROR struct error *err = NULL;
    assert_null(connect_with(testing, &testing->server, clock_deadline_ns(50), &err));
    assert_int_equal(err->kind, ERROR_UNREACHABLE);
    assert_non_null(strstr(err->message, "does not answer"));
    assert_non_null(err->hint);
}

static void test_connecting_is_cancelled(void **state)
{
    struct testing *testing = *state;
    CLEANUP_ERROR struct error *err = NULL;
    fd_event_signal(testing->cancel);
    assert_null(connect_with(testing, &testing->server, TESTING_DEADLINE, &err));
    assert_int_equal(err->kind, ERROR_CANCELLED);
}

static struct error *connect_error(const struct testing *testing, const char *address,
                                   uint16_t port, int64_t deadline_ns)
{
    struct error *err = NULL;
    assert_null(tls_connect(testing->client.context, address, port,
                            identity_fingerprint(testing->server.identity), -1, deadline_ns, &err));
    assert_non_null(err);
    return err;
}

static void test_unreachable_addresses_say_why_and_what_to_do(void **state)
{
    struct testing *testing = *state;
    /* A port that was just ours and has no listener now. */
    close(testing->listener);
    CLEANUP_ERROR struct error *refused =
        connect_error(testing, "127.0.0.1", testing->port, TESTING_DEADLINE);
    CLEANUP_ERROR struct error *error = NULL;
    testing->listener = tls_listen("127.0.0.1", 0, &error); /* for the teardown */
    char name[64];
    snprintf(name, sizeof(name), "127.0.0.1:%u: Connection refused", testing->port);
    assert_int_equal(refused->kind, ERROR_UNREACHABLE);
    assert_string_equal(refused->message, name);
    assert_non_null(strstr(refused->hint, "mudanzad"));

    CLEANUP_ERROR struct error *route =
        connect_error(testing, "255.255.255.255", 7000, TESTING_DEADLINE);
    assert_int_equal(route->kind, ERROR_UNREACHABLE);
    assert_non_null(strstr(route->message, "255.255.255.255:7000: "));
    assert_non_null(route->hint);

    CLEANUP_ERROR struct error *unknown =
        connect_error(testing, "no..such..name", 7000, TESTING_DEADLINE);
    assert_int_equal(unknown->kind, ERROR_UNREACHABLE);
    assert_non_null(strstr(unknown->message, "no..such..name:7000: the name cannot be resolved"));
    assert_non_null(strstr(unknown->hint, "DNS"));

    CLEANUP_ERROR struct error *zero = connect_error(testing, "127.0.0.1", 0, TESTING_DEADLINE);
    assert_int_equal(zero->kind, ERROR_INVALID);
}

/* A listener whose queue is full drops what comes: to us, a host that does not answer. */
static void test_a_host_that_does_not_answer_is_unreachable(void **state)
{
    struct testing *testing = *state;
    CLEANUP_CLOSE int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(listener, 0), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
    CLEANUP_CLOSE int first = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(first, (struct sockaddr *)&address, size), 0);
    CLEANUP_ERROR struct error *err =
        connect_error(testing, "127.0.0.1", ntohs(address.sin_port), clock_deadline_ns(50));
    assert_int_equal(err->kind, ERROR_UNREACHABLE);
    assert_non_null(strstr(err->message, "no answer"));
    assert_non_null(strstr(err->hint, "firewall"));
}

static void *close_thread(void *argument)
{
    const struct testing *testing = argument;
    if (fd_wait(testing->listener, POLLIN, -1, TESTING_DEADLINE, NULL) == 0)
        close(accept4(testing->listener, NULL, NULL, SOCK_CLOEXEC));
    return NULL;
}

static void test_a_server_that_closes_at_once_is_unreachable(void **state)
{
    struct testing *testing = *state;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, close_thread, testing), 0);
    CLEANUP_ERROR struct error *err = NULL;
    assert_null(connect_with(testing, &testing->server, TESTING_DEADLINE, &err));
    pthread_join(thread, NULL);
    assert_int_equal(err->kind, ERROR_UNREACHABLE);
}

static void test_a_malformed_fingerprint_is_refused_before_connecting(void **state)
{
    struct testing *testing = *state;
    CLEANUP_ERROR struct error *err = NULL;
    assert_null(tls_connect(testing->client.context, "127.0.0.1", testing->port, "SHA256:x", -1,
                            TESTING_DEADLINE, &err));
    assert_int_equal(err->kind, ERROR_INVALID);
}

static void test_listening_says_what_is_in_the_way(void **state)
{
    struct testing *testing = *state;
    CLEANUP_ERROR struct error *used = NULL;
    assert_int_equal(tls_listen("127.0.0.1", testing->port, &used), -1);
    assert_non_null(strstr(used->message, "127.0.0.1:"));
    assert_non_null(strstr(used->hint, "another mudanzad"));
    CLEANUP_ERROR struct error *foreign = NULL;
    assert_int_equal(tls_listen("192.0.2.1", 0, &foreign), -1);
    assert_non_null(strstr(foreign->hint, "ip address"));
    CLEANUP_ERROR struct error *name = NULL;
    assert_int_equal(tls_listen("localhost", 0, &name), -1);
    assert_int_equal(name->kind, ERROR_INVALID);
}

static void test_listening_everywhere_takes_ipv4(void **state)
{
    struct testing *testing = *state;
    CLEANUP_ERROR struct error *err = NULL;
    close(testing->listener);
    testing->listener = tls_listen("*", 0, &err);
    assert_ok(testing->listener, err);
    struct sockaddr_in6 address = {0};
    socklen_t size = sizeof(address);
    assert_int_equal(getsockname(testing->listener, (struct sockaddr *)&address, &size), 0);
    testing->port = ntohs(address.sin6_port); /* at the same place for both families */
    testing_connect(testing);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, testing_setup, testing_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_both_sides_know_each_other),
        TEST(test_an_unknown_key_gets_an_alert_and_nothing_else),
        TEST(test_no_key_at_all_is_refused),
        TEST(test_older_tls_is_refused),
        TEST(test_the_known_key_gets_no_session_ticket),
        TEST(test_a_client_learns_with_its_first_read_that_it_is_unknown),
        TEST(test_a_client_that_only_writes_learns_it_too),
        TEST(test_another_key_than_the_expected_one_is_refused),
        TEST(test_a_silent_client_is_dropped_at_the_deadline),
        TEST(test_accepting_is_cancelled),
        TEST(test_what_is_not_tls_is_refused),
        TEST(test_a_client_that_goes_away_in_the_handshake_is_unreachable),
        TEST(test_a_server_that_does_not_answer_is_unreachable),
        TEST(test_connecting_is_cancelled),
        TEST(test_unreachable_addresses_say_why_and_what_to_do),
        TEST(test_a_host_that_does_not_answer_is_unreachable),
        TEST(test_a_server_that_closes_at_once_is_unreachable),
        TEST(test_a_malformed_fingerprint_is_refused_before_connecting),
        TEST(test_listening_says_what_is_in_the_way),
        TEST(test_listening_everywhere_takes_ipv4),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
