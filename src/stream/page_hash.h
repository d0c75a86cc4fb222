/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keyed hash by which two agents name a page of RAM.
 *
 * AES-128 of Poly1305 of the page, both under a key that the source draws for each job and sends
 * inside TLS. Poly1305 makes collisions improbable for everyone who does not know the key (below
 * 2^-95 for a pair of pages, however chosen); AES, a permutation, adds none and makes any part of a
 * hash as good as random, so that filters and tables may take bits of it. docs/dictionary.md has
 * the argument.
 */
#ifndef STREAM_PAGE_HASH_H
#define STREAM_PAGE_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define PAGE_SIZE_BYTES    ((size_t)4096)
#define PAGE_HASH_SIZE     16
#define PAGE_HASH_KEY_SIZE 48 /* 32 of Poly1305, 16 of AES */

struct page_hash_key {
    uint8_t bytes[PAGE_HASH_KEY_SIZE];
};

/* A fresh random key. */
int page_hash_key_make(struct page_hash_key *key, struct error **err);

struct page_hasher; /* for one thread at a time */

struct page_hasher *page_hasher_new(const struct page_hash_key *key, struct error **err);
void page_hasher_free(struct page_hasher *hasher);

/* Hashes 4096 bytes at any alignment. False when the library refuses: the page has no hash then. */
bool page_hash(struct page_hasher *hasher, const uint8_t page[PAGE_SIZE_BYTES],
               uint8_t hash[PAGE_HASH_SIZE]);

/* Leaves at the first byte that is not zero, or soon after. */
bool page_is_zero(const uint8_t page[PAGE_SIZE_BYTES]);

#endif
