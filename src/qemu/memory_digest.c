/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Digests of a guest's RAM: pages, chunks, the whole.
 *
 * Why Poly1305 for pages: measured over 4096 bytes on one core of a present server CPU, OpenSSL's
 * Poly1305 does 7.8 GB/s, GMAC 2.6, SHA-256 with its instructions 1.5, BLAKE2b 0.8. As a universal
 * hash it needs a secret key, which every comparison has.
 *
 * Threads take chunk after chunk from a shared counter, so that none waits for a slow one.
 */
#include "qemu/memory.h"

#include <errno.h>
#include <openssl/evp.h>
#include <poll.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#include "base/bytes.h"
#include "qemu/memory_map.h"

#define THREADS_MAX   4
#define PAGE_KEY_SIZE 32 /* of Poly1305 */

/* What one thread needs to digest pages. */
struct hasher {
    EVP_MAC *mac;
    EVP_MAC_CTX *page;
    EVP_MD_CTX *tree;
    uint8_t key[MEMORY_KEY_SIZE], page_key[PAGE_KEY_SIZE];
    uint8_t *buffer; /* MEMORY_CHUNK_SIZE */
};

static int hasher_failed(struct error **err)
{
    return error_set(err, ERROR_INTERNAL, "OpenSSL has no Poly1305 or SHA-256 for digests of RAM");
}

static void hasher_free(struct hasher *hasher)
{
    EVP_MAC_CTX_free(hasher->page);
    EVP_MAC_free(hasher->mac);
    EVP_MD_CTX_free(hasher->tree);
    free(hasher->buffer);
}

static int hasher_init(struct hasher *hasher, const uint8_t key[MEMORY_KEY_SIZE],
                       struct error **err)
{
    static const char label[] = "mudanza page key";
    unsigned length;
    *hasher = (struct hasher){.mac = EVP_MAC_fetch(NULL, "POLY1305", NULL)};
    memcpy(hasher->key, key, MEMORY_KEY_SIZE);
    hasher->page = hasher->mac ? EVP_MAC_CTX_new(hasher->mac) : NULL;
    hasher->tree = EVP_MD_CTX_new();
    hasher->buffer = aligned_alloc(MEMORY_PAGE_SIZE, MEMORY_CHUNK_SIZE);
    if (!hasher->page || !hasher->tree || !hasher->buffer ||
        !EVP_DigestInit_ex(hasher->tree, EVP_sha256(), NULL) ||
        !EVP_DigestUpdate(hasher->tree, label, sizeof(label)) ||
        !EVP_DigestUpdate(hasher->tree, key, MEMORY_KEY_SIZE) ||
        !EVP_DigestFinal_ex(hasher->tree, hasher->page_key, &length)) {
        hasher_free(hasher);
        return hasher_failed(err);
    }
    return 0;
}

static int hasher_page(struct hasher *hasher, const uint8_t *page, uint8_t *digest,
                       struct error **err)
{
    size_t length;
    if (bytes_are_zero(page, MEMORY_PAGE_SIZE)) {
        memset(digest, 0, MEMORY_PAGE_DIGEST_SIZE);
        return 0;
    }
    if (!EVP_MAC_init(hasher->page, hasher->page_key, PAGE_KEY_SIZE, NULL) ||
        !EVP_MAC_update(hasher->page, page, MEMORY_PAGE_SIZE) ||
        !EVP_MAC_final(hasher->page, digest, &length, MEMORY_PAGE_DIGEST_SIZE))
        return hasher_failed(err);
    return 0;
}

/* Reads a chunk and fills in its pages' digests. */
static int hasher_pages(struct hasher *hasher, const struct memory_map *map, size_t chunk,
                        uint8_t digests[MEMORY_CHUNK_PAGES * MEMORY_PAGE_DIGEST_SIZE],
                        size_t *pages, struct error **err)
{
    bool present[MEMORY_CHUNK_PAGES];
    if (memory_map_read_chunk(map, chunk, hasher->buffer, present, pages, err) < 0)
        return -1;
    for (size_t page = 0; page < *pages; page++) {
        uint8_t *digest = digests + page * MEMORY_PAGE_DIGEST_SIZE;
        if (!present[page])
            memset(digest, 0, MEMORY_PAGE_DIGEST_SIZE);
        else if (hasher_page(hasher, hasher->buffer + page * MEMORY_PAGE_SIZE, digest, err) < 0)
            return -1;
    }
    return 0;
}

/* SHA-256 of the key, `prefix` and `data`. */
static int hasher_tree(struct hasher *hasher, const void *prefix, size_t prefix_size,
                       const void *data, size_t size, uint8_t digest[32], struct error **err)
{
    unsigned length;
    if (!EVP_DigestInit_ex(hasher->tree, EVP_sha256(), NULL) ||
        !EVP_DigestUpdate(hasher->tree, hasher->key, MEMORY_KEY_SIZE) ||
        !EVP_DigestUpdate(hasher->tree, prefix, prefix_size) ||
        !EVP_DigestUpdate(hasher->tree, data, size) ||
        !EVP_DigestFinal_ex(hasher->tree, digest, &length))
        return hasher_failed(err);
    return 0;
}

