/* SPDX-License-Identifier: Apache-2.0 */
/* Pages of the guest's main RAM that are equal to one sent before. */
#include "stream/copies.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "base/cleanup.h"
#include "stream/fast_hash.h"

/* --- the digest --- */

bool copies_digest_add(struct copies_digest *digest, const uint8_t page[RAM_PAGE_SIZE])
{
    if (!digest->sha && !(digest->sha = EVP_MD_CTX_new()))
        return false;
    if (!digest->pages && !EVP_DigestInit_ex(digest->sha, EVP_sha256(), NULL))
        return false;
    digest->pages++;
    return EVP_DigestUpdate(digest->sha, page, RAM_PAGE_SIZE);
}

bool copies_digest_end(struct copies_digest *digest, uint8_t out[COPIES_DIGEST_SIZE])
{
    unsigned size;
    digest->pages = 0;
    return EVP_DigestFinal_ex(digest->sha, out, &size) && size == COPIES_DIGEST_SIZE;
}

void copies_digest_clear(struct copies_digest *digest)
{
    EVP_MD_CTX_free(digest->sha);
    *digest = (struct copies_digest){0};
}

/* --- the table --- */

/* Sets of entries that share a cache line: enough for all that 2 GiB of RAM may have. A larger
 * guest's pages push older ones out. */
#define WAYS 4
#define SETS ((size_t)1 << 17)

struct entry {
    uint64_t hash;
    uint64_t place; /* its address / RAM_PAGE_SIZE + 1; 0: free */
};

struct copies {
    struct entry sets[SETS][WAYS];
    uint64_t seed;
    uint64_t next; /* the least address that was not passed */
    bool over;
};

size_t copies_memory(void)
{
    return sizeof(struct copies);
}

struct copies *copies_new(struct error **err)
{
    struct copies *copies = mmap(NULL, sizeof(*copies), PROT_READ | PROT_WRITE,
                                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (copies == MAP_FAILED) {
        error_errno(err, errno, "memory for copies");
        return NULL;
    }
    if (getrandom(&copies->seed, sizeof(copies->seed), 0) == (ssize_t)sizeof(copies->seed))
        return copies;
    error_errno(err, errno, "getrandom");
    copies_free(copies);
    return NULL;
}

void copies_free(struct copies *copies)
{
    if (copies)
        munmap(copies, sizeof(*copies));
}

void copies_pass(struct copies *copies, uint64_t address)
{
    if (address < copies->next)
        copies->over = true;
    copies->next = address + RAM_PAGE_SIZE;
}

void copies_end(struct copies *copies)
{
    copies->over = true;
}

bool copies_find(struct copies *copies, uint64_t address, const uint8_t page[RAM_PAGE_SIZE],
                 uint64_t *from)
{
    if (copies->over)
        return false;
    const uint64_t hash = fast_hash_seeded(page, copies->seed);
    struct entry *set = copies->sets[hash % SETS];
    struct entry *to = &set[hash / SETS % WAYS];
    for (unsigned way = 0; way < WAYS; way++) {
        if (set[way].place && set[way].hash == hash) {
            *from = (set[way].place - 1) * RAM_PAGE_SIZE;
            return true;
        }
        if (!set[way].place)
            to = &set[way];
    }
    *to = (struct entry){.hash = hash, .place = address / RAM_PAGE_SIZE + 1};
    return false;
}
