/* SPDX-License-Identifier: Apache-2.0 */
/* --verify: compares the RAM of both QEMU processes through keyed digests. */
#include "migrate/verify.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/random.h>

#include "base/log.h"
#include "base/text.h"
#include "migrate/kvmclock.h"
#include "migrate/migration_private.h"

struct verify_key {
    uint8_t bytes[MEMORY_KEY_SIZE];
};

_Static_assert(MEMORY_KEY_SIZE == 16, "the key's size is part of io.mudanza.Peer");

int verify_key_make(uint8_t key[16], char hex[33], struct error **err)
{
    if (getrandom(key, 16, 0) != 16)
        return error_errno(err, errno, "getrandom");
    text_hex(key, 16, hex);
    return 0;
}

struct verify_key *verify_key_parse(const char *hex, struct error **err)
{
    struct verify_key *key = calloc(1, sizeof(*key));
    if (key && text_unhex(hex, key->bytes, sizeof(key->bytes), err) == 0)
        return key;
    free(key);
    error_prefix(err, "verify_key");
    return NULL;
}

void verify_key_free(struct verify_key *key)
{
    free(key);
}

static char *to_hex(const uint8_t *bytes, size_t size, struct error **err)
{
    char *hex = malloc(2 * size + 1);
    if (hex)
        text_hex(bytes, size, hex);
    else
        error_set(err, ERROR_SYSTEM, "out of memory");
    return hex;
}

char *verify_digests(const struct memory_map *ram, const struct verify_key *key, struct error **err)
{
    CLEANUP_FREE uint8_t *digests = NULL;
    size_t count;
    if (memory_chunk_digests(ram, key->bytes, &digests, &count, -1, err) < 0)
        return NULL;
    return to_hex(digests, count * MEMORY_CHUNK_DIGEST_SIZE, err);
}

char *verify_page_digests(const struct memory_map *ram, const struct verify_key *key, int64_t chunk,
                          struct error **err)
{
    CLEANUP_FREE uint8_t *digests = NULL;
    size_t count;
    if (chunk < 0 || memory_page_digests(ram, key->bytes, (size_t)chunk, &digests, &count, err) < 0)
        return NULL;
    return to_hex(digests, count * MEMORY_PAGE_DIGEST_SIZE, err);
}

char *verify_read_page(const struct memory_map *ram, int64_t offset, struct error **err)
{
    uint8_t page[MEMORY_PAGE_SIZE];
    if (offset < 0 || offset % (int64_t)MEMORY_PAGE_SIZE) {
        error_set(err, ERROR_INVALID, "offset %" PRId64 " is not that of a page", offset);
        return NULL;
    }
    if (memory_read(ram, (uint64_t)offset, page, sizeof(page), err) < 0)
        return NULL;
    return to_hex(page, sizeof(page), err);
}

int verify_write_page(const struct memory_map *ram, int64_t offset, const char *hex,
                      struct error **err)
{
    uint8_t page[MEMORY_PAGE_SIZE];
    if (offset < 0 || offset % (int64_t)MEMORY_PAGE_SIZE)
        return error_set(err, ERROR_INVALID, "offset %" PRId64 " is not that of a page", offset);
    if (text_unhex(hex, page, sizeof(page), err) < 0)
        return error_set(err, ERROR_INVALID, "not the bytes of a page");
    return memory_write(ram, (uint64_t)offset, page, sizeof(page), err);
}

/* --- the source's comparison --- */

/* So many pages may be put right in one move; more are a sign of something else. */
#define MENDED_MAX 65536

struct comparison {
    struct migration *m;
    struct memory_map *ram;
    uint8_t *digests; /* of our chunks */
    size_t chunks;
    bool mend;
    unsigned clocks;    /* kvmclocks that the destination's kernel marked */
    uint64_t differing; /* pages that stay different */
    uint64_t first;     /* offset of the first of their bytes */
};

static json_t *ask(struct comparison *c, const char *method, const char *parameter, int64_t value,
                   struct error **err)
{
    struct migration *m = c->m;
    json_t *answer = NULL;
    migration_call(m, method, json_pack("{s:s, s:I}", "job", m->job, parameter, (json_int_t)value),
                   &answer, err);
    return answer;
}

static int mend_page(struct comparison *c, uint64_t offset, const uint8_t *page, struct error **err)
{
    struct migration *m = c->m;
    char hex[2 * MEMORY_PAGE_SIZE + 1];
    if (m->mended_pages >= MENDED_MAX)
        return error_set(err, ERROR_CORRUPT, "more than %d pages differ", MENDED_MAX);
    text_hex(page, MEMORY_PAGE_SIZE, hex);
    m->mended_pages++;
    return migration_call(
        m, "WritePage",
        json_pack("{s:s, s:I, s:s}", "job", m->job, "offset", (json_int_t)offset, "data", hex),
        NULL, err);
}

