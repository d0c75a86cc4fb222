/* SPDX-License-Identifier: Apache-2.0 */
/* Encoding and decoding of frames; docs/protocol.md has the tables. */
#include "wire/frame.h"

#include <inttypes.h>
#include <string.h>

#include "base/bytes.h"

/* How long each type's payload may be. */
static const struct {
    const char *name;
    uint32_t min, max;
} types[] = {
    [FRAME_DATA] = {"data", 0, FRAME_DATA_MAX},
    [FRAME_ACK] = {"ack", 0, 0},
    [FRAME_PING] = {"ping", 0, 0},
    [FRAME_PONG] = {"pong", 0, 0},
    [FRAME_RESUME] = {"resume", FRAME_RESUME_SIZE + 16, FRAME_RESUME_MAX},
    [FRAME_LOST] = {"lost", 0, 0},
    [FRAME_HAVE] = {"have", 16, FRAME_HAVE_MAX},
    [FRAME_BYE] = {"bye", 0, 0},
    [FRAME_REFUSED] = {"refused", 1, FRAME_REFUSED_MAX},
};

void frame_encode(const struct frame_header *header, uint8_t bytes[FRAME_HEADER_SIZE])
{
    bytes[0] = (uint8_t)header->type;
    bytes[1] = header->kind;
    bytes[2] = bytes[3] = 0;
    bytes_put32(bytes + 4, header->length);
    bytes_put64(bytes + 8, header->number);
}

int frame_decode(const uint8_t bytes[FRAME_HEADER_SIZE], struct frame_header *header,
                 struct error **err)
{
    uint8_t type = bytes[0];
    uint32_t length = bytes_get32(bytes + 4);
    uint64_t number = bytes_get64(bytes + 8);
    if (type < FRAME_DATA || type > FRAME_REFUSED)
        return error_set(err, ERROR_CORRUPT, "frame of unknown type %u", type);
    if (bytes[1] && type != FRAME_DATA)
        return error_set(err, ERROR_CORRUPT, "%s frame with kind 0x%02x", types[type].name,
                         bytes[1]);
    if (bytes[2] || bytes[3])
        return error_set(err, ERROR_CORRUPT, "frame with reserved bytes 0x%02x%02x", bytes[2],
                         bytes[3]);
    if (length < types[type].min || length > types[type].max)
        return error_set(err, ERROR_CORRUPT,
                         "%s frame with %" PRIu32 " bytes: it has %" PRIu32 " to %" PRIu32,
                         types[type].name, length, types[type].min, types[type].max);
    if ((type == FRAME_LOST || type == FRAME_HAVE) && number >> 32 >= FRAME_SLOTS_MAX)
        return error_set(err, ERROR_CORRUPT, "%s frame for connection %" PRIu64 " of %d",
                         types[type].name, number >> 32, FRAME_SLOTS_MAX);
    header->type = (enum frame_type)type;
    header->kind = bytes[1];
    header->length = length;
    header->number = number;
    return 0;
}

uint32_t frame_encode_have(const struct frame_have *have, uint8_t bytes[FRAME_HAVE_MAX])
{
    bytes_put64(bytes, have->taken);
    bytes_put64(bytes + 8, have->next);
    memcpy(bytes + 16, have->bitmap, have->bits / 8);
    return 16 + have->bits / 8;
}

int frame_decode_have(const uint8_t *bytes, uint32_t size, struct frame_have *have,
                      struct error **err)
{
    if (size < 16 || size > FRAME_HAVE_MAX)
        return error_set(err, ERROR_CORRUPT, "list of blocks of %" PRIu32 " bytes", size);
    memset(have, 0, sizeof(*have));
    have->taken = bytes_get64(bytes);
    have->next = bytes_get64(bytes + 8);
    have->bits = (size - 16) * 8;
    memcpy(have->bitmap, bytes + 16, size - 16);
    if (have->taken > have->next || have->next - have->taken > FRAME_WINDOW ||
        have->next > UINT64_MAX - FRAME_WINDOW)
        return error_set(err, ERROR_CORRUPT,
                         "list of blocks from %" PRIu64 ", of which all below %" PRIu64
                         " were taken",
                         have->next, have->taken);
    if (have->bits && have->bitmap[0] & 1)
        return error_set(err, ERROR_CORRUPT, "list of blocks that has the missing one");
    return 0;
}

uint32_t frame_encode_resume(const struct frame_resume *resume, uint8_t bytes[FRAME_RESUME_MAX])
{
    memset(bytes, 0, FRAME_RESUME_SIZE);
    memcpy(bytes, resume->session, FRAME_ID_SIZE);
    memcpy(bytes + 16, resume->job, FRAME_ID_SIZE);
    bytes_put32(bytes + 32, resume->slot);
    bytes_put32(bytes + 36, resume->generation);
    bytes_put64(bytes + 40, resume->window);
    return FRAME_RESUME_SIZE + frame_encode_have(&resume->have, bytes + FRAME_RESUME_SIZE);
}

int frame_decode_resume(const uint8_t *bytes, uint32_t size, struct frame_resume *resume,
                        struct error **err)
{
    if (size < FRAME_RESUME_SIZE)
        return error_set(err, ERROR_CORRUPT, "resume of %" PRIu32 " bytes", size);
    memcpy(resume->session, bytes, FRAME_ID_SIZE);
    memcpy(resume->job, bytes + 16, FRAME_ID_SIZE);
    resume->slot = bytes_get32(bytes + 32);
    resume->generation = bytes_get32(bytes + 36);
    resume->window = bytes_get64(bytes + 40);
    if (bytes_get64(bytes + 48))
        return error_set(err, ERROR_CORRUPT, "resume with reserved bytes that are not zero");
    if (resume->slot >= FRAME_SLOTS_MAX || !resume->generation)
        return error_set(err, ERROR_CORRUPT,
                         "resume of connection %" PRIu32 ", generation %" PRIu32, resume->slot,
                         resume->generation);
    return frame_decode_have(bytes + FRAME_RESUME_SIZE, size - FRAME_RESUME_SIZE, &resume->have,
                             err);
}
