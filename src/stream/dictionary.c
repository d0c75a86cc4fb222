/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The destination's RAM as a dictionary.
 *
 * The table: open addressing, linear probing, one word an entry: 24 bits of the hash (the tag), 8
 * bits source + 1, 32 bits page; zero is empty. Only the builder writes, entries are never removed,
 * so a lookup on another thread needs no lock: it sees a whole entry or none. The full hash is not
 * kept: a lookup hashes what it finds anyway.
 *
 * Time and memory are bounded: the table has its size from the start, and building ends when it is
 * full or the time is over; the sources that come first are those that matter most.
 */
#include "stream/dictionary.h"

#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "stream/page_filter.h"

#define TAG_BITS    24
#define SOURCE_BITS 8
#define PAGE_BITS   32
/* Of the table that may be used, in eighths: beyond, probing gets long. */
#define LOAD_EIGHTHS 6
/* The first part goes out soon; each following one is twice as large, so that they stay few. */
#define FIRST_PART_PAGES ((size_t)1 << 16)
/* Below the guests that run here. */
#define BUILDER_NICE 5

_Static_assert(TAG_BITS + SOURCE_BITS + PAGE_BITS == 64, "an entry is one word");
_Static_assert(DICTIONARY_SOURCES_MAX == (1 << SOURCE_BITS) - 1, "source + 1 fits");

struct part {
    struct part *next;
    uint8_t *bytes;
    size_t size;
};

struct dictionary {
    struct ram_source **sources;
    size_t n_sources;
    _Atomic uint64_t *table;
    uint64_t slots, slots_usable;
    int64_t started_ns, deadline_ns;
    struct page_hasher *builder, *reader; /* one a thread */
    pthread_t thread;
    bool thread_started;
    atomic_bool stop;
    int event_fd, built_fd;

    /* The builder's: hashes that wait for their part of the filter. */
    uint8_t *hashes;
    size_t n_hashes, part_pages, part_pages_max;
    uint64_t used;

    _Atomic uint64_t hits, misses;

    pthread_mutex_t lock;
    struct part *first, **last; /* made and not yet taken */
    uint64_t indexed;
    int64_t built_ns;
    bool complete;
};

/* --- the table --- */

struct place {
    uint64_t slot, tag;
};

static struct place place_of(const struct dictionary *d, const uint8_t *hash)
{
    uint64_t words[2];
    memcpy(words, hash, sizeof(words));
    return (struct place){
        .slot = (uint64_t)(((unsigned __int128)be64toh(words[0]) * d->slots) >> 64),
        .tag = be64toh(words[1]) >> (64 - TAG_BITS),
    };
}

static uint64_t entry_make(uint64_t tag, size_t source, uint64_t page)
{
    return tag << (SOURCE_BITS + PAGE_BITS) | (uint64_t)(source + 1) << PAGE_BITS | page;
}

/* True when it was entered: not if the page seems to be there already. */
static bool table_enter(struct dictionary *d, const uint8_t *hash, size_t source, uint64_t page)
{
    struct place at = place_of(d, hash);
    for (;; at.slot = at.slot + 1 == d->slots ? 0 : at.slot + 1) {
        uint64_t entry = atomic_load_explicit(&d->table[at.slot], memory_order_relaxed);
        if (entry >> (SOURCE_BITS + PAGE_BITS) == at.tag && entry)
            return false;
        if (entry)
            continue;
        atomic_store_explicit(&d->table[at.slot], entry_make(at.tag, source, page),
                              memory_order_release);
        d->used++;
        return true;
    }
}

static size_t entry_source(uint64_t entry)
{
    return (entry >> PAGE_BITS & ((1u << SOURCE_BITS) - 1)) - 1;
}

/* The next entry, from at->slot on, that may be the page; 0 when there is none. Leaves at->slot
 * behind it. */
static uint64_t table_next(const struct dictionary *d, struct place *at)
{
    for (;;) {
        const uint64_t entry = atomic_load_explicit(&d->table[at->slot], memory_order_acquire);
        if (!entry)
            return 0;
        at->slot = at->slot + 1 == d->slots ? 0 : at->slot + 1;
        if (entry >> (SOURCE_BITS + PAGE_BITS) == at->tag)
            return entry;
    }
}

