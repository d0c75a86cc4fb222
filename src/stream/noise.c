/* SPDX-License-Identifier: Apache-2.0 */
/* Noise: pages that are compressed or encrypted already, told from a few of their bytes. */
#include "stream/noise.h"

#include <string.h>

/* Of each page so many runs of eight bytes are looked at, one in each 512: all bytes of a word, as
 * the last byte of a pointer differs where the others do not. */
#define RUNS  8
#define RUN   8
#define APART (RAM_PAGE_SIZE / RUNS)
/* Of 64 bytes that are noise 56.7 are different, and fewer than 48 in one page of 3,000. Of 1,000
 * pages of a Debian guest's programs and data 970 have fewer, most of them fewer than 40. */
#define DIFFERENT 48

static bool is_noise(const uint8_t page[RAM_PAGE_SIZE])
{
    uint8_t seen[256] = {0};
    uint8_t different = 0; /* 64 at most; a byte, so that many are added at once */
    for (size_t run = 0; run < RUNS; run++) {
        /* Not at the same place in each line, where structures have the same member. */
        const uint8_t *at = page + run * (APART + RUN);
        for (size_t i = 0; i < RUN; i++)
            seen[at[i]] = 1;
    }
    for (size_t i = 0; i < sizeof(seen); i++)
        different = (uint8_t)(different + seen[i]);
    return different >= DIFFERENT;
}
_Static_assert((RUNS - 1) * (APART + RUN) + RUN <= RAM_PAGE_SIZE, "the runs lie in the page");

bool noise_fills(const uint8_t *pages, size_t count)
{
    size_t others = 0;
    for (size_t i = 0; i < count; i++) {
        others += !is_noise(pages + i * RAM_PAGE_SIZE);
        if (others > count / 64)
            return false;
    }
    return count > 0;
}
