/* SPDX-License-Identifier: Apache-2.0 */
/* Parts of a page filter from the wire: what is taken is within the limit, and can be asked. */
#include <stdlib.h>
#include <string.h>

#include "stream/page_filter.h"

#define LIMIT ((size_t)8192)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
    if (!condition)
        abort();
}

/* The input: sizes of parts (two bytes each), each followed by the part; what is left is hashes. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct page_filter *filter = page_filter_new(LIMIT);
    must(filter != NULL);
    size_t taken = 0;
    while (size >= 2 && !page_filter_complete(filter)) {
        const size_t part = (size_t)data[0] << 8 | data[1];
        data += 2;
        size -= 2;
        if (part > size)
            break;
        CLEANUP_ERROR struct error *err = NULL;
        if (page_filter_take(filter, data, part, &err) == 0)
            taken += part;
        else
            must(err && (err->kind == ERROR_CORRUPT || err->kind == ERROR_PEER));
        data += part;
        size -= part;
    }
    must(taken <= LIMIT);
    for (; size >= PAGE_HASH_SIZE; data += PAGE_HASH_SIZE, size -= PAGE_HASH_SIZE)
        must(!page_filter_has(filter, data) || !page_filter_empty(filter));
    page_filter_free(filter);
    return 0;
}
