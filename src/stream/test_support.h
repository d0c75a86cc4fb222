/* SPDX-License-Identifier: Apache-2.0 */
/* For the parsers' unit tests: a stream under construction. */
#ifndef STREAM_TEST_SUPPORT_H
#define STREAM_TEST_SUPPORT_H

#include "base/test.h"

#include <string.h>

#include "base/bytes.h"

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

#endif
