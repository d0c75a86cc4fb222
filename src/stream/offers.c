/* SPDX-License-Identifier: Apache-2.0 */
/* The decoder's side of offers: pages found here are held until the window that needs them. */
#include "stream/offers.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static size_t offer_memory(const struct offer *offer)
{
    return sizeof(*offer) + (size_t)offer->hits * RAM_PAGE_SIZE;
}

void offer_free(struct offer *offer)
{
    if (!offer)
        return;
    free(offer->pages);
    free(offer);
}

/* Takes what is needed for the hits, and gives back what is not. */
static int find_pages(struct offer *offer, const uint8_t *hashes,
                      const struct decoder_options *options, struct error **err)
{
    offer->pages = malloc((size_t)offer->count * RAM_PAGE_SIZE);
    if (!offer->pages)
        return error_set(err, ERROR_SYSTEM, "out of memory");
    uint8_t *to[STREAM_WINDOW_PAGES_MAX];
    bool found[STREAM_WINDOW_PAGES_MAX] = {false};
    for (uint32_t i = 0; i < offer->count; i++)
        to[i] = offer->pages + (size_t)i * RAM_PAGE_SIZE;
    if (options->lookup)
        options->lookup(options->context, hashes, offer->count, to, found);
    for (uint32_t i = 0; i < offer->count; i++) {
        if (!found[i])
            continue;
        if (i != offer->hits)
            memcpy(to[offer->hits], to[i], RAM_PAGE_SIZE);
        offer->found[i / 8] |= (uint8_t)(1u << i % 8);
        offer->hits++;
    }
    uint8_t *smaller = realloc(offer->pages, (size_t)offer->hits * RAM_PAGE_SIZE + 1);
    if (smaller)
        offer->pages = smaller;
    return 0;
}

static int offers_gate(const struct offers *offers, const struct block *block, uint64_t next,
                       struct error **err)
{
    if (block->size < 8 + PAGE_HASH_SIZE || (block->size - 8) % PAGE_HASH_SIZE ||
        (block->size - 8) / PAGE_HASH_SIZE > STREAM_WINDOW_PAGES_MAX)
        return error_set(err, ERROR_CORRUPT, "offer of %u bytes", block->size);
    uint64_t window = bytes_get64(block->data);
    uint64_t least = offers->count ? offers->list[offers->count - 1]->window + 1 : next;
    if (window < least || window - next >= STREAM_OFFERS_MAX)
        return error_set(err, ERROR_CORRUPT,
                         "offer for window %" PRIu64 ", at least %" PRIu64 " is due", window,
                         least);
    return 0;
}

struct block *offers_take(struct offers *offers, const struct block *block, uint64_t next,
                          const struct decoder_options *options, struct error **err)
{
    if (offers_gate(offers, block, next, err) < 0)
        return NULL;
    CLEANUP_OFFER struct offer *offer = calloc(1, sizeof(*offer));
    if (!offer) {
        error_set(err, ERROR_SYSTEM, "out of memory");
        return NULL;
    }
    offer->window = bytes_get64(block->data);
    offer->count = (block->size - 8) / PAGE_HASH_SIZE;
    if (find_pages(offer, block->data + 8, options, err) < 0)
        return NULL;
    uint32_t bits = (offer->count + 7) / 8;
    struct block *answer = block_new(STREAM_ANSWER, 8 + bits);
    if (!answer) {
        error_set(err, ERROR_SYSTEM, "out of memory");
        return NULL;
    }
    bytes_put64(answer->data, offer->window);
    memcpy(answer->data + 8, offer->found, bits);
    offers->memory += offer_memory(offer);
    offers->list[offers->count++] = STEAL(offer);
    return answer;
}

struct offer *offers_remove(struct offers *offers, uint64_t window)
{
    if (!offers->count || offers->list[0]->window != window)
        return NULL;
    struct offer *first = offers->list[0];
    offers->count--;
    memmove(offers->list, offers->list + 1, offers->count * sizeof(struct offer *));
    offers->memory -= offer_memory(first);
    return first;
}

void offers_clear(struct offers *offers)
{
    while (offers->count)
        offer_free(offers->list[--offers->count]);
    offers->memory = 0;
}
