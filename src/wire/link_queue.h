/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bookkeeping of a link: which blocks are where. No threads and no sockets; the link's lock
 * guards them.
 *
 * A block of the outbox is queued, then on some connection, and gone once it is acknowledged. When
 * its connection breaks nobody knows whether it arrived, until the other end has said what it has
 * (outbox_settle): it is then either queued again or known to be there.
 */
#ifndef WIRE_LINK_QUEUE_H
#define WIRE_LINK_QUEUE_H

#include <stdbool.h>

#include "wire/block.h"

enum outbox_state {
    OUTBOX_QUEUED,  /* to be sent */
    OUTBOX_SENDING, /* a connection's thread reads it right now */
    OUTBOX_SENT,    /* on its way */
    OUTBOX_THERE,   /* the other end has it, its user has not taken it yet */
};

struct outbox_entry {
    struct block *block;
    enum outbox_state state;
    uint32_t slot, generation; /* of the connection that has it */
    bool again;                /* it was on a connection that broke */
    uint64_t end;              /* bytes of all blocks up to and with this one */
};

struct outbox {
    struct outbox_entry *ring; /* FRAME_WINDOW of them */
    uint64_t acked, next;      /* numbers: those in [acked, next) are here */
    uint64_t scan;             /* no queued one below */
    uint64_t acked_end, next_end;
    uint64_t window; /* bytes that the other end takes at most */
    size_t unsent;   /* bytes queued */
    uint64_t resent; /* blocks */
};

/* What a block costs on either side besides its payload. */
#define QUEUE_OVERHEAD 64
/* So little the receiver's window always has room for. */
#define QUEUE_WINDOW_MIN ((size_t)2 * FRAME_DATA_MAX)

int outbox_init(struct outbox *outbox, struct error **err);
void outbox_clear(struct outbox *outbox);
bool outbox_full(const struct outbox *outbox);    /* no room in the ring */
size_t outbox_bytes(const struct outbox *outbox); /* queued or unacknowledged */
void outbox_push(struct outbox *outbox, struct block *block);
/* The next block to send, now of that connection and in state SENDING; NULL: none may go. */
struct outbox_entry *outbox_take(struct outbox *outbox, uint32_t slot, uint32_t generation,
                                 uint64_t *number);
/* That block is out, or its connection broke on the way: nobody reads it any more. */
void outbox_sent(struct outbox *outbox, struct block *block, uint64_t number);
/* All below `number` were taken there. ERROR_CORRUPT when they cannot have been. One that is
 * being sent (a fast answer, over another connection) is left to outbox_sent. */
int outbox_ack(struct outbox *outbox, uint64_t number, struct error **err);
/* Connections of `slot` up to `generation` are closed at both ends, and this is what arrived. What
 * was taken of it is still to be acknowledged (outbox_ack). */
int outbox_settle(struct outbox *outbox, uint32_t slot, uint32_t generation,
                  const struct frame_have *have, struct error **err);
/* Are blocks on connections of that slot up to that generation? */
bool outbox_uses(const struct outbox *outbox, uint32_t slot, uint32_t generation);

struct inbox {
    struct block **ring;  /* FRAME_WINDOW of them */
    uint64_t taken, next; /* numbers: the user's next one; the first that is not here */
    uint64_t top;         /* none at or above is here */
    size_t bytes;         /* held, or on their way in */
    size_t window;        /* at most so many */
    uint64_t repeated;    /* blocks that were here already */
    size_t unacked;       /* bytes taken since the last acknowledgement */
};

int inbox_init(struct inbox *inbox, size_t window, struct error **err);
void inbox_clear(struct inbox *inbox);
/* A block of that number and size comes: makes room for it. ERROR_CORRUPT when it may not. */
int inbox_reserve(struct inbox *inbox, uint64_t number, uint32_t size, struct error **err);
/* It did not come whole. */
void inbox_release(struct inbox *inbox, uint32_t size);
/* It did. Takes the block over. */
void inbox_put(struct inbox *inbox, uint64_t number, struct block *block);
bool inbox_ready(const struct inbox *inbox);
/* Only when ready. */
struct block *inbox_take(struct inbox *inbox);
void inbox_have(const struct inbox *inbox, struct frame_have *have);

#endif
