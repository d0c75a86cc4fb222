/* SPDX-License-Identifier: Apache-2.0 */
/* Which pages the destination may have: a Bloom filter of their hashes, in parts. */
#include "stream/page_filter.h"

#include <string.h>

#include "base/bytes.h"

#define BITS_A_PAGE 10
#define PROBES      7
#define PROBE_BITS  9 /* of a position in a line */
#define FLAG_LAST   1u
#define LINE_BITS   ((size_t)PAGE_FILTER_LINE_SIZE * 8)
#define LINES_MAX   (PAGE_FILTER_PART_PAGES * BITS_A_PAGE / LINE_BITS + 1)

_Static_assert(1 << PROBE_BITS == LINE_BITS && PROBES * PROBE_BITS <= 64, "positions in a line");

struct part {
    uint32_t lines;
    uint8_t *bits;
};

struct page_filter {
    struct part *parts;
    size_t n_parts;
    size_t memory, memory_limit;
    bool complete;
};

/* Where in `lines` lines the hash has its bits. */
static size_t line_of(const uint8_t *hash, uint32_t lines)
{
    return (size_t)(((unsigned __int128)bytes_get64(hash) * lines) >> 64) * PAGE_FILTER_LINE_SIZE;
}

static void set_bits(uint8_t *line, const uint8_t *hash)
{
    uint64_t positions = bytes_get64(hash + 8);
    for (int probe = 0; probe < PROBES; probe++, positions >>= PROBE_BITS)
        line[positions % LINE_BITS / 8] |= (uint8_t)(1u << positions % 8);
}

static bool has_bits(const uint8_t *line, const uint8_t *hash)
{
    uint64_t positions = bytes_get64(hash + 8);
    for (int probe = 0; probe < PROBES; probe++, positions >>= PROBE_BITS)
        if (!(line[positions % LINE_BITS / 8] & 1u << positions % 8))
            return false;
    return true;
}

uint8_t *page_filter_make(const uint8_t *hashes, size_t n, bool last, size_t *size)
{
    const uint32_t lines = n ? (uint32_t)(n * BITS_A_PAGE / LINE_BITS + 1) : 0;
    *size = PAGE_FILTER_HEADER_SIZE + (size_t)lines * PAGE_FILTER_LINE_SIZE;
    uint8_t *part = calloc(1, *size);
    if (!part)
        return NULL;
    bytes_put32(part, lines);
    bytes_put32(part + 4, last ? FLAG_LAST : 0);
    for (size_t i = 0; i < n; i++) {
        const uint8_t *hash = hashes + i * PAGE_HASH_SIZE;
        set_bits(part + PAGE_FILTER_HEADER_SIZE + line_of(hash, lines), hash);
    }
    return part;
}

struct page_filter *page_filter_new(size_t memory_limit)
{
    struct page_filter *filter = calloc(1, sizeof(*filter));
    if (filter)
        filter->memory_limit = memory_limit;
    return filter;
}

void page_filter_free(struct page_filter *filter)
{
    if (!filter)
        return;
    for (size_t i = 0; i < filter->n_parts; i++)
        free(filter->parts[i].bits);
    free(filter->parts);
    free(filter);
}

/* A filter that lets everything pass would cost a miss for every page. Ours have half of their bits
 * set; a line varies, many lines together hardly. */
static bool is_too_full(const uint8_t *bits, size_t size)
{
    uint64_t set = 0;
    for (size_t at = 0; at < size; at += 8)
        set += (uint64_t)__builtin_popcountll(bytes_get64(bits + at));
    return set > (uint64_t)size * 8 * 5 / 8;
}

static int check_part(const struct page_filter *filter, const uint8_t *part, size_t size,
                      struct error **err)
{
    if (filter->complete)
        return error_set(err, ERROR_CORRUPT, "page filter: a part after the last one");
    if (size < PAGE_FILTER_HEADER_SIZE)
        return error_set(err, ERROR_CORRUPT, "page filter: a part of %zu bytes", size);
    const uint32_t lines = bytes_get32(part), flags = bytes_get32(part + 4);
    if (flags & ~FLAG_LAST || lines > LINES_MAX || (lines == 0 && !(flags & FLAG_LAST)) ||
        size != PAGE_FILTER_HEADER_SIZE + (size_t)lines * PAGE_FILTER_LINE_SIZE)
        return error_set(err, ERROR_CORRUPT,
                         "page filter: a part of %zu bytes that says it has %u lines, flags 0x%x",
                         size, lines, flags);
    if (is_too_full(part + PAGE_FILTER_HEADER_SIZE, size - PAGE_FILTER_HEADER_SIZE))
        return error_set(err, ERROR_CORRUPT, "page filter: a part that lets too many pages pass");
    if (size > filter->memory_limit - filter->memory)
        return error_set(err, ERROR_PEER, "page filter: it is larger than %zu bytes",
                         filter->memory_limit);
    return 0;
}

int page_filter_take(struct page_filter *filter, const uint8_t *part, size_t size,
                     struct error **err)
{
    if (check_part(filter, part, size, err) < 0)
        return -1;
    filter->complete = bytes_get32(part + 4) & FLAG_LAST;
    const size_t bits_size = size - PAGE_FILTER_HEADER_SIZE;
    if (bits_size == 0)
        return 0;
    struct part *parts = realloc(filter->parts, (filter->n_parts + 1) * sizeof(*parts));
    uint8_t *bits = aligned_alloc(PAGE_FILTER_LINE_SIZE, bits_size);
    if (parts)
        filter->parts = parts;
    if (!parts || !bits) {
        free(bits);
        return error_set(err, ERROR_SYSTEM, "out of memory");
    }
    memcpy(bits, part + PAGE_FILTER_HEADER_SIZE, bits_size);
    filter->parts[filter->n_parts++] = (struct part){.lines = bytes_get32(part), .bits = bits};
    filter->memory += size;
    return 0;
}

bool page_filter_complete(const struct page_filter *filter)
{
    return filter->complete;
}

bool page_filter_empty(const struct page_filter *filter)
{
    return filter->n_parts == 0;
}

bool page_filter_has(const struct page_filter *filter, const uint8_t hash[PAGE_HASH_SIZE])
{
    for (size_t i = 0; i < filter->n_parts; i++) {
        const struct part *part = &filter->parts[i];
        if (has_bits(part->bits + line_of(hash, part->lines), hash))
            return true;
    }
    return false;
}
