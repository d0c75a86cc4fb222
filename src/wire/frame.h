/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames of a data connection: what is inside a stream of one job, on one TLS session.
 *
 * Big-endian: u8 type, u8 flags (0), u16 reserved (0), u32 length of the payload, u64 offset of the
 * payload's first byte in the stream it belongs to. Checked before anything is allocated.
 */
#ifndef WIRE_FRAME_H
#define WIRE_FRAME_H

#include <stdint.h>

#include "base/error.h"

#define FRAME_HEADER_SIZE 16
#define FRAME_PAYLOAD_MAX (1024 * 1024)

enum frame_type {
    FRAME_BYTES = 1, /* bytes of QEMU's stream */
    FRAME_END = 2,   /* the stream is complete at `offset`; no payload; sent only after COMMIT */
};

struct frame_header {
    enum frame_type type;
    uint32_t length; /* of the payload, bytes */
    uint64_t offset; /* bytes */
};

void frame_encode(const struct frame_header *header, uint8_t bytes[FRAME_HEADER_SIZE]);

/* ERROR_CORRUPT names the field when one is out of bounds: unknown type, non-zero flags or reserved
 * bytes, too long, offset + length overflowing, an END with payload, BYTES without. `expected` is
 * the offset that must come next. */
int frame_decode(const uint8_t bytes[FRAME_HEADER_SIZE], uint64_t expected,
                 struct frame_header *header, struct error **err);

#endif
