/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Builds a dictionary: reads the sources, hashes their pages, enters them, and makes the filter for
 * the other side.
 *
 * Reading and hashing take 1.3 to 2 us a page, so several threads take a chunk each, in the order
 * of the sources: those that come first matter most, as building ends when the table is full or the
 * time is over. Each thread makes parts of the filter out of what it entered itself; the one that
 * ends last makes the last part.
 */
#include <inttypes.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "stream/dictionary_private.h"
#include "stream/page_filter.h"

/* The first parts go out soon; each following one is twice as large, so that they stay few. */
#define FIRST_PART_PAGES ((size_t)1 << 16)
/* Below the guests that run here. */
#define BUILDER_NICE 5
/* Fewer chunks than so many a thread are not worth its start. */
#define BUILDER_CHUNKS 64

/* --- parts of the filter --- */

static void give_part(struct dictionary *d, struct dictionary_part *part)
{
    pthread_mutex_lock(&d->lock);
    *d->last = part;
    d->last = &part->next;
    pthread_mutex_unlock(&d->lock);
    fd_event_signal(d->event_fd);
}

/* Makes a part of the hashes gathered. False when memory is out: the other side never learns of
 * these pages, nor that this was the last part. */
static bool make_part(struct dictionary_builder *b, bool last)
{
    struct dictionary_part *part = calloc(1, sizeof(*part));
    if (part)
        part->bytes = page_filter_make(b->hashes, b->n_hashes, last, &part->size);
    if (!part || !part->bytes) {
        free(part);
        return false;
    }
    give_part(b->dictionary, part);
    b->n_hashes = 0;
    return true;
}

/* Room for the hashes of the next part, twice as many as before. False when memory is out. */
static bool grow_part(struct dictionary_builder *b)
{
    const size_t max = b->dictionary->part_pages_max;
    const size_t pages = 2 * b->part_pages < max ? 2 * b->part_pages : max;
    uint8_t *hashes = realloc(b->hashes, pages * PAGE_HASH_SIZE);
    if (!hashes)
        return false;
    b->hashes = hashes;
    b->part_pages = pages;
    return true;
}

/* --- pages --- */

/* False when building is over. */
static bool index_page(struct dictionary_builder *b, size_t source, uint64_t page,
                       const uint8_t *bytes)
{
    struct dictionary *d = b->dictionary;
    uint8_t *hash = b->hashes + b->n_hashes * PAGE_HASH_SIZE;
    if (page_is_zero(bytes) || !page_hash(b->hasher, bytes, hash))
        return true;
    if (dictionary_table_is_full(&d->table))
        return false;
    if (!dictionary_table_enter(&d->table, hash, source, page))
        return true;
    b->n_hashes++;
    return b->n_hashes < b->part_pages || (make_part(b, false) && grow_part(b));
}

/* The next chunk that nobody has taken. False when there is none. */
static bool take_chunk(struct dictionary *d, size_t *source, uint64_t *chunk)
{
    *chunk = atomic_fetch_add(&d->next_chunk, 1);
    for (*source = 0; *source < d->n_sources; ++*source) {
        const uint64_t pages = d->sources[*source]->pages,
                       chunks = (pages + RAM_SOURCE_CHUNK_PAGES - 1) / RAM_SOURCE_CHUNK_PAGES;
        if (*chunk < chunks)
            return true;
        *chunk -= chunks;
    }
    return false;
}

/* False when building is over. */
static bool index_chunk(struct dictionary_builder *b, size_t number, uint64_t chunk,
                        uint8_t *buffer)
{
    struct dictionary *d = b->dictionary;
    const struct ram_source *source = d->sources[number];
    bool present[RAM_SOURCE_CHUNK_PAGES];
    if (atomic_load(&d->gone[number]))
        return true;
    if (source->ops->read_chunk(source->context, chunk, buffer, present) < 0) {
        atomic_store(&d->gone[number], true);
        return true;
    }
    for (size_t i = 0; i < RAM_SOURCE_CHUNK_PAGES; i++)
        if (present[i] && !index_page(b, number, chunk * RAM_SOURCE_CHUNK_PAGES + i,
                                      buffer + i * PAGE_SIZE_BYTES))
            return false;
    return true;
}

/* --- threads --- */