static int compare_page(struct comparison *c, uint64_t offset, struct error **err)
{
    uint8_t here[MEMORY_PAGE_SIZE], there[MEMORY_PAGE_SIZE];
    if (memory_read(c->ram, offset, here, sizeof(here), err) < 0)
        return -1;
    if (c->mend)
        return mend_page(c, offset, here, err);
    CLEANUP_JSON json_t *answer = ask(c, "ReadPage", "offset", (int64_t)offset, err);
    if (!answer || text_unhex(json_opt_string(answer, "data", ""), there, sizeof(there), err) < 0)
        return -1;
    size_t byte = 0;
    while (byte < sizeof(here) && here[byte] == there[byte])
        byte++;
    unsigned before = c->clocks;
    if (c->m->vm->live->accelerator == DOMAIN_KVM &&
        kvmclock_explains(here, there, sizeof(here), &c->clocks) &&
        c->clocks <= c->m->vm->live->vcpus)
        return 0;
    c->clocks = before;
    if (byte < sizeof(here) && !c->differing++)
        c->first = offset + byte;
    return 0;
}

static int compare_chunk(struct comparison *c, size_t chunk, struct error **err)
{
    CLEANUP_FREE uint8_t *here = NULL;
    size_t count;
    if (memory_page_digests(c->ram, c->m->verify_key, chunk, &here, &count, err) < 0)
        return -1;
    CLEANUP_JSON json_t *answer = ask(c, "PageDigests", "chunk", (int64_t)chunk, err);
    CLEANUP_FREE uint8_t *there = malloc(count * MEMORY_PAGE_DIGEST_SIZE + 1);
    if (!answer || !there ||
        text_unhex(json_opt_string(answer, "digests", ""), there, count * MEMORY_PAGE_DIGEST_SIZE,
                   err) < 0)
        return -1;
    for (size_t page = 0; page < count; page++)
        if (memcmp(here + page * MEMORY_PAGE_DIGEST_SIZE, there + page * MEMORY_PAGE_DIGEST_SIZE,
                   MEMORY_PAGE_DIGEST_SIZE) != 0 &&
            compare_page(c, chunk * MEMORY_CHUNK_SIZE + page * MEMORY_PAGE_SIZE, err) < 0)
            return -1;
    return 0;
}

/* Goes down into every chunk that differs; what was put right is compared once more. */
static int compare_all(struct comparison *c, struct error **err)
{
    const char *theirs = c->m->remote.digests;
    CLEANUP_FREE uint8_t *there = malloc(c->chunks * MEMORY_CHUNK_DIGEST_SIZE + 1);
    if (!there || !theirs ||
        text_unhex(theirs, there, c->chunks * MEMORY_CHUNK_DIGEST_SIZE, NULL) < 0)
        return error_set(err, ERROR_PEER, "host %s: it sent no digests of this RAM",
                         c->m->peer.host.name);
    bool mend = c->mend;
    for (size_t chunk = 0; chunk < c->chunks; chunk++) {
        if (memcmp(c->digests + chunk * MEMORY_CHUNK_DIGEST_SIZE,
                   there + chunk * MEMORY_CHUNK_DIGEST_SIZE, MEMORY_CHUNK_DIGEST_SIZE) == 0)
            continue;
        c->mend = mend;
        if (compare_chunk(c, chunk, err) < 0)
            return -1;
        c->mend = false;
        if (mend && compare_chunk(c, chunk, err) < 0)
            return -1;
    }
    return 0;
}

static int judge_comparison(const struct comparison *c, struct error **err)
{
    if (c->m->mended_pages)
        log_info(c->m->vm->name, "%" PRIu64 " pages that QEMU did not send were put right",
                 c->m->mended_pages);
    if (!c->differing)
        return 0;
    error_set(err, ERROR_CORRUPT,
              "RAM differs in %" PRIu64 " page(s), first at offset 0x%" PRIx64
              ": the destination did not get what the source has",
              c->differing, c->first);
    return error_hint(err,
                      "the VM goes on at the source; try again, and suspect hardware or QEMU if "
                      "it happens twice");
}

static int compare(struct comparison *c, struct error **err)
{
    struct migration *m = c->m;
    c->ram = memory_locate(m->vm->qmp, m->vm->process.pid, m->vm->live->memory, err);
    /* Ours first: the destination is still loading. */
    if (!c->ram ||
        memory_chunk_digests(c->ram, m->verify_key, &c->digests, &c->chunks, m->cancel_fd, err) <
            0 ||
        handover_await_loaded(m, err) < 0 || compare_all(c, err) < 0)
        return -1;
    return judge_comparison(c, err);
}

int verify_run(struct migration *m, struct error **err)
{
    struct comparison c = {.m = m, .mend = m->mends};
    int result = compare(&c, err);
    free(c.digests);
    memory_free(c.ram);
    if (result < 0)
        return error_prefix(err, "VM %s: comparing RAM", m->vm->name);
    m->verified = true;
    return 0;
}
