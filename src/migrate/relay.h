/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The relay: QEMU's migration stream between its socket and a data connection, one thread an end.
 *
 * The bytes arrive exactly as they left. The source end sends FRAME_END only when the stream is
 * complete *and* relay_commit was called: a destination that has not seen END never owns the VM.
 * Both directions flow, as post-copy's page requests come back on the same connection.
 */
#ifndef MIGRATE_RELAY_H
#define MIGRATE_RELAY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "wire/tls.h"

struct relay;

struct relay_status {
    uint64_t stream_bytes; /* of QEMU's stream, passed on so far */
    uint64_t wire_bytes;   /* with frames, as given to TLS */
    bool complete;         /* source: QEMU closed its end and everything is sent */
    bool ended;            /* END is sent, or received */
    bool failed;
};

/* Starts the thread. Takes `qemu_fd` and `tls` over, also on error. `vm` is for messages. */
struct relay *relay_start_source(const char *vm, int qemu_fd, struct tls *tls, struct error **err);
struct relay *relay_start_destination(const char *vm, int qemu_fd, struct tls *tls,
                                      struct error **err);

/* An eventfd that is signalled whenever complete, ended or failed changes. */
int relay_event_fd(const struct relay *relay);

struct relay_status relay_status(struct relay *relay);

/* Why it failed: moves the error out. */
int relay_take_error(struct relay *relay, struct error **err);

/* Source: the COMMIT record is durable and QEMU says that its migration is completed: END may go.
 */
void relay_commit(struct relay *relay);

/* Ends the thread wherever it is, closes both ends, frees. NULL is fine. */
void relay_stop(struct relay *relay);

#endif
