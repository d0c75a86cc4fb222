/* SPDX-License-Identifier: Apache-2.0 */
/* The decoder's side of offers: pages found here are held until the window that needs them. */
#ifndef STREAM_OFFERS_H
#define STREAM_OFFERS_H

#include "stream/decoder.h"
#include "stream/stream_block.h"

/* What was found of one offer. */
struct offer {
    uint64_t window;
    uint32_t count, hits;
    uint8_t found[STREAM_WINDOW_PAGES_MAX / 8];
    uint8_t *pages; /* of the hits, in order */
};

struct offers {
    struct offer *list[STREAM_OFFERS_MAX]; /* by window */
    unsigned count;
    size_t memory; /* bytes */
};

/* Looks the hashes of an offer up, and makes the answer. `next` is the window that is due next.
 * NULL with ERROR_CORRUPT when the block is no offer that may come now. */
struct block *offers_take(struct offers *offers, const struct block *block, uint64_t next,
                          const struct decoder_options *options, struct error **err);

/* The offer for this window, if there was one; from offer_free's caller on its own. */
struct offer *offers_remove(struct offers *offers, uint64_t window);
void offer_free(struct offer *offer);
void offers_clear(struct offers *offers);

static inline bool offer_has(const struct offer *offer, uint32_t index)
{
    return offer->found[index / 8] & 1u << index % 8;
}

static inline void cleanup_offer_function(struct offer **offer)
{
    offer_free(*offer);
}
#define CLEANUP_OFFER CLEANUP(cleanup_offer_function)

#endif
