/* SPDX-License-Identifier: Apache-2.0 */
/* For tests: two identities in throw-away folders, and sessions between them over loopback. */
#ifndef WIRE_TESTING_H
#define WIRE_TESTING_H

#include <pthread.h>

#include "wire/tls.h"

/* No test waits longer than this for what must come; it bounds a hang, it measures nothing. */
#define TESTING_DEADLINE clock_deadline_ns(INT64_C(60000))

struct testing_side {
    char directory[32];
    struct identity *identity;
    struct tls_context *context;
    struct tls *tls;
};

struct testing {
    struct testing_side client;
    struct testing_side server;
    int listener;
    uint16_t port;
    int cancel; /* an eventfd, not signalled */

    /* Of the server's thread. */
    pthread_t thread;
    int64_t accept_deadline_ns;
    int accept_cancel;
    struct error *accept_error;
};

/* cmocka's set-up and tear-down: identities, contexts and the listener, without a session. The
 * server takes the client's key only; the client's context takes no key when it accepts. */
int testing_setup(void **state);
int testing_teardown(void **state);

/* Accepts one connection in a thread; join fills server.tls or accept_error. */
void testing_accept_start(struct testing *testing);
void testing_accept_join(struct testing *testing);

/* A session between the two; fails the test when there is none. */
void testing_connect(struct testing *testing);

/* A plain TCP connection to the listener. */
int testing_connect_plain(const struct testing *testing);

#endif