/* --- lookups --- */

static bool has_hash(struct dictionary *d, const uint8_t *page, const uint8_t *hash)
{
    uint8_t found[PAGE_HASH_SIZE];
    return page_hash(d->reader, page, found) && memcmp(found, hash, PAGE_HASH_SIZE) == 0;
}

static bool find_one(struct dictionary *d, const uint8_t *hash, uint8_t *page)
{
    struct place at = place_of(d, hash);
    for (uint64_t entry; (entry = table_next(d, &at));) {
        const struct ram_source *source = d->sources[entry_source(entry)];
        if (source->ops->read_pages(source->context, &(uint32_t){(uint32_t)entry}, 1, &page) &&
            has_hash(d, page, hash))
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
        struct place at = place_of(d, hashes + i * PAGE_HASH_SIZE);
        const uint64_t entry = table_next(d, &at);
        found[i] = false;
        if (!entry)
            continue;
        if (batch.n == RAM_SOURCE_CHUNK_PAGES || (batch.n && batch.source != entry_source(entry)))
            batch_read(d, &batch, hashes, found);
        batch.source = entry_source(entry);
        batch.pages[batch.n] = (uint32_t)entry;
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

/* --- building --- */

static void give_part(struct dictionary *d, struct part *part)
{
    pthread_mutex_lock(&d->lock);
    *d->last = part;
    d->last = &part->next;
    d->indexed = d->used;
    pthread_mutex_unlock(&d->lock);
    fd_event_signal(d->event_fd);
}

/* Makes a part of the hashes gathered. False when memory is out: the other side never learns of
 * these pages, nor that this was the last part. */
static bool make_part(struct dictionary *d, bool last)
{
    struct part *part = calloc(1, sizeof(*part));
    if (part)
        part->bytes = page_filter_make(d->hashes, d->n_hashes, last, &part->size);
    if (!part || !part->bytes) {
        free(part);
        return false;
    }
    give_part(d, part);
    d->n_hashes = 0;
    return true;
}

/* Room for the hashes of the next part, twice as many as before. False when memory is out. */
static bool grow_part(struct dictionary *d)
{
    size_t pages = 2 * d->part_pages < d->part_pages_max ? 2 * d->part_pages : d->part_pages_max;
    uint8_t *hashes = realloc(d->hashes, pages * PAGE_HASH_SIZE);
    if (!hashes)
        return false;
    d->hashes = hashes;
    d->part_pages = pages;
    return true;
}

static bool index_page(struct dictionary *d, size_t source, uint64_t page, const uint8_t *bytes)
{
    uint8_t *hash = d->hashes + d->n_hashes * PAGE_HASH_SIZE;
    if (page_is_zero(bytes) || !page_hash(d->builder, bytes, hash) ||
        !table_enter(d, hash, source, page))
        return true;
    d->n_hashes++;
    if (d->n_hashes == d->part_pages && (!make_part(d, false) || !grow_part(d)))
        return false;
    return d->used < d->slots_usable;
}

/* False when building is over. */
static bool index_source(struct dictionary *d, size_t number, uint8_t *buffer)
{
    const struct ram_source *source = d->sources[number];
    bool present[RAM_SOURCE_CHUNK_PAGES];
    for (uint64_t first = 0; first < source->pages; first += RAM_SOURCE_CHUNK_PAGES) {
        if (atomic_load(&d->stop) || clock_now_ns() >= d->deadline_ns)
            return false;
        if (source->ops->read_chunk(source->context, first / RAM_SOURCE_CHUNK_PAGES, buffer,
                                    present) < 0)
            return true; /* gone: on with the next one */
        for (size_t i = 0; i < RAM_SOURCE_CHUNK_PAGES; i++)
            if (present[i] && !index_page(d, number, first + i, buffer + i * PAGE_SIZE_BYTES))
                return false;
    }
    return true;
}

static void *build_thread(void *argument)
{
    struct dictionary *d = argument;
    uint8_t *buffer =
        aligned_alloc(PAGE_SIZE_BYTES, (size_t)RAM_SOURCE_CHUNK_PAGES * PAGE_SIZE_BYTES);
    setpriority(PRIO_PROCESS, (id_t)gettid(), BUILDER_NICE); /* of this thread, in Linux */
    for (size_t i = 0; buffer && i < d->n_sources; i++)
        if (!index_source(d, i, buffer))
            break;
    free(buffer);
    pthread_mutex_lock(&d->lock);
    d->complete = true;
    d->indexed = d->used;
    d->built_ns = clock_now_ns() - d->started_ns;
    pthread_mutex_unlock(&d->lock);
    make_part(d, true);
    fd_event_signal(d->built_fd);
    return NULL;
}

/* --- from outside --- */

/* Sizes the table for all pages of the sources, within the limit. */
static int make_table(struct dictionary *d, size_t memory_limit, struct error **err)
{
    uint64_t pages = 0;
    for (size_t i = 0; i < d->n_sources; i++) {
        if (d->sources[i]->pages >> PAGE_BITS)
            return error_set(err, ERROR_UNSUPPORTED, "more than 16 TiB of RAM in one VM");
        pages += d->sources[i]->pages;
    }
    /* A quarter for the hashes that wait and the parts made of them. */
    const size_t hashes_limit = memory_limit / 4 / PAGE_HASH_SIZE;
    d->part_pages_max =
        hashes_limit < PAGE_FILTER_PART_PAGES ? hashes_limit : PAGE_FILTER_PART_PAGES;
    d->part_pages = FIRST_PART_PAGES < d->part_pages_max ? FIRST_PART_PAGES : d->part_pages_max;
    const uint64_t wanted = pages * 8 / LOAD_EIGHTHS + 8;
    const uint64_t room = (memory_limit - memory_limit / 4) / sizeof(uint64_t);
    d->slots = wanted < room ? wanted : room;
    d->slots_usable = d->slots * LOAD_EIGHTHS / 8;
    if (d->part_pages == 0 || d->slots_usable == 0)
        return error_set(err, ERROR_INVALID, "%zu bytes are too few for a dictionary",
                         memory_limit);
    d->hashes = malloc(d->part_pages * PAGE_HASH_SIZE);
    void *table = mmap(NULL, d->slots * sizeof(uint64_t), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    d->table = table != MAP_FAILED ? table : NULL;
    if (!d->hashes || !d->table)
        return error_set(err, ERROR_SYSTEM, "out of memory");
    return 0;
}

static int start(struct dictionary *d, const struct dictionary_options *options,
                 const struct page_hash_key *key, struct error **err)
{
    if (d->event_fd < 0 || d->built_fd < 0)
        return error_errno(err, errno, "eventfd");
    d->builder = page_hasher_new(key, err);
    if (!d->builder || !(d->reader = page_hasher_new(key, err)) ||
        make_table(d, options->memory_limit, err) < 0)
        return -1;
    d->started_ns = clock_now_ns();
    d->deadline_ns = clock_deadline_ns(options->time_limit_ms);
    int failed = pthread_create(&d->thread, NULL, build_thread, d);
    if (failed)
        return error_errno(err, failed, "thread");
    d->thread_started = true;
    return 0;
}

struct dictionary *dictionary_new(const struct dictionary_options *options,
                                  const struct page_hash_key *key,
                                  struct ram_source *const *sources, size_t n, struct error **err)
{
    struct dictionary *d = calloc(1, sizeof(*d));
    struct ram_source **own = calloc(n + 1, sizeof(struct ram_source *));
    if (!d || !own || n > DICTIONARY_SOURCES_MAX) {
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
    atomic_store(&d->stop, true);
    if (d->thread_started)
        pthread_join(d->thread, NULL);
    for (size_t i = 0; i < d->n_sources; i++)
        ram_source_free(d->sources[i]);
    free(d->sources);
    if (d->table)
        munmap((void *)d->table, d->slots * sizeof(uint64_t));
    for (struct part *part = d->first, *next; part; part = next) {
        next = part->next;
        free(part->bytes);
        free(part);
    }
    page_hasher_free(d->builder);
    page_hasher_free(d->reader);
    free(d->hashes);
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
    struct part *part = d->first;
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
        .indexed = d->indexed,
        .hits = atomic_load(&d->hits),
        .misses = atomic_load(&d->misses),
        .memory = d->slots * sizeof(uint64_t),
        .built_ns = d->complete ? d->built_ns : clock_now_ns() - d->started_ns,
        .complete = d->complete,
    };
}
