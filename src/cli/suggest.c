/* SPDX-License-Identifier: Apache-2.0 */
/* The nearest known word, by edits: insert, delete, replace, or swap two neighbours. */
#include "cli/suggest.h"

#include <stdint.h>
#include <string.h>

/* Longer words are compared by their first letters only. */
#define WORD_MAX 40

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Optimal string alignment distance (Damerau-Levenshtein without edits inside a swap). */
static size_t distance(const char *a, size_t a_length, const char *b, size_t b_length)
{
    size_t cost[WORD_MAX + 1][WORD_MAX + 1];
    a_length = least(a_length, WORD_MAX);
    b_length = least(b_length, WORD_MAX);
    for (size_t i = 0; i <= a_length; i++)
        for (size_t j = 0; j <= b_length; j++) {
            if (i == 0 || j == 0) {
                cost[i][j] = i + j;
                continue;
            }
            size_t replace = cost[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            cost[i][j] = least(replace, least(cost[i - 1][j], cost[i][j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                cost[i][j] = least(cost[i][j], cost[i - 2][j - 2] + 1);
        }
    return cost[a_length][b_length];
}

void suggest_start(struct suggest *suggest, const char *word, size_t length)
{
    *suggest = (struct suggest){.word = word, .length = length, .distance = SIZE_MAX};
}

void suggest_offer(struct suggest *suggest, const char *candidate, size_t length)
{
    size_t edits = distance(suggest->word, suggest->length, candidate, length);
    /* A word that only goes on (`mig` for `migrate`) is as good as one edit. */
    if (suggest->length >= 2 && suggest->length < length &&
        memcmp(suggest->word, candidate, suggest->length) == 0)
        edits = least(edits, 1);
    if (edits <= 1 + length / 4 && edits < suggest->distance) {
        suggest->best = candidate;
        suggest->best_length = length;
        suggest->distance = edits;
    }
}
