/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of a link, shared by the link*.c files. */
#ifndef WIRE_LINK_INTERNAL_H
#define WIRE_LINK_INTERNAL_H

#include <pthread.h>

#include "wire/link.h"
#include "wire/link_queue.h"

/* One of the link's connections and the thread that makes and serves it. */
struct slot {
    struct link *link;
    uint32_t index;
    pthread_t thread;
    int wake_fd;

    /* Guarded by link->lock. */
    uint32_t generation; /* the highest known */
    uint32_t serving;    /* the generation of the connection that is open; 0: none */
    bool alive;          /* it carries blocks */
    bool drop;           /* it is to be closed */
    bool idle;           /* its thread waits, with nothing to send */
    bool ack_due;
    uint64_t told;                      /* what our FRAME_RESUME said was taken */
    int fd;                             /* its socket, while alive */
    uint32_t lost;                      /* up to this generation blocks are adrift; 0: none */
    uint32_t lost_carrier;              /* 1 + the slot on which FRAME_LOST went out; 0: none */
    uint32_t have_due[FRAME_SLOTS_MAX]; /* FRAME_LOST came on it: slot -> generation */
    struct tls *next_tls;               /* destination: what link_attach brought */
    struct frame_resume next_resume;
};

struct link {
    /* Constant. */
    char *vm, *peer;
    bool source;
    struct link_options options;
    link_connect *connect;
    void *context;
    int stop_fd, event_fd, receive_fd, room_fd, flush_fd;

    pthread_mutex_t lock; /* guards what follows */
    bool stopping;
    struct error *error;   /* set: the link has failed */
    struct error *trouble; /* why there was no connection last */
    uint8_t session[FRAME_ID_SIZE];
    char fingerprint[FINGERPRINT_MAX]; /* the peer's, from the first connection on */
    struct outbox out;
    struct inbox in;
    size_t in_flight_max; /* 0: none */
    bool room, urgent;
    unsigned data_slot; /* where blocks came last: acknowledgements go there */
    unsigned wake_next; /* where to look for an idle thread first */
    unsigned alive, cuts;
    int64_t lost_since_ns, rtt_ns;
    int64_t network_ns; /* what the connections waited for the network, on average */
    int64_t connect_ns; /* how long the first connection took to make */
    uint64_t wire_out, wire_in;
    size_t memory_peak;
    uint64_t rate, rate_bytes;
    int64_t rate_ns;
    unsigned slots_started;
    struct slot slots[FRAME_SLOTS_MAX];
};

/* link_tcp.c: how long the connection waited for the other end to read. Since it was made; 0 when
 * the kernel does not tell. */
int64_t link_tcp_peer_ns(int fd);

/* link.c; the caller holds the lock. */

/* Ends the link with that reason, which is taken over. */
void link_fail(struct link *link, struct error *error);
/* It must go on: not stopping, not failed. */
bool link_lives(const struct link *link);
/* Fails the link when it was without connections for too long. */
void link_check_lost(struct link *link, int64_t now_ns);
/* Brings room_fd and receive_fd in line with the queues. */
void link_queues_changed(struct link *link);
void link_wake_sender(struct link *link);
void link_wake_all(struct link *link);
/* The other end has taken all below `number`. */
int link_acked(struct link *link, uint64_t number, struct error **err);
/* A connection of the slot takes up its work, or broke. */
void link_slot_up(struct slot *slot, int fd);
void link_slot_down(struct slot *slot);
/* What the other end says it has: blocks of the slot's closed connections. */
int link_settle(struct slot *slot, uint32_t generation, const struct frame_have *have,
                struct error **err);

/* link_slot.c: the thread. */
void *link_slot_run(void *slot);

/* link_serve.c: carries blocks until the connection breaks, is to be dropped, or the link ends.
 * Returns -1 with why in the first case. */
int link_serve(struct slot *slot, struct tls *tls, struct error **err);

#endif
