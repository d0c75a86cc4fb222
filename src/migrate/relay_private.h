/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of a relay share: relay.c (from outside), relay_run.c (its thread). */
#ifndef MIGRATE_RELAY_PRIVATE_H
#define MIGRATE_RELAY_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "migrate/relay.h"
#include "migrate/relay_channels.h"
#include "migrate/relay_pace.h"
#include "migrate/relay_qemu.h"
#include "stream/return_path.h"

/* One read from QEMU. Larger pieces gain nothing measurable; smaller ones cost system calls. */
#define RELAY_PIECE ((size_t)256 * 1024)

struct relay {
    struct relay_qemu qemu;
    struct relay_channels *channels; /* of the source; NULL: QEMU writes into one only */
    struct link *link;
    bool source;
    struct encoder *encoder; /* of the source */
    struct decoder *decoder; /* of the destination */
    struct dictionary *dictionary;
    struct placer *placer;      /* of the destination; NULL: QEMU gets the stream as it is */
    struct return_path answers; /* what QEMU says to it */
    struct relay_pace pace;
    bool hurries; /* the encoder knows that it is urgent */
    bool end_sent;
    uint64_t memory_told;          /* of the destination: to the source, ... */
    int64_t memory_told_ns;        /* ... and when */
    int event_fd;                  /* not ours */
    int wake_fd, stop_fd, quit_fd; /* stop: no more of the link; quit: no more at all */
    atomic_bool committed, urgent, keeps, far;
    atomic_bool post_copy; /* what was read is in the link before more is */
    pthread_t thread;
    pthread_mutex_t lock;
    struct relay_status status; /* guarded by lock; but for `link` */
    struct error *error;        /* guarded by lock */
    uint8_t buffer[RELAY_PIECE];
};

/* The thread. */
void *relay_run(void *relay);

/* Takes QEMU's stream from its channels. `context` is the relay, as of the next. */
int relay_take_merged(void *context, const uint8_t *bytes, size_t size, struct error **err);
/* The engine's sinks: for blocks, at either end, and for QEMU's stream. */
int relay_send_block(void *context, struct block *block, struct error **err);
int relay_write_stream(void *context, const uint8_t *bytes, size_t size, struct error **err);
/* The placer's sink. */
int relay_write_rest(void *context, const uint8_t *bytes, size_t size, struct error **err);
int relay_await_pong(void *context, struct error **err);

#endif
