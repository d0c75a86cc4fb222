/* SPDX-License-Identifier: Apache-2.0 */
/* Between dictionary.c, which looks up, and dictionary_build.c, which reads and enters. */
#ifndef STREAM_DICTIONARY_PRIVATE_H
#define STREAM_DICTIONARY_PRIVATE_H

#include <pthread.h>

#include "stream/dictionary.h"
#include "stream/dictionary_table.h"

#define DICTIONARY_BUILDERS_MAX DICTIONARY_TABLE_WRITERS_MAX

/* A part of the filter, made and not yet taken. */
struct dictionary_part {
    struct dictionary_part *next;
    uint8_t *bytes;
    size_t size;
};

/* One of the threads that build, and what only it uses. */
struct dictionary_builder {
    struct dictionary *dictionary;
    pthread_t thread;
    bool started;
    struct page_hasher *hasher;
    uint8_t *hashes; /* that wait for their part of the filter */
    size_t n_hashes, part_pages;
};

struct dictionary {
    struct ram_source **sources;
    atomic_bool *gone; /* of each source: it cannot be read any more */
    size_t n_sources;
    struct dictionary_table table;
    int64_t started_ns, deadline_ns;
    struct page_hasher *reader; /* of whoever looks up */
    int event_fd, built_fd;

    struct dictionary_builder builders[DICTIONARY_BUILDERS_MAX];
    size_t n_builders, part_pages_max;
    atomic_size_t building;      /* builders that have not ended */
    _Atomic uint64_t next_chunk; /* counted through all sources */
    atomic_bool stop;

    _Atomic uint64_t hits, misses;

    pthread_mutex_t lock;
    struct dictionary_part *first, **last;
    int64_t built_ns;
    bool complete;
};

/* Starts the threads. `pages`: of all sources together. */
int dictionary_build(struct dictionary *dictionary, uint64_t pages,
                     const struct dictionary_options *options, const struct page_hash_key *key,
                     struct error **err);
/* Ends them. */
void dictionary_build_end(struct dictionary *dictionary);

#endif
