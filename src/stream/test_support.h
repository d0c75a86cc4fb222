/* SPDX-License-Identifier: Apache-2.0 */
/* For the parsers' unit tests: a stream under construction. */
#ifndef STREAM_TEST_SUPPORT_H
#define STREAM_TEST_SUPPORT_H

#include "base/test.h"

#include <string.h>

#include "base/bytes.h"
#include "stream/ram_record.h"

struct made {
    uint8_t bytes[1 << 16];
    size_t size;
};

static inline void put(struct made *made, const void *bytes, size_t size)
{
    assert_true(size <= sizeof(made->bytes) - made->size);
    memcpy(made->bytes + made->size, bytes, size);
    made->size += size;
}

static inline void put8(struct made *made, uint8_t value)
{
    put(made, &value, 1);
}

static inline void put16(struct made *made, uint16_t value)
{
    uint8_t bytes[2];
    bytes_put16(bytes, value);
    put(made, bytes, sizeof(bytes));
}

static inline void put32(struct made *made, uint32_t value)
{
    uint8_t bytes[4];
    bytes_put32(bytes, value);
    put(made, bytes, sizeof(bytes));
}

static inline void put64(struct made *made, uint64_t value)
{
    uint8_t bytes[8];
    bytes_put64(bytes, value);
    put(made, bytes, sizeof(bytes));
}

static inline void put_fill(struct made *made, uint8_t value, size_t count)
{
    for (size_t i = 0; i < count; i++)
        put8(made, value);
}

/* Pages that a packet's list has room for. */
#define MULTIFD_ROOM 128

/* What a multifd channel says first. */
static inline void put_multifd_greeting(struct made *made, uint8_t channel)
{
    put32(made, 0x11223344);
    put32(made, 1);
    put_fill(made, 0xab, 16);
    put8(made, channel);
    put_fill(made, 0, 39);
}

struct multifd_packet {
    uint32_t flags, room, pages, zeros, follow;
    uint64_t number;
    const char *block;
    uint64_t first; /* address of the first page, the others follow it */
};

/* Without the pages that follow it. */
static inline void put_multifd_packet(struct made *made, const struct multifd_packet *packet)
{
    put32(made, 0x11223344);
    put32(made, 1);
    put32(made, packet->flags);
    put32(made, packet->room);
    put32(made, packet->pages);
    put32(made, packet->follow);
    put64(made, packet->number);
    put32(made, packet->zeros);
    put_fill(made, 0, 28);
    put(made, packet->block, strlen(packet->block));
    put_fill(made, 0, 256 - strlen(packet->block));
    for (uint64_t i = 0; i < MULTIFD_ROOM; i++)
        put64(made, i < packet->pages + packet->zeros ? packet->first + i * RAM_PAGE_SIZE : 0);
}

#endif
