/* SPDX-License-Identifier: Apache-2.0 */
/* How much of its memory a guest changes, from a sample. */
#include "migrate/write_rate.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "stream/fast_hash.h"

#define AT_ONCE RAM_SOURCE_CHUNK_PAGES
_Static_assert(WRITE_RATE_PAGES % AT_ONCE == 0, "a sample is whole pieces");

static int look(const struct write_rate *rate, const struct ram_source *ram,
                uint64_t hashes[WRITE_RATE_PAGES], struct error **err)
{
    uint8_t *to[AT_ONCE];
    CLEANUP_FREE uint8_t *copies = malloc((size_t)AT_ONCE * RAM_PAGE_SIZE);
    if (!copies)
        return error_set(err, ERROR_SYSTEM, "out of memory");
    for (size_t i = 0; i < AT_ONCE; i++)
        to[i] = copies + i * RAM_PAGE_SIZE;
    for (size_t at = 0; at < WRITE_RATE_PAGES; at += AT_ONCE) {
        if (!ram->ops->read_pages(ram->context, rate->pages + at, AT_ONCE, to))
            return error_set(err, ERROR_QEMU, "the guest's RAM cannot be read");
        for (size_t i = 0; i < AT_ONCE; i++)
            hashes[at + i] = fast_hash(to[i]);
    }
    return 0;
}

int write_rate_begin(struct write_rate *rate, const struct ram_source *ram, int64_t now_ns,
                     struct error **err)
{
    for (size_t i = 0; i < WRITE_RATE_PAGES; i++)
        rate->pages[i] = (uint32_t)(ram->pages * i / WRITE_RATE_PAGES);
    rate->begin_ns = now_ns;
    rate->next_ns = now_ns + WRITE_RATE_MS * NS_PER_MS;
    return look(rate, ram, rate->hashes, err);
}

int write_rate_look(struct write_rate *rate, const struct ram_source *ram, int64_t now_ns,
                    unsigned *permille, struct error **err)
{
    const int64_t passed_ns = now_ns - rate->begin_ns;
    uint64_t now[WRITE_RATE_PAGES] = {0};
    unsigned changed = 0;
    if (look(rate, ram, now, err) < 0)
        return -1;
    for (size_t i = 0; i < WRITE_RATE_PAGES; i++)
        changed += now[i] != rate->hashes[i];
    *permille = (unsigned)(changed * INT64_C(1000) / WRITE_RATE_PAGES * WRITE_RATE_MS * NS_PER_MS /
                           passed_ns);
    rate->next_ns = now_ns + passed_ns;
    return 0;
}
