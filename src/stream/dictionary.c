/* SPDX-License-Identifier: Apache-2.0 */
/* The destination's RAM as a dictionary: what is looked up, and what the rest of the agent sees. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "stream/dictionary_private.h"

/* --- lookups --- */

static bool has_hash(struct dictionary *d, const uint8_t *page, const uint8_t *hash)
{
    uint8_t found[PAGE_HASH_SIZE];
    return page_hash(d->reader, page, found) && memcmp(found, hash, PAGE_HASH_SIZE) == 0;
}

static bool find_one(struct dictionary *d, const uint8_t *hash, uint8_t *page)
{
    struct dictionary_place at = dictionary_table_place(&d->table, hash);
    size_t number;
    uint32_t there;
    while (dictionary_table_next(&d->table, &at, &number, &there)) {
        const struct ram_source *source = d->sources[number];
        if (source->ops->read_pages(source->context, &there, 1, &page) && has_hash(d, page, hash))
            return true;
    }
    return false;
}

/* Pages of one source that are read at once. */
struct batch {
    size_t source, n;
    uint32_t pages[RAM_SOURCE_CHUNK_PAGES];
    uint8_t *to[RAM_SOURCE_CHUNK_PAGES];
    size_t index[RAM_SOURCE_CHUNK_PAGES]; /* among the hashes asked for */
};

/* What is not what its entry promised is looked for once more, alone. */
static void batch_read(struct dictionary *d, struct batch *batch, const uint8_t *hashes,
                       bool *found)
{
    const struct ram_source *source = d->sources[batch->source];
    const bool read = source->ops->read_pages(source->context, batch->pages, batch->n, batch->to);
    for (size_t i = 0; i < batch->n; i++) {
        const uint8_t *hash = hashes + batch->index[i] * PAGE_HASH_SIZE;
        found[batch->index[i]] =
            (read && has_hash(d, batch->to[i], hash)) || find_one(d, hash, batch->to[i]);
    }
    batch->n = 0;
}

size_t dictionary_lookup_many(struct dictionary *d, const uint8_t *hashes, size_t n,
                              uint8_t *const *to, bool *found)
{
    struct batch batch = {0};
    size_t hits = 0;
    for (size_t i = 0; i < n; i++) {
        struct dictionary_place at = dictionary_table_place(&d->table, hashes + i * PAGE_HASH_SIZE);
        size_t source;
        uint32_t page;
        found[i] = false;
        if (!dictionary_table_next(&d->table, &at, &source, &page))
            continue;
        if (batch.n == RAM_SOURCE_CHUNK_PAGES || (batch.n && batch.source != source))
            batch_read(d, &batch, hashes, found);
        batch.source = source;
        batch.pages[batch.n] = page;
        batch.to[batch.n] = to[i];
        batch.index[batch.n++] = i;
    }
    if (batch.n)
        batch_read(d, &batch, hashes, found);
    for (size_t i = 0; i < n; i++)
        hits += found[i];
    d->hits += hits;
    d->misses += n - hits;
    return hits;
}

int dictionary_lookup(struct dictionary *d, const uint8_t hash[PAGE_HASH_SIZE],
                      uint8_t page[PAGE_SIZE_BYTES])
{
    const bool found = find_one(d, hash, page);
    if (found)
        d->hits++;
    else
        d->misses++;
    return found;
}

/* --- from outside --- */

static int start(struct dictionary *d, const struct dictionary_options *options,
                 const struct page_hash_key *key, struct error **err)
{
    uint64_t pages = 0;
    if (d->event_fd < 0 || d->built_fd < 0)
        return error_errno(err, errno, "eventfd");
    if (!(d->gone = calloc(d->n_sources + 1, sizeof(*d->gone))))
        return error_set(err, ERROR_SYSTEM, "out of memory");
    for (size_t i = 0; i < d->n_sources; i++) {
        if (d->sources[i]->pages >= DICTIONARY_TABLE_PAGES_MAX)
            return error_set(err, ERROR_UNSUPPORTED, "more than 16 TiB of RAM in one VM");
        pages += d->sources[i]->pages;
    }
    d->reader = page_hasher_new(key, err);
    return d->reader ? dictionary_build(d, pages, options, key, err) : -1;
}

struct dictionary *dictionary_new(const struct dictionary_options *options,
                                  const struct page_hash_key *key,
                                  struct ram_source *const *sources, size_t n, struct error **err)
{
    struct dictionary *d = calloc(1, sizeof(*d));
    struct ram_source **own = calloc(n + 1, sizeof(struct ram_source *));
    if (!d || !own || n > DICTIONARY_TABLE_SOURCES_MAX) {
        free(d);
        free(own);
        for (size_t i = 0; i < n; i++)
            ram_source_free(sources[i]);
        error_set(err, ERROR_SYSTEM, "dictionary: out of memory, or of numbers for %zu VMs", n);
        return NULL;
    }
    memcpy(own, sources, n * sizeof(struct ram_source *));
    d->sources = own;
    d->n_sources = n;
    d->last = &d->first;
    d->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    d->built_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&d->lock, NULL);
    if (start(d, options, key, err) == 0)
        return d;
    error_prefix(err, "dictionary");
    dictionary_free(d);
    return NULL;
}

void dictionary_free(struct dictionary *d)
{
    if (!d)
        return;
    dictionary_build_end(d);
    for (size_t i = 0; i < d->n_sources; i++)
        ram_source_free(d->sources[i]);
    free(d->sources);
    free((void *)d->gone);
    dictionary_table_free(&d->table);
    for (struct dictionary_part *part = d->first, *next; part; part = next) {
        next = part->next;
        free(part->bytes);
        free(part);
    }
    page_hasher_free(d->reader);
    if (d->event_fd >= 0)
        close(d->event_fd);
    if (d->built_fd >= 0)
        close(d->built_fd);
    pthread_mutex_destroy(&d->lock);
    free(d);
}

int dictionary_built_fd(const struct dictionary *d)
{
    return d->built_fd;
}

int dictionary_event_fd(const struct dictionary *d)
{
    return d->event_fd;
}

uint8_t *dictionary_next_part(struct dictionary *d, size_t *size)
{
    LOCK_SCOPE(&d->lock);
    struct dictionary_part *part = d->first;
    if (!part) {
        fd_event_clear(d->event_fd); /* under the lock: a part that comes now signals again */
        return NULL;
    }
    d->first = part->next;
    if (!d->first)
        d->last = &d->first;
    uint8_t *bytes = part->bytes;
    *size = part->size;
    free(part);
    return bytes;
}

struct dictionary_counts dictionary_counts(struct dictionary *d)
{
    LOCK_SCOPE(&d->lock);
    return (struct dictionary_counts){
        .indexed = atomic_load(&d->table.used),
        .hits = atomic_load(&d->hits),
        .misses = atomic_load(&d->misses),
        .memory = d->table.slots * sizeof(uint64_t),
        .built_ns = d->complete ? d->built_ns : clock_now_ns() - d->started_ns,
        .complete = d->complete,
    };
}
