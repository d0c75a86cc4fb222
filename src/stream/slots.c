/* SPDX-License-Identifier: Apache-2.0 */
/* Slots: numbered places for pages that both ends fill alike. */
#include "stream/slots.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

int slots_init(struct slots *slots, uint32_t count, struct error **err)
{
    *slots = (struct slots){.count = count};
    if (!count)
        return 0;
    size_t size = (size_t)count * RAM_PAGE_SIZE;
    void *pages = mmap(NULL, size, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (pages == MAP_FAILED) {
        slots->count = 0;
        return error_errno(err, errno, "memory for %u pages", count);
    }
    madvise(pages, size, MADV_HUGEPAGE); /* an advice: without it it is only slower */
    madvise(pages, size, MADV_DONTDUMP);
    slots->pages = pages;
    return 0;
}

void slots_clear(struct slots *slots)
{
    if (slots->pages)
        munmap(slots->pages, (size_t)slots->count * RAM_PAGE_SIZE);
    *slots = (struct slots){0};
}

/* A slot is not read again soon, if ever: it is written past the caches, where the window and the
 * codec's tables are. */
static void copy_past_caches(uint8_t *to, const uint8_t *from)
{
#ifdef __SSE2__
    for (size_t at = 0; at < RAM_PAGE_SIZE; at += 4 * sizeof(__m128i)) {
        const __m128i *source = (const __m128i *)(from + at);
        __m128i *line = (__m128i *)(to + at);
        __m128i first = _mm_loadu_si128(source), second = _mm_loadu_si128(source + 1);
        __m128i third = _mm_loadu_si128(source + 2), fourth = _mm_loadu_si128(source + 3);
        _mm_stream_si128(line, first);
        _mm_stream_si128(line + 1, second);
        _mm_stream_si128(line + 2, third);
        _mm_stream_si128(line + 3, fourth);
    }
#else
    memcpy(to, from, RAM_PAGE_SIZE);
#endif
}

void slots_put(struct slots *slots, uint32_t slot, const uint8_t page[RAM_PAGE_SIZE])
{
    if (slot == slots->used)
        slots->used++;
    copy_past_caches(slots_page(slots, slot), page);
}
