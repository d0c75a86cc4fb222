/* SPDX-License-Identifier: Apache-2.0 */
/* Slots: numbered places for pages that both ends fill alike. */
#include "stream/slots.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

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

void slots_put(struct slots *slots, uint32_t slot, const uint8_t page[RAM_PAGE_SIZE])
{
    if (slot == slots->used)
        slots->used++;
    memcpy(slots_page(slots, slot), page, RAM_PAGE_SIZE);
}
