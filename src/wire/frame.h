/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames of data connections: what the two ends of a link say to each other. docs/protocol.md has
 * the tables; every bound is checked here, before anything is allocated.
 *
 * Big-endian. A header: u8 type, u8 kind, u16 zero, u32 length of the payload, u64 number.
 */
#ifndef WIRE_FRAME_H
#define WIRE_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define FRAME_HEADER_SIZE 16
/* The most payload of FRAME_DATA. */
#define FRAME_DATA_MAX ((uint32_t)2 << 20)
/* Blocks that may be on their way at once: a receiver remembers no more. */
#define FRAME_WINDOW 8192
/* Connections of one link. */
#define FRAME_SLOTS_MAX 16

#define FRAME_ID_SIZE     16
#define FRAME_HAVE_MAX    (16 + FRAME_WINDOW / 8)
#define FRAME_RESUME_SIZE 56
#define FRAME_RESUME_MAX  (FRAME_RESUME_SIZE + FRAME_HAVE_MAX)
#define FRAME_REFUSED_MAX 512

enum frame_type {
    FRAME_DATA = 1,    /* block `number`, of that kind */
    FRAME_ACK = 2,     /* the receiver's user has taken every block below `number` */
    FRAME_PING = 3,    /* a heartbeat; `number` comes back in a FRAME_PONG */
    FRAME_PONG = 4,    /* */
    FRAME_RESUME = 5,  /* first frame of each connection, both ways: struct frame_resume */
    FRAME_LOST = 6,    /* connection `number` broke here: close it, then tell what you have */
    FRAME_HAVE = 7,    /* the answer: struct frame_have, with connection `number` closed */
    FRAME_BYE = 8,     /* this end is done with the link: no connection comes back */
    FRAME_REFUSED = 9, /* instead of an answer to FRAME_RESUME: why, in UTF-8 */
};

struct frame_header {
    enum frame_type type;
    uint8_t kind;    /* FRAME_DATA: the block's; else 0 */
    uint32_t length; /* of the payload, bytes */
    uint64_t number;
};

/* What one end has of the other's blocks. */
struct frame_have {
    uint64_t taken;                   /* every block below was taken by the user */
    uint64_t next;                    /* every block below is here; this one is not */
    uint32_t bits;                    /* in `bitmap`, a multiple of 8, at most FRAME_WINDOW */
    uint8_t bitmap[FRAME_WINDOW / 8]; /* bit i % 8 of byte i / 8: block next + i is here */
};

struct frame_resume {
    uint8_t session[FRAME_ID_SIZE]; /* the source's, made for this link; never reused */
    uint8_t job[FRAME_ID_SIZE];     /* the same as in the hello */
    uint32_t slot;                  /* which of the link's connections this is */
    uint32_t generation;            /* rises with each connection of the slot, from 1 */
    uint64_t window;                /* bytes of blocks that this end holds at most */
    struct frame_have have;
};

/* The number of FRAME_LOST and FRAME_HAVE. */
static inline uint64_t frame_connection(uint32_t slot, uint32_t generation)
{
    return (uint64_t)slot << 32 | generation;
}

void frame_encode(const struct frame_header *header, uint8_t bytes[FRAME_HEADER_SIZE]);
/* ERROR_CORRUPT names the field that is out of bounds. */
int frame_decode(const uint8_t bytes[FRAME_HEADER_SIZE], struct frame_header *header,
                 struct error **err);

/* Payloads. The encoders return the bytes used. ERROR_CORRUPT names what is out of bounds. */
uint32_t frame_encode_have(const struct frame_have *have, uint8_t bytes[FRAME_HAVE_MAX]);
int frame_decode_have(const uint8_t *bytes, uint32_t size, struct frame_have *have,
                      struct error **err);
uint32_t frame_encode_resume(const struct frame_resume *resume, uint8_t bytes[FRAME_RESUME_MAX]);
int frame_decode_resume(const uint8_t *bytes, uint32_t size, struct frame_resume *resume,
                        struct error **err);

/* Is block `number` among what the other end has? */
static inline int frame_has(const struct frame_have *have, uint64_t number)
{
    if (number < have->next)
        return 1;
    uint64_t bit = number - have->next;
    return bit < have->bits && have->bitmap[bit / 8] >> bit % 8 & 1;
}

#endif
