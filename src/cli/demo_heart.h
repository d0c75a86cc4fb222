/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The account of what a test guest says on its serial port, in the format of tests/guest/beat.h:
 * heartbeats that must be numbered without a gap, and what the guest found in its own memory.
 */
#ifndef CLI_DEMO_HEART_H
#define CLI_DEMO_HEART_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DEMO_HEART_LINE_MAX 256

/* All zero at first. What comes before the guest's HI (firmware, the middle of a line) and after
 * its BYE does not count. */
struct demo_heart {
    bool alive;        /* HI came */
    bool ready;        /* RDY: all memory has its first contents */
    bool bye;          /* it turns itself off */
    uint64_t beats;    /* heartbeats */
    uint64_t last;     /* number of the newest one; they begin with 1 */
    uint64_t lost;     /* numbers that never came */
    uint64_t repeated; /* heartbeats whose number was not above the one before */
    uint64_t damaged;  /* lines that are not as the guest sent them */
    uint64_t wrong;    /* wrong words that the guest saw in its memory */
    uint64_t rounds;   /* complete checks of its memory */
    uint64_t lines;    /* how often it has said the two above */
    bool complained;   /* BAD or ERR came; what it says is in `complaint` */
    char complaint[DEMO_HEART_LINE_MAX];
    char line[DEMO_HEART_LINE_MAX]; /* begun and not ended; not terminated */
    size_t length;
};

/* Takes the next bytes. */
void demo_heart_feed(struct demo_heart *heart, const void *bytes, size_t size);

#endif
