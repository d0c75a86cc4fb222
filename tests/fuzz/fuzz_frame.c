/* SPDX-License-Identifier: Apache-2.0 */
/* Frames from the wire: what passes is within its bounds and encodes to the same bytes. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "wire/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
    if (!condition)
        abort();
}

static void must_be_corrupt(const struct error *err)
{
    must(err && err->kind == ERROR_CORRUPT);
}

static void check_have(const struct frame_have *have)
{
    must(have->taken <= have->next && have->bits <= FRAME_WINDOW && have->bits % 8 == 0);
    must(!frame_has(have, have->next) && !frame_has(have, have->next + have->bits));
}

static void try_have(const uint8_t *payload, uint32_t length)
{
    struct frame_have have;
    uint8_t again[FRAME_HAVE_MAX];
    CLEANUP_ERROR struct error *err = NULL;
    if (frame_decode_have(payload, length, &have, &err) < 0) {
        must_be_corrupt(err);
        return;
    }
    check_have(&have);
    must(frame_encode_have(&have, again) == length && memcmp(again, payload, length) == 0);
}

static void try_resume(const uint8_t *payload, uint32_t length)
{
    struct frame_resume resume;
    uint8_t again[FRAME_RESUME_MAX];
    CLEANUP_ERROR struct error *err = NULL;
    if (frame_decode_resume(payload, length, &resume, &err) < 0) {
        must_be_corrupt(err);
        return;
    }
    check_have(&resume.have);
    must(resume.slot < FRAME_SLOTS_MAX && resume.generation);
    must(frame_encode_resume(&resume, again) == length && memcmp(again, payload, length) == 0);
}

/* Reads the input as a receiver reads a connection: header, payload, header, ... */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    for (size_t at = 0; size - at >= FRAME_HEADER_SIZE;) {
        struct frame_header header;
        uint8_t again[FRAME_HEADER_SIZE];
        CLEANUP_ERROR struct error *err = NULL;
        if (frame_decode(data + at, &header, &err) < 0) {
            must_be_corrupt(err);
            return 0;
        }
        frame_encode(&header, again);
        must(memcmp(data + at, again, sizeof(again)) == 0 && header.length <= FRAME_DATA_MAX);
        at += FRAME_HEADER_SIZE;
        if (header.length > size - at)
            return 0;
        if (header.type == FRAME_HAVE)
            try_have(data + at, header.length);
        if (header.type == FRAME_RESUME)
            try_resume(data + at, header.length);
        at += header.length;
    }
    return 0;
}
