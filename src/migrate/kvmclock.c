/* SPDX-License-Identifier: Apache-2.0 */
/* Kvmclock marks in guest RAM. */
#include "migrate/kvmclock.h"

#include <string.h>

/* Offsets in the structure, bytes. */
enum {
    VERSION = 0,
    PAD0 = 4,
    MULTIPLIER = 24,
    SHIFT = 28,
    FLAGS = 29,
    PAD = 30,
};

#define FLAG_STABLE  1
#define FLAG_STOPPED 2

/* The guest is x86: little-endian, whatever this host is. */
static uint32_t read32(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
           (uint32_t)bytes[3] << 24;
}

static bool clock_sane(const uint8_t *clock)
{
    int shift = clock[SHIFT] < 128 ? clock[SHIFT] : clock[SHIFT] - 256;
    return read32(clock + PAD0) == 0 && clock[PAD] == 0 && clock[PAD + 1] == 0 &&
           (clock[MULTIPLIER + 3] & 0x80) && shift > -32 && shift < 32;
}

static bool clock_marked(const uint8_t *source, const uint8_t *destination)
{
    uint32_t version = read32(source + VERSION);
    return clock_sane(source) && version % 2 == 0 && read32(destination + VERSION) == version + 2 &&
           (source[FLAGS] & ~(FLAG_STABLE | FLAG_STOPPED)) == 0 &&
           destination[FLAGS] == (source[FLAGS] & ~FLAG_STABLE) &&
           memcmp(source + PAD0, destination + PAD0, FLAGS - PAD0) == 0 &&
           memcmp(source + PAD, destination + PAD, KVMCLOCK_SIZE - PAD) == 0;
}

bool kvmclock_explains(const uint8_t *source, const uint8_t *destination, size_t size,
                       unsigned *clocks)
{
    for (size_t at = 0; at < size; at++) {
        if (source[at] == destination[at])
            continue;
        /* The version's lowest byte always differs, so the clock starts here. */
        if (at % 4 != 0 || at + KVMCLOCK_SIZE > size ||
            !clock_marked(source + at, destination + at))
            return false;
        ++*clocks;
        at += KVMCLOCK_SIZE - 1;
    }
    return true;
}
