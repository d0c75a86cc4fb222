/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A link: one ordered, reliable sequence of blocks in each direction between the two agents of a
 * job, over one or several TLS connections that may break and come back.
 *
 * Blocks are numbered in each direction and kept until the other end's user has taken them. After a
 * reconnect the ends tell each other what they have, and only what is missing is sent again. The
 * source reconnects; the destination is handed what its listener accepted. A link ends by
 * link_stop, by the other end's, or when there was no connection for lost_ms.
 */
#ifndef WIRE_LINK_H
#define WIRE_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "wire/block.h"
#include "wire/tls.h"

struct link;

struct link_options {
    const char *vm;             /* for the log; copied */
    const char *peer;           /* "host NAME" or so, for messages; copied */
    uint8_t job[FRAME_ID_SIZE]; /* both ends must have the same */
    unsigned connections;       /* 1 to FRAME_SLOTS_MAX */
    size_t memory_limit;        /* bytes of blocks queued or unacknowledged; each direction */
    int64_t silence_ms;         /* a connection on which nothing came for so long is dropped */
    int64_t lost_ms;            /* without any connection for so long, the link has failed */
};

/* One connection to the other end, hello done. Called from the link's threads, several at once. */
typedef struct tls *link_connect(void *context, int cancel_fd, int64_t deadline_ns,
                                 struct error **err);

/* The source's end: connects through the callback, at once and after every cut. */
struct link *link_new_source(const struct link_options *options, link_connect *connect,
                             void *context, struct error **err);

/* Source: the other end is to be found elsewhere now. Ends the connections, so that new ones are
 * made, through the callback, instead of waiting for silence to tell. */
void link_renew(struct link *link);

/* The destination's end. */
struct link *link_new_destination(const struct link_options *options, struct error **err);

/* Destination, 1: reads what an accepted connection says first, before the link is known. */
int link_greet(struct tls *tls, struct frame_resume *resume, int cancel_fd, int64_t deadline_ns,
               struct error **err);
/* 2: gives the connection to the link; `tls` is taken over, also on error. Does not wait. */
int link_attach(struct link *link, struct tls *tls, const struct frame_resume *resume,
                struct error **err);
/* 2, otherwise: tells the source that there is no such link here, so that it need not come again.
 * Closes `tls`. */
void link_refuse(struct tls *tls, const char *reason, int64_t deadline_ns);

/* Takes the block over, also on error. Waits while memory_limit is reached. One thread at a time
 * sends or flushes. */
int link_send(struct link *link, struct block *block, int cancel_fd, struct error **err);
/* Waits until the other end's user has taken everything sent so far. */
int link_flush(struct link *link, int cancel_fd, int64_t deadline_ns, struct error **err);
/* An eventfd: readable while little enough is unsent that more should come. A sender that heeds it
 * keeps the queue short, which is what downtime wants, and hardly ever waits in link_send. */
int link_room_fd(const struct link *link);

/* The next block in order: 1 (caller owns it), 0 when none came until the deadline, -1 when the
 * link has failed and nothing is left, or cancelled. One thread at a time. */
int link_receive(struct link *link, struct block **block, int cancel_fd, int64_t deadline_ns,
                 struct error **err);
/* An eventfd: readable while link_receive would return at once. */
int link_receive_fd(const struct link *link);

/* The last rounds and post-copy: keeps the queues in front of the network short. */
void link_urgent(struct link *link, bool urgent);
/* Room only while fewer bytes than this are queued or unacknowledged; 0: memory_limit alone counts.
 */
void link_limit(struct link *link, size_t in_flight_max);

struct link_status {
    uint64_t wire_out, wire_in; /* bytes of frames */
    uint64_t resent;            /* blocks that were sent once more after a cut */
    uint64_t repeated;          /* blocks that came although they were here: 0 unless a bug */
    unsigned connections;       /* alive now */
    unsigned cuts;              /* how often one broke */
    int64_t lost_since_ns;      /* since when there is no connection; 0: there is one */
    int64_t rtt_ns;             /* of the last heartbeat; 0: not known yet */
    size_t queued;              /* bytes queued or unacknowledged */
    size_t memory_peak;         /* bytes in both directions */
    uint64_t rate;              /* acknowledged bytes per second, lately */
    int64_t network_ns;         /* how long connections waited for the network, on average */
    bool failed;
};
struct link_status link_status(struct link *link);
/* An eventfd, signalled when connections, cuts or failed changed. */
int link_event_fd(const struct link *link);
/* Why it failed, or why there is no connection now: a copy. Returns -1; 0 without a reason. */
int link_error(struct link *link, struct error **err);

/* Tells the other end that the link is over, ends the threads, closes, frees. NULL is fine. */
void link_stop(struct link *link);

#endif