/* What the others indexed is with the other side, or on its way, when the last one comes here. */
static void end_builder(struct dictionary_builder *b)
{
    struct dictionary *d = b->dictionary;
    if (atomic_load(&d->building) > 1 && b->n_hashes)
        make_part(b, false);
    if (atomic_fetch_sub(&d->building, 1) > 1)
        return;
    pthread_mutex_lock(&d->lock);
    d->complete = true;
    d->built_ns = clock_now_ns() - d->started_ns;
    pthread_mutex_unlock(&d->lock);
    make_part(b, true);
    fd_event_signal(d->built_fd);
    log_debug(NULL, "dictionary: %" PRIu64 " pages of %zu VMs in %" PRId64 " ms by %zu threads",
              atomic_load(&d->table.used), d->n_sources, d->built_ns / 1000000, d->n_builders);
}

static void *build_thread(void *argument)
{
    struct dictionary_builder *b = argument;
    struct dictionary *d = b->dictionary;
    uint8_t *buffer =
        aligned_alloc(PAGE_SIZE_BYTES, (size_t)RAM_SOURCE_CHUNK_PAGES * PAGE_SIZE_BYTES);
    size_t source;
    uint64_t chunk;
    setpriority(PRIO_PROCESS, (id_t)gettid(), BUILDER_NICE); /* of this thread, in Linux */
    while (buffer && !atomic_load(&d->stop) && clock_now_ns() < d->deadline_ns &&
           take_chunk(d, &source, &chunk))
        if (!index_chunk(b, source, chunk, buffer))
            atomic_store(&d->stop, true);
    free(buffer);
    end_builder(b);
    return NULL;
}

static size_t builders_for(uint64_t pages)
{
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    sched_getaffinity(0, sizeof(allowed), &allowed);
    const uint64_t worth = pages / RAM_SOURCE_CHUNK_PAGES / BUILDER_CHUNKS;
    size_t n = (size_t)CPU_COUNT(&allowed);
    if (n > worth)
        n = (size_t)worth;
    if (n > DICTIONARY_BUILDERS_MAX)
        n = DICTIONARY_BUILDERS_MAX;
    return n > 0 ? n : 1;
}

static int make_builder(struct dictionary *d, struct dictionary_builder *b,
                        const struct page_hash_key *key, struct error **err)
{
    const size_t first = FIRST_PART_PAGES / d->n_builders;
    b->dictionary = d;
    b->part_pages = first < d->part_pages_max ? first : d->part_pages_max;
    b->hashes = malloc(b->part_pages * PAGE_HASH_SIZE);
    b->hasher = page_hasher_new(key, err);
    if (!b->hasher)
        return -1;
    return b->hashes ? 0 : error_set(err, ERROR_SYSTEM, "out of memory");
}

int dictionary_build(struct dictionary *d, uint64_t pages, const struct dictionary_options *options,
                     const struct page_hash_key *key, struct error **err)
{
    /* A quarter for the hashes that wait and the parts made of them. */
    const size_t for_hashes = options->memory_limit / 4;
    d->n_builders = builders_for(pages);
    const size_t each = for_hashes / PAGE_HASH_SIZE / d->n_builders;
    d->part_pages_max = each < PAGE_FILTER_PART_PAGES ? each : PAGE_FILTER_PART_PAGES;
    if (d->part_pages_max == 0)
        return error_set(err, ERROR_INVALID, "%zu bytes are too few", options->memory_limit);
    if (dictionary_table_make(&d->table, pages, options->memory_limit - for_hashes, err) < 0)
        return -1;
    for (size_t i = 0; i < d->n_builders; i++)
        if (make_builder(d, &d->builders[i], key, err) < 0)
            return -1;
    d->started_ns = clock_now_ns();
    d->deadline_ns = clock_deadline_ns(options->time_limit_ms);
    atomic_store(&d->building, d->n_builders);
    for (size_t i = 0; i < d->n_builders; i++) {
        struct dictionary_builder *b = &d->builders[i];
        int failed = pthread_create(&b->thread, NULL, build_thread, b);
        if (failed && i == 0)
            return error_errno(err, failed, "thread");
        if (failed)
            end_builder(b); /* the others do its part */
        b->started = !failed;
    }
    return 0;
}

void dictionary_build_end(struct dictionary *d)
{
    atomic_store(&d->stop, true);
    for (size_t i = 0; i < d->n_builders; i++) {
        struct dictionary_builder *b = &d->builders[i];
        if (b->started)
            pthread_join(b->thread, NULL);
        page_hasher_free(b->hasher);
        free(b->hashes);
    }
}
