/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The relay: QEMU's migration stream between its socket and a link, one thread an end.
 *
 * The bytes arrive exactly as they left, also when connections break on the way. The source end
 * sends END only when the stream is complete *and* relay_commit was called: a destination that has
 * not seen END never owns the VM. Both directions flow, as post-copy's page requests come back on
 * the same link.
 */
#ifndef MIGRATE_RELAY_H
#define MIGRATE_RELAY_H

#include "migrate/held.h"
#include "stream/decoder.h"
#include "stream/dictionary.h"
#include "stream/encoder.h"
#include "stream/placer.h"
#include "wire/link.h"

struct relay;

/* The kinds of blocks beside those of the stream engine (stream_block.h). */
enum relay_block {
    RELAY_END = 16,  /* that was all of it: its length, u64 big-endian; only after COMMIT */
    RELAY_BACK = 17, /* to the source: bytes for its QEMU, as they are */
    /* To the destination: a position, u64 big-endian. What comes from there on is spooled. */
    RELAY_SPOOL = 18,
    /* Either way: the QEMU here has been given the other's spooled bytes up to this position. */
    RELAY_GIVEN = 19,
    /* To the source: the most memory the destination has used for the stream, u64 big-endian. */
    RELAY_MEMORY = 20,
};

struct relay_status {
    uint64_t stream_bytes;       /* of QEMU's stream, passed on so far, also by earlier relays */
    uint64_t wire_bytes;         /* with frames, as given to TLS; both directions */
    bool complete;               /* source: QEMU closed its end and all of it is in the link */
    bool ended;                  /* END was received; source: the destination has it */
    bool failed;                 /* and will not go on */
    bool spooled;                /* source: what QEMU says outlives this agent */
    bool scarce;                 /* source: the network was waited for */
    uint64_t placed;             /* destination: pages that went straight into the guest's RAM */
    uint64_t peer_memory;        /* source: the most the destination has used, as it says */
    struct link_status link;     /* connections, cuts, memory */
    struct stream_counts stream; /* source: what became of it on the way */
};

/* What a relay is between. */
struct relay_ends {
    struct link_options link;
    struct held held; /* with spools, post-copy survives the agents */
    int event_fd;     /* an eventfd of the caller's, signalled whenever the status changes */
    bool goes_on;     /* with spools: an earlier relay, or agent, has begun the streams, ... */
    uint64_t from;    /* ... and the peer's QEMU has what ours said up to this position */
    /* Destination: where pages go without QEMU's help. Its `map` is NULL: nowhere. */
    struct placer_ram ram;
};

/* Starts the thread. Takes ends->held and ends->ram over, also on error. */
struct relay *relay_start_source(struct relay_ends *ends, const struct encoder_options *encoder,
                                 link_connect *connect, void *context, struct error **err);
/* `dictionary` is what this host knows of the guest's pages, NULL for nothing; it stays the
 * caller's, until relay_stop. */
struct relay *relay_start_destination(struct relay_ends *ends, uint32_t slots,
                                      struct dictionary *dictionary, struct error **err);

/* Destination: a connection of the job's, see link_attach. Does not wait. */
int relay_attach(struct relay *relay, struct tls *tls, const struct frame_resume *resume,
                 struct error **err);

struct relay_status relay_status(struct relay *relay);

/* Why it failed, however often it is asked: -1 with the error. 0: it has not. */
int relay_failure(struct relay *relay, struct error **err);
/* Why there is no connection now: see link_error. */
int relay_trouble(struct relay *relay, struct error **err);

/* The guest stands, or fetches pages: what is queued on the way costs downtime. From any thread, as
 * the next three. */
void relay_urgent(struct relay *relay);
/* Source: the guest changes pages that were sent, so that it pays to keep them (encoder_keep). */
void relay_keep(struct relay *relay);
/* Source: is the end of the move far? What is under way does not matter for the downtime then. */
void relay_far(struct relay *relay, bool far);
/* Post-copy begins: urgent, and little is on its way at a time, as the guest waits for pages.
 * From `spooled` on, all that is on its way outlives the agents. */
void relay_post_copy(struct relay *relay);

/* Source: the destination has another address now: see link_renew. */
void relay_renew(struct relay *relay);

/* Source: the COMMIT record is durable and QEMU says that its migration is completed: END may go.
 */
void relay_commit(struct relay *relay);

/* Source, before post-copy: the move is over. What QEMU still says is read, so that it can be told
 * to give up, and dropped. The same happens by itself once the relay has failed. */
void relay_discard(struct relay *relay);

/* Ends the thread wherever it is, tells the other end, closes, frees. NULL is fine. */
void relay_stop(struct relay *relay);

#endif
