/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Puts pages of QEMU's stream straight into the guest's RAM, at the destination.
 *
 * QEMU would read each page out of its socket into a buffer and copy it into RAM; instead the agent
 * writes it there, and QEMU's stream has all but these pages. docs/placement.md says why what QEMU
 * makes of such a stream is the same, and when pages are not placed.
 */
#ifndef STREAM_PLACER_H
#define STREAM_PLACER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct memory_map;
struct placer;

/* Where the guest's RAM is. */
struct placer_ram {
    struct memory_map *map;
    int pidfd;    /* the process that has it, and no later one with its number */
    bool emptied; /* QEMU empties its RAM after the stream's first commands: post-copy may follow */
};

void placer_ram_clear(struct placer_ram *ram);

struct placer_sink {
    /* Bytes for QEMU. */
    int (*write)(void *context, const uint8_t *bytes, size_t size, struct error **err);
    /* Waits until QEMU has answered the ping of PLACER_PING, which it has just been given. */
    int (*await_pong)(void *context, struct error **err);
    void *context;
};

/* The value of the ping that comes after the commands that empty RAM ("MDZA"). QEMU's own are small
 * numbers; its source takes any answer for one more. */
#define PLACER_PING UINT32_C(0x4d445a41)

/* For a stream, from its first byte on. Takes *ram over, also on error. */
struct placer *placer_new(struct placer_ram *ram, struct placer_sink sink, struct error **err);
void placer_free(struct placer *placer);

/* The stream's next bytes. Pages among them are in RAM when it returns, everything else was
 * written, but for the beginning of a record whose rest has not come. */
int placer_feed(struct placer *placer, const uint8_t *bytes, size_t size, struct error **err);

/* Bytes of the stream that QEMU has, in whatever way. */
uint64_t placer_position(const struct placer *placer);
/* Pages that went into RAM so far. */
uint64_t placer_pages(const struct placer *placer);

/* The page at `address` of main RAM, as the stream up to here has made it. */
int placer_read(struct placer *placer, uint64_t address, uint8_t *page, struct error **err);

/* From here on QEMU gets the stream as it is; so it does with what came of a record that is not
 * complete. ERROR_CORRUPT: it cannot at this point of the stream. */
int placer_end(struct placer *placer, struct error **err);

#endif
