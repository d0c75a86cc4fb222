/* SPDX-License-Identifier: Apache-2.0 */
/* A fast hash of a page: XXH3, the same on every processor. */
#include "stream/fast_hash.h"

#include <xxhash.h>

uint64_t fast_hash(const uint8_t page[RAM_PAGE_SIZE])
{
    return XXH3_64bits(page, RAM_PAGE_SIZE);
}
