/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chooses the codec while a move runs, from what is scarce.
 *
 * A codec's throughput is what its threads can take, or what the link can take times what the codec
 * saves, whichever is less; and no more than what came of it when the link took all that came, as
 * the processor has other work, too. Of codecs that are about equal, the one that sends fewer bytes
 * is chosen. Both are measured as the move goes on: the speed and ratio of a codec
 * whenever it is used, the link's rate while it is the link that everything waits for. A link that
 * is used and keeps up is believed to be faster than it was measured, little by little, so that the
 * choice follows a link that gets faster, too. At first a link is taken for one of 10 Gbit/s, and
 * nothing is compressed until it was waited for.
 */
#ifndef STREAM_CHOOSER_H
#define STREAM_CHOOSER_H

#include <stdbool.h>
#include <stdint.h>

#include "stream/stream_block.h"

enum chooser_wish { CHOOSER_AUTO, CHOOSER_NONE, CHOOSER_LZ4, CHOOSER_ZSTD };

struct chooser {
    enum chooser_wish wish;
    unsigned threads;
    struct {
        double speed;   /* bytes in per second and thread */
        double ratio;   /* bytes in per byte out */
        double reached; /* bytes in per second while the link kept up */
    } codecs[STREAM_CODECS];
    double rate;           /* of the link, bytes per second */
    unsigned pages, known; /* lately sent, of them known to the destination */
    bool scarce;           /* it was waited for at least once */
    unsigned windows;
    enum stream_codec codec; /* the choice */
};

void chooser_init(struct chooser *chooser, enum chooser_wish wish, unsigned threads);

/* Windows of this codec: bytes before and after, and the threads' time. */
void chooser_measured(struct chooser *chooser, enum stream_codec codec, uint64_t in, uint64_t out,
                      int64_t spent_ns);

/* The destination has a dictionary. */
void chooser_dictionary(struct chooser *chooser);
/* Of so many more pages the destination knew `known`. */
void chooser_known(struct chooser *chooser, unsigned pages, unsigned known);

/*
 * What the link did lately: bytes per second that left, whether more was waiting all the time, and
 * how busy the other end was, in thousandths: if it is what all waits for, the link is not.
 */
void chooser_link(struct chooser *chooser, double rate, bool waited, unsigned peer_busy);

/* For a window that was waiting since it was filled. */
enum stream_codec chooser_again(struct chooser *chooser);

/* For the next window. `*reduce`: the link is scarce, so that work to send less pays. */
enum stream_codec chooser_next(struct chooser *chooser, bool *reduce);

#endif
