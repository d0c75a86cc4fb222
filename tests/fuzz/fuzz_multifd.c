/* SPDX-License-Identifier: Apache-2.0 */
/* A multifd channel from anywhere: the tokens put together are the input, however it is cut. */
#include <stdlib.h>
#include <string.h>

#include "stream/multifd_parser.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
    const struct multifd_parser *parser;
    const uint8_t *expected, *end;
    uint64_t digest;
};

static void check(bool holds)
{
    if (!holds)
        abort();
}

static int see(void *context, const struct ram_token *token, struct error **err)
{
    struct seen *seen = context;
    (void)err;
    check(token->size > 0 && token->size <= (size_t)(seen->end - seen->expected));
    check(memcmp(token->bytes, seen->expected, token->size) == 0);
    seen->expected += token->size;
    if (token->kind == RAM_OTHER)
        return 0;
    check(token->kind == RAM_ZERO ? token->size == 8
                                  : token->size == RAM_PAGE_SIZE && token->page == token->bytes);
    check(token->address % RAM_PAGE_SIZE == 0);
    seen->digest = seen->digest * 31 + token->address + token->kind +
                   strlen(multifd_parser_block(seen->parser, token->block)->name);
    return 0;
}

/* Feeds the channel in pieces of `piece` bytes; returns what identifies the pages in it. */
static uint64_t parse(const uint8_t *bytes, size_t size, size_t piece)
{
    struct multifd_parser *parser = multifd_parser_new();
    struct seen seen = {.parser = parser, .expected = bytes, .end = bytes + size};
    for (size_t at = 0; at < size; at += piece) {
        size_t length = size - at < piece ? size - at : piece;
        uint8_t *copy = malloc(length); /* so that the first byte past it is noticed */
        memcpy(copy, bytes + at, length);
        check(multifd_parser_feed(parser, copy, length, see, &seen, NULL) == 0);
        free(copy);
    }
    struct multifd_status status = multifd_parser_status(parser);
    check(multifd_parser_finish(parser, see, &seen, NULL) == 0);
    check(seen.expected == seen.end && status.opaque == (status.reason != NULL));
    multifd_parser_free(parser);
    return seen.digest * 31 + status.packets + status.opaque;
}

/* The first byte says how the rest is cut. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    uint64_t whole = parse(data + 1, size - 1, size - 1);
    check(parse(data + 1, size - 1, 1 + data[0]) == whole);
    return 0;
}
