/* SPDX-License-Identifier: Apache-2.0 */
/* Frame headers from the wire: what passes is within its bounds and encodes to the same bytes. */
#include <stdlib.h>
#include <string.h>

#include "wire/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Reads the input as a receiver reads a connection: header, payload, header, ... The first eight
 * bytes are the offset at which the stream goes on, so that the largest ones are reached too. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t expected = 0;
    if (size < sizeof(expected))
        return 0;
    memcpy(&expected, data, sizeof(expected));
    size_t at = sizeof(expected);
    while (size - at >= FRAME_HEADER_SIZE) {
        struct frame_header header;
        uint8_t again[FRAME_HEADER_SIZE];
        CLEANUP_ERROR struct error *err = NULL;
        if (frame_decode(data + at, expected, &header, &err) < 0) {
            if (!err || err->kind != ERROR_CORRUPT)
                abort();
            return 0;
        }
        frame_encode(&header, again);
        if (memcmp(data + at, again, sizeof(again)) != 0 || header.length > FRAME_PAYLOAD_MAX ||
            header.offset != expected || header.offset + header.length < header.offset)
            abort();
        at += FRAME_HEADER_SIZE;
        expected += header.length;
        if (header.type == FRAME_END || header.length > size - at)
            return 0;
        at += header.length;
    }
    return 0;
}
