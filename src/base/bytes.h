/* SPDX-License-Identifier: Apache-2.0 */
/* Big-endian numbers at any address, as QEMU's stream and our own blocks carry them; zeros. */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t bytes_get16(const uint8_t *at)
{
    uint16_t value;
    memcpy(&value, at, sizeof(value));
    return be16toh(value);
}

static inline uint32_t bytes_get32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof(value));
    return be32toh(value);
}

static inline uint64_t bytes_get64(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof(value));
    return be64toh(value);
}

static inline void bytes_put16(uint8_t *at, uint16_t value)
{
    value = htobe16(value);
    memcpy(at, &value, sizeof(value));
}

static inline void bytes_put32(uint8_t *at, uint32_t value)
{
    value = htobe32(value);
    memcpy(at, &value, sizeof(value));
}

static inline void bytes_put64(uint8_t *at, uint64_t value)
{
    value = htobe64(value);
    memcpy(at, &value, sizeof(value));
}

/* Are all `size` bytes zero, a multiple of 256? Early out: most pages that are not zero differ near
 * their start. */
static inline bool bytes_are_zero(const uint8_t *bytes, size_t size)
{
    for (size_t at = 0; at < size; at += 256) {
        uint64_t bits = 0;
        for (size_t i = 0; i < 256; i += sizeof(uint64_t)) {
            uint64_t word;
            memcpy(&word, bytes + at + i, sizeof(word));
            bits |= word;
        }
        if (bits)
            return false;
    }
    return true;
}

#endif
