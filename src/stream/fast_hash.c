/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fast hash of a page: XXH3, the same on every processor.
 *
 * The library as distributions build it does with what every processor of its kind has. Its own
 * choice at run time, XXH3_64bits_dispatch(), takes AVX-512 where it can and leaves the registers
 * in a state in which other code, compression above all, runs at a third of its speed.
 */
#include "stream/fast_hash.h"

#include <xxhash.h>

uint64_t fast_hash_seeded(const uint8_t page[RAM_PAGE_SIZE], uint64_t seed)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2"))
        return fast_hash_wide(page, seed);
#endif
    return XXH3_64bits_withSeed(page, RAM_PAGE_SIZE, seed);
}

uint64_t fast_hash(const uint8_t page[RAM_PAGE_SIZE])
{
    return fast_hash_seeded(page, 0);
}
