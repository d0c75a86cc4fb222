/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes one stream of what QEMU writes into its main channel and several multifd channels: what it
 * would have written without them, so that nothing behind needs to know, not even the QEMU that
 * reads it.
 *
 * All calls come from one thread. Untrusted input: a stream that breaks the rules is an error.
 */
#ifndef STREAM_MULTIFD_MERGE_H
#define STREAM_MULTIFD_MERGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

/* What the merge is between. */
struct multifd_merge_ends {
    /* Takes the stream's next bytes; 0, or -1 with an error, which ends the call with it. */
    int (*put)(void *context, const uint8_t *bytes, size_t size, struct error **err);
    /* Reads at most `size` bytes of a channel, and waits for the first of them. 0 at its end, -1
     * with an error. */
    ssize_t (*read)(void *context, unsigned channel, uint8_t *buffer, size_t size,
                    struct error **err);
    void *context;
};

struct multifd_merge;

/* `channels` beside the main one, 1 to MULTIFD_CHANNELS_MAX. NULL with an error. */
#define MULTIFD_CHANNELS_MAX 16
struct multifd_merge *multifd_merge_new(unsigned channels, struct multifd_merge_ends ends,
                                        struct error **err);
/* NULL is fine. */
void multifd_merge_free(struct multifd_merge *merge);

/* The next bytes of the main channel, cut anywhere. Where QEMU waits for all channels, theirs up to
 * there are read and put out first. */
int multifd_merge_main(struct multifd_merge *merge, const uint8_t *bytes, size_t size,
                       struct error **err);
/* The main channel has ended. */
int multifd_merge_finish(struct multifd_merge *merge, struct error **err);

/* Reads once from a channel, which must not wait (below). 1; 0: it has ended; -1. */
int multifd_merge_channel(struct multifd_merge *merge, unsigned channel, struct error **err);
/* What comes next in the channel belongs behind something that the main one has not said yet. */
bool multifd_merge_waits(const struct multifd_merge *merge, unsigned channel);

#endif
