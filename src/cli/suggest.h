/* SPDX-License-Identifier: Apache-2.0 */
/* The nearest known word to one that was written wrongly. */
#ifndef CLI_SUGGEST_H
#define CLI_SUGGEST_H

#include <stddef.h>

/* A search: start it with the word, offer every known one, then look at `best`. */
struct suggest {
    const char *word; /* borrowed */
    size_t length;
    const char *best; /* as offered; NULL: none is near enough to be worth a hint */
    size_t best_length;
    size_t distance;
};

void suggest_start(struct suggest *suggest, const char *word, size_t length);
/* The first `length` bytes of a known word; borrowed while the search lasts. */
void suggest_offer(struct suggest *suggest, const char *candidate, size_t length);

#endif
