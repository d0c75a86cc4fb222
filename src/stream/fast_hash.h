/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fast hash of a page, of no use against anybody: it finds candidates, which are then compared,
 * and guards against our own mistakes.
 */
#ifndef STREAM_FAST_HASH_H
#define STREAM_FAST_HASH_H

#include <stdint.h>

#include "stream/ram_record.h"

uint64_t fast_hash(const uint8_t page[RAM_PAGE_SIZE]);
/* Another function for each seed. */
uint64_t fast_hash_seeded(const uint8_t page[RAM_PAGE_SIZE], uint64_t seed);

/* The same value, for x86 processors with AVX2 only. */
uint64_t fast_hash_wide(const uint8_t page[RAM_PAGE_SIZE], uint64_t seed);

#endif
