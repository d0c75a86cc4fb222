/* SPDX-License-Identifier: Apache-2.0 */
/* Encoding and decoding of frame headers; docs/protocol.md has the table. */
#include "wire/frame.h"

#include <endian.h>
#include <inttypes.h>
#include <string.h>

void frame_encode(const struct frame_header *header, uint8_t bytes[FRAME_HEADER_SIZE])
{
    uint32_t length = htobe32(header->length);
    uint64_t offset = htobe64(header->offset);
    memset(bytes, 0, FRAME_HEADER_SIZE);
    bytes[0] = (uint8_t)header->type;
    memcpy(bytes + 4, &length, sizeof(length));
    memcpy(bytes + 8, &offset, sizeof(offset));
}

int frame_decode(const uint8_t bytes[FRAME_HEADER_SIZE], uint64_t expected,
                 struct frame_header *header, struct error **err)
{
    uint32_t length;
    uint64_t offset;
    memcpy(&length, bytes + 4, sizeof(length));
    memcpy(&offset, bytes + 8, sizeof(offset));
    length = be32toh(length);
    offset = be64toh(offset);
    if (bytes[0] != FRAME_BYTES && bytes[0] != FRAME_END)
        return error_set(err, ERROR_CORRUPT, "frame of unknown type %u", bytes[0]);
    if (bytes[1])
        return error_set(err, ERROR_CORRUPT, "frame with unknown flags 0x%02x", bytes[1]);
    if (bytes[2] || bytes[3])
        return error_set(err, ERROR_CORRUPT, "frame with reserved bytes 0x%02x%02x", bytes[2],
                         bytes[3]);
    if (length > FRAME_PAYLOAD_MAX)
        return error_set(err, ERROR_CORRUPT, "frame of %" PRIu32 " bytes is larger than %d", length,
                         FRAME_PAYLOAD_MAX);
    if (bytes[0] == FRAME_END && length > 0)
        return error_set(err, ERROR_CORRUPT, "end frame with a payload of %" PRIu32 " bytes",
                         length);
    if (bytes[0] == FRAME_BYTES && length == 0)
        return error_set(err, ERROR_CORRUPT, "frame of bytes without any");
    if (offset > UINT64_MAX - length)
        return error_set(err, ERROR_CORRUPT,
                         "frame at offset %" PRIu64 " runs past the largest offset", offset);
    if (offset != expected)
        return error_set(err, ERROR_CORRUPT, "frame at offset %" PRIu64 " instead of %" PRIu64,
                         offset, expected);
    header->type = (enum frame_type)bytes[0];
    header->length = length;
    header->offset = offset;
    return 0;
}
