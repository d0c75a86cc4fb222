/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much of its memory a guest changes, estimated from a sample of its pages that is looked at
 * again and again. QEMU knows only after the first round, which is most of a move.
 *
 * One look tells little: a guest may stand still just then, as on a busy host. Looks come ever more
 * rarely, at twice the time of the one before, and each tells of all the time since the beginning.
 */
#ifndef MIGRATE_WRITE_RATE_H
#define MIGRATE_WRITE_RATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "stream/ram_source.h"

/* Pages of a sample: one in 200 of the guest's being written shows as some five of these. */
#define WRITE_RATE_PAGES 1024

/* The first look is so long after the beginning, and what is told is for such a time. */
#define WRITE_RATE_MS 100

struct write_rate {
    int64_t begin_ns, next_ns; /* next_ns: when another look is due */
    uint32_t pages[WRITE_RATE_PAGES];
    uint64_t hashes[WRITE_RATE_PAGES];
};

/* Takes the sample, of pages spread evenly over `ram`. A millisecond or two, as a look. */
int write_rate_begin(struct write_rate *rate, const struct ram_source *ram, int64_t now_ns,
                     struct error **err);
/* A look: how many in a thousand pages changed in WRITE_RATE_MS, on average since the beginning. */
int write_rate_look(struct write_rate *rate, const struct ram_source *ram, int64_t now_ns,
                    unsigned *permille, struct error **err);

#endif
