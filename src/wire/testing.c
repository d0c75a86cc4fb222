/* SPDX-License-Identifier: Apache-2.0 */
/* For tests: two identities in throw-away folders, and sessions between them over loopback. */
#include "base/test.h"

#include "wire/testing.h"

#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/text.h"

static bool allow_client(void *context, const char *fingerprint)
{
    const struct testing *testing = context;
    return text_equal(fingerprint, identity_fingerprint(testing->client.identity));
}

static bool allow_nobody(void *context, const char *fingerprint)
{
    (void)context;
    (void)fingerprint;
    return false;
}

static void side_open(struct testing_side *side, tls_allowed *allowed, void *context)
{
    CLEANUP_ERROR struct error *err = NULL;
    snprintf(side->directory, sizeof(side->directory), "/tmp/mudanza-wire-XXXXXX");
    assert_non_null(mkdtemp(side->directory));
    side->identity = identity_open(side->directory, &err);
    assert_ok(side->identity ? 0 : -1, err);
    side->context = tls_context_new(side->identity, allowed, context, &err);
    assert_ok(side->context ? 0 : -1, err);
}

static void side_close(struct testing_side *side)
{
    tls_close(side->tls);
    tls_context_free(side->context);
    identity_free(side->identity);
    CLEANUP_FREE char *key = text_format("%s/host.key", side->directory);
    unlink(key);
    rmdir(side->directory);
}

int testing_setup(void **state)
{
    struct testing *testing = calloc(1, sizeof(*testing));
    CLEANUP_ERROR struct error *err = NULL;
    side_open(&testing->client, allow_nobody, testing);
    side_open(&testing->server, allow_client, testing);
    testing->listener = tls_listen("127.0.0.1", 0, &err);
    assert_ok(testing->listener, err);
    struct sockaddr_in address = {0};
    socklen_t size = sizeof(address);
    assert_int_equal(getsockname(testing->listener, (struct sockaddr *)&address, &size), 0);
    testing->port = ntohs(address.sin_port);
    testing->cancel = eventfd(0, EFD_CLOEXEC);
    testing->accept_deadline_ns = TESTING_DEADLINE;
    testing->accept_cancel = -1;
    *state = testing;
    return 0;
}

int testing_teardown(void **state)
{
    struct testing *testing = *state;
    side_close(&testing->client);
    side_close(&testing->server);
    close(testing->listener);
    close(testing->cancel);
    error_free(testing->accept_error);
    free(testing);
    return 0;
}

static void *accept_thread(void *argument)
{
    struct testing *testing = argument;
    if (fd_wait(testing->listener, POLLIN, -1, TESTING_DEADLINE, &testing->accept_error) < 0)
        return NULL;
    int fd = accept4(testing->listener, NULL, NULL, SOCK_CLOEXEC);
    testing->server.tls = tls_accept(testing->server.context, fd, testing->accept_cancel,
                                     testing->accept_deadline_ns, &testing->accept_error);
    return NULL;
}

void testing_accept_start(struct testing *testing)
{
    assert_int_equal(pthread_create(&testing->thread, NULL, accept_thread, testing), 0);
}

void testing_accept_join(struct testing *testing)
{
    pthread_join(testing->thread, NULL);
}

void testing_connect(struct testing *testing)
{
    CLEANUP_ERROR struct error *err = NULL;
    testing_accept_start(testing);
    testing->client.tls =
        tls_connect(testing->client.context, "127.0.0.1", testing->port,
                    identity_fingerprint(testing->server.identity), -1, TESTING_DEADLINE, &err);
    testing_accept_join(testing);
    assert_ok(testing->client.tls ? 0 : -1, err);
    assert_ok(testing->server.tls ? 0 : -1, testing->accept_error);
}

int testing_connect_plain(const struct testing *testing)
{
    const struct sockaddr_in address = {.sin_family = AF_INET,
                                        .sin_port = htons(testing->port),
                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}
