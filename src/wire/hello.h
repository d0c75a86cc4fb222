/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first bytes inside each TLS session, in both directions: who speaks which protocol version,
 * and what the connection is for. Fixed layout in every version, so that two agents of different
 * versions can always tell each other which they are.
 */
#ifndef WIRE_HELLO_H
#define WIRE_HELLO_H

#include <stdint.h>

#include "wire/tls.h"

#define WIRE_PROTOCOL_VERSION 2

enum hello_kind {
    HELLO_CONTROL = 1, /* Varlink calls follow (io.mudanza.Peer) */
    HELLO_DATA = 2,    /* frames of one job's stream follow */
};

#define HELLO_JOB_SIZE 16

struct hello {
    enum hello_kind kind;
    uint8_t job[HELLO_JOB_SIZE]; /* the job's UUID for HELLO_DATA, else zero */
};

/* Client: sends ours, waits for the peer's. ERROR_PEER "agent speaks protocol N, this one M". */
int hello_send(struct tls *tls, const struct hello *hello, int cancel_fd, int64_t deadline_ns,
               struct error **err);
/* Server: waits for the peer's, answers with ours (also when the versions differ). */
int hello_receive(struct tls *tls, struct hello *hello, int cancel_fd, int64_t deadline_ns,
                  struct error **err);

#endif
