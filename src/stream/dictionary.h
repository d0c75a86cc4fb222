/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The destination's RAM as a dictionary: finds a page by its hash in the RAM of VMs that run here,
 * or of one that ran here before.
 *
 * Threads of its own with low priority read the sources in the order given, hash every page that is
 * not zero, and enter it into a table of fixed size; page filters for the other side come out as
 * they go on. The guests run meanwhile: an entry is a hint. A lookup copies the page first
 * and then hashes the copy, so that a page that was written since, or a source that is gone, is a
 * miss and never a wrong page.
 */
#ifndef STREAM_DICTIONARY_H
#define STREAM_DICTIONARY_H

#include <stddef.h>

#include "stream/page_hash.h"
#include "stream/ram_source.h"

struct dictionary_options {
    size_t memory_limit;   /* of the table and what waits to be sent, bytes */
    int64_t time_limit_ms; /* building ends after so long with what it has */
};

struct dictionary_counts {
    uint64_t indexed; /* pages that can be looked up */
    uint64_t hits, misses;
    size_t memory;    /* bytes of the table */
    int64_t built_ns; /* how long building took, or takes so far */
    bool complete;    /* building is over */
};

struct dictionary;

/* Starts the threads. Takes the `n` sources, at most 255, over (also on error); the array stays the
 * caller's. */
struct dictionary *dictionary_new(const struct dictionary_options *options,
                                  const struct page_hash_key *key,
                                  struct ram_source *const *sources, size_t n, struct error **err);
/* Ends the threads and frees the sources. */
void dictionary_free(struct dictionary *dictionary);

/* An eventfd: readable once building is over, and from then on. */
int dictionary_built_fd(const struct dictionary *dictionary);
/* An eventfd: readable when dictionary_next_part has something. */
int dictionary_event_fd(const struct dictionary *dictionary);
/* The next part of the filter for the other side, made once, in order; the caller's to free. NULL
 * when there is none now. The last one is marked so, and may hold no page. */
uint8_t *dictionary_next_part(struct dictionary *dictionary, size_t *size);

/* 1: copied, and the copy has that hash; 0: a miss, whatever `page` holds then. One thread at a
 * time. */
int dictionary_lookup(struct dictionary *dictionary, const uint8_t hash[PAGE_HASH_SIZE],
                      uint8_t page[PAGE_SIZE_BYTES]);
/* The same for `n` hashes, one after the other, in less than half the time: each page goes to where
 * `to` says; found[i] tells. Returns how many were. */
size_t dictionary_lookup_many(struct dictionary *dictionary, const uint8_t *hashes, size_t n,
                              uint8_t *const *to, bool *found);

struct dictionary_counts dictionary_counts(struct dictionary *dictionary);

#endif
