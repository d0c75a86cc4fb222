/* SPDX-License-Identifier: Apache-2.0 */
/* The same hash with 32-byte registers: the library's code, built for processors with AVX2. */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "stream/fast_hash.h"

uint64_t fast_hash_wide(const uint8_t page[RAM_PAGE_SIZE], uint64_t seed)
{
    return XXH3_64bits_withSeed(page, RAM_PAGE_SIZE, seed);
}
