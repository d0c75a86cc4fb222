/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QEMU's migration stream from anywhere: the tokens put together are the input, they are the same
 * however it is cut, and each page's header is what its token says.
 */
#include <stdlib.h>
#include <string.h>

#include "stream/ram_parser.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
    const struct ram_parser *parser;
    const uint8_t *expected, *end;
    uint64_t digest;
};

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void check_record(const struct seen *seen, const struct ram_token *token)
{
    uint8_t header[RAM_RECORD_HEADER_MAX];
    bool page = token->kind == RAM_PAGE;
    check(token->block < ram_parser_blocks(seen->parser));
    const struct ram_block *block = ram_parser_block(seen->parser, token->block);
    check(token->address % RAM_PAGE_SIZE == 0 && block->size >= RAM_PAGE_SIZE &&
          token->address <= block->size - RAM_PAGE_SIZE);
    size_t size = ram_record_header(header, page ? RAM_RECORD_PAGE : RAM_RECORD_ZERO,
                                    token->address, token->named ? block->name : NULL);
    check(token->size == size + (page ? RAM_PAGE_SIZE : 1));
    check(memcmp(token->bytes, header, size) == 0);
    check(page ? token->page == token->bytes + size : token->fill == token->bytes[size]);
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
    check_record(seen, token);
    seen->digest = seen->digest * 31 + (uint64_t)(seen->end - seen->expected) + token->kind;
    return 0;
}

/* Feeds the stream in pieces of `piece` bytes; returns what identifies the pages in it. */
static uint64_t parse(const uint8_t *bytes, size_t size, size_t piece)
{
    struct ram_parser *parser = ram_parser_new();
    struct seen seen = {.parser = parser, .expected = bytes, .end = bytes + size};
    for (size_t at = 0; at < size; at += piece) {
        size_t length = size - at < piece ? size - at : piece;
        uint8_t *copy = malloc(length); /* so that the first byte past it is noticed */
        memcpy(copy, bytes + at, length);
        check(ram_parser_feed(parser, copy, length, see, &seen, NULL) == 0);
        free(copy);
    }
    enum ram_phase phase = ram_parser_phase(parser);
    check(ram_parser_finish(parser, see, &seen, NULL) == 0);
    check(seen.expected == seen.end);
    check((ram_parser_reason(parser) != NULL) == (ram_parser_phase(parser) == RAM_PHASE_UNKNOWN));
    ram_parser_free(parser);
    return seen.digest * 31 + phase;
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