static int hasher_chunk(struct hasher *hasher, const struct memory_map *map, size_t chunk,
                        uint8_t digest[MEMORY_CHUNK_DIGEST_SIZE], struct error **err)
{
    uint8_t digests[MEMORY_CHUNK_PAGES * MEMORY_PAGE_DIGEST_SIZE];
    size_t pages;
    if (hasher_pages(hasher, map, chunk, digests, &pages, err) < 0)
        return -1;
    return hasher_tree(hasher, "chunk", 5, digests, pages * MEMORY_PAGE_DIGEST_SIZE, digest, err);
}

/* --- all chunks, by several threads --- */

struct work {
    const struct memory_map *map;
    const uint8_t *key;
    uint8_t *digests;
    size_t n;
    int cancel_fd;
    atomic_size_t next;
    atomic_bool stop;
    pthread_mutex_t lock;
    struct error *problem; /* the first one */
};

static bool is_cancelled(int cancel_fd)
{
    struct pollfd cancel = {.fd = cancel_fd, .events = POLLIN};
    return cancel_fd >= 0 && poll(&cancel, 1, 0) == 1;
}

static int work_chunks(struct work *work, struct hasher *hasher, struct error **err)
{
    while (!atomic_load(&work->stop)) {
        const size_t chunk = atomic_fetch_add(&work->next, 1);
        if (chunk >= work->n)
            return 0;
        if (is_cancelled(work->cancel_fd))
            return error_set(err, ERROR_CANCELLED, "cancelled");
        if (hasher_chunk(hasher, work->map, chunk, work->digests + chunk * MEMORY_CHUNK_DIGEST_SIZE,
                         err) < 0)
            return -1;
    }
    return 0;
}

static void *work_thread(void *argument)
{
    struct work *work = argument;
    struct hasher hasher;
    struct error *problem = NULL;
    if (hasher_init(&hasher, work->key, &problem) == 0) {
        work_chunks(work, &hasher, &problem);
        hasher_free(&hasher);
    }
    if (problem) {
        atomic_store(&work->stop, true);
        LOCK_SCOPE(&work->lock);
        error_move(&work->problem, problem);
    }
    return NULL;
}

/* Threads beside the calling one. */
static size_t work_helpers(size_t chunks)
{
    cpu_set_t cpus;
    size_t n = sched_getaffinity(0, sizeof(cpus), &cpus) == 0 ? (size_t)CPU_COUNT(&cpus) : 1;
    n = n < THREADS_MAX ? n : THREADS_MAX;
    return (n < chunks ? n : chunks) - 1;
}

static void work_run(struct work *work)
{
    pthread_t threads[THREADS_MAX];
    const size_t wanted = work_helpers(work->n);
    size_t started = 0;
    while (started < wanted && pthread_create(&threads[started], NULL, work_thread, work) == 0)
        started++;
    work_thread(work); /* with fewer threads it only takes longer */
    while (started > 0)
        pthread_join(threads[--started], NULL);
}

int memory_chunk_digests(const struct memory_map *map, const uint8_t key[MEMORY_KEY_SIZE],
                         uint8_t **digests, size_t *n, int cancel_fd, struct error **err)
{
    const size_t chunks = memory_chunks(map);
    struct work work = {.map = map,
                        .key = key,
                        .digests = calloc(chunks, MEMORY_CHUNK_DIGEST_SIZE),
                        .n = chunks,
                        .cancel_fd = cancel_fd,
                        .lock = PTHREAD_MUTEX_INITIALIZER};
    if (!work.digests)
        return error_set(err, ERROR_SYSTEM, "out of memory");
    work_run(&work);
    if (work.problem) {
        free(work.digests);
        return error_move(err, work.problem);
    }
    *digests = work.digests;
    *n = chunks;
    return 0;
}

int memory_digest(const struct memory_map *map, const uint8_t key[MEMORY_KEY_SIZE],
                  uint8_t digest[MEMORY_DIGEST_SIZE], int cancel_fd, struct error **err)
{
    CLEANUP_FREE uint8_t *chunks = NULL;
    size_t n;
    struct hasher hasher;
    uint8_t size[13] = "whole"; /* and the size, least significant byte first */
    for (size_t i = 0; i < 8; i++)
        size[5 + i] = (uint8_t)(memory_size(map) >> (8 * i));
    if (memory_chunk_digests(map, key, &chunks, &n, cancel_fd, err) < 0 ||
        hasher_init(&hasher, key, err) < 0)
        return -1;
    int result =
        hasher_tree(&hasher, size, sizeof(size), chunks, n * MEMORY_CHUNK_DIGEST_SIZE, digest, err);
    hasher_free(&hasher);
    return result;
}

int memory_page_digests(const struct memory_map *map, const uint8_t key[MEMORY_KEY_SIZE],
                        size_t chunk, uint8_t **digests, size_t *n, struct error **err)
{
    struct hasher hasher;
    if (chunk >= memory_chunks(map))
        return error_set(err, ERROR_INVALID, "there is no chunk %zu in the guest's RAM", chunk);
    if (hasher_init(&hasher, key, err) < 0)
        return -1;
    uint8_t *result = calloc(MEMORY_CHUNK_PAGES, MEMORY_PAGE_DIGEST_SIZE);
    int outcome = result ? hasher_pages(&hasher, map, chunk, result, n, err)
                         : error_set(err, ERROR_SYSTEM, "out of memory");
    hasher_free(&hasher);
    if (outcome < 0)
        free(result);
    else
        *digests = result;
    return outcome;
}
