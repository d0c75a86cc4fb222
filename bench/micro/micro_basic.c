/* SPDX-License-Identifier: Apache-2.0 */
/* Micro-benchmarks: memory, parser, looking at pages. */
#include "micro.h"

#include <string.h>

#include "stream/page_hash.h"
#include "stream/ram_parser.h"

/* So that no compiler leaves out what is only measured. */
static volatile uint64_t result;

static uint64_t row_memcpy(const struct micro_stream *stream, uint64_t *out)
{
    memcpy(stream->room, stream->bytes, stream->size);
    *out = stream->size;
    return stream->size;
}

static uint64_t row_memcpy_pieces(const struct micro_stream *stream, uint64_t *out)
{
    for (size_t at = 0; at < stream->size; at += MICRO_PIECE) {
        size_t left = stream->size - at;
        memcpy(stream->room, stream->bytes + at, left < MICRO_PIECE ? left : MICRO_PIECE);
        result += stream->room[at % MICRO_PIECE];
    }
    *out = stream->size;
    return stream->size;
}

static int count(void *context, const struct ram_token *token, struct error **err)
{
    (void)err;
    *(uint64_t *)context += token->address + token->size;
    return 0;
}

static uint64_t row_parser(const struct micro_stream *stream, uint64_t *out)
{
    CLEANUP_RAM_PARSER struct ram_parser *parser = ram_parser_new();
    uint64_t sum = 0;
    for (size_t at = 0; at < stream->size; at += MICRO_PIECE) {
        size_t left = stream->size - at;
        if (ram_parser_feed(parser, stream->bytes + at, left < MICRO_PIECE ? left : MICRO_PIECE,
                            count, &sum, NULL) < 0)
            return 0;
    }
    result += sum;
    *out = stream->size;
    return ram_parser_phase(parser) == RAM_PHASE_UNKNOWN ? 0 : stream->size;
}

struct copy {
    uint8_t *to;
    size_t used;
};

/* As an encoder without compression does: what comes goes into a window. */
static int copy(void *context, const struct ram_token *token, struct error **err)
{
    struct copy *copy = context;
    (void)err;
    for (size_t done = 0; done < token->size;) {
        size_t size = token->size - done;
        if (size > MICRO_PIECE - copy->used)
            size = MICRO_PIECE - copy->used;
        memcpy(copy->to + copy->used, token->bytes + done, size);
        copy->used = (copy->used + size) % MICRO_PIECE;
        done += size;
    }
    return 0;
}

static uint64_t row_parser_copy(const struct micro_stream *stream, uint64_t *out)
{
    CLEANUP_RAM_PARSER struct ram_parser *parser = ram_parser_new();
    struct copy window = {.to = stream->room};
    for (size_t at = 0; at < stream->size; at += MICRO_PIECE) {
        size_t left = stream->size - at;
        if (ram_parser_feed(parser, stream->bytes + at, left < MICRO_PIECE ? left : MICRO_PIECE,
                            copy, &window, NULL) < 0)
            return 0;
    }
    *out = stream->size;
    return stream->size;
}

static uint64_t row_zero(const struct micro_stream *stream, uint64_t *out)
{
    memset(stream->room, 0, MICRO_PIECE);
    *out = 0;
    for (size_t i = 0; i < stream->n_pages; i++)
        if (!page_is_zero(stream->room + i * RAM_PAGE_SIZE % MICRO_PIECE))
            return 0;
    return (uint64_t)stream->n_pages * RAM_PAGE_SIZE;
}

static uint64_t row_not_zero(const struct micro_stream *stream, uint64_t *out)
{
    *out = 0;
    for (size_t i = 0; i < stream->n_pages; i++)
        result += page_is_zero(stream->pages[i]);
    return (uint64_t)stream->n_pages * RAM_PAGE_SIZE;
}

static uint64_t row_hash(const struct micro_stream *stream, uint64_t *out)
{
    struct page_hash_key key = {{1, 2, 3}};
    struct page_hasher *hasher = page_hasher_new(&key, NULL);
    uint64_t done = 0;
    *out = (uint64_t)stream->n_pages * PAGE_HASH_SIZE;
    for (size_t i = 0; hasher && i < stream->n_pages; i++) {
        uint8_t hash[PAGE_HASH_SIZE];
        if (!page_hash(hasher, stream->pages[i], hash))
            break;
        result += hash[0];
        done += RAM_PAGE_SIZE;
    }
    page_hasher_free(hasher);
    return done;
}

const struct micro_row micro_basic_rows[] = {
    {"memcpy", {NULL}, NULL, row_memcpy},
    {"memcpy into 256 KiB", {NULL}, NULL, row_memcpy_pieces},
    {"parser", {NULL}, NULL, row_parser},
    {"parser and copy into 256 KiB", {"memcpy into 256 KiB"}, NULL, row_parser_copy},
    {"zero pages: is it zero?", {NULL}, NULL, row_zero},
    {"other pages: is it zero?", {NULL}, NULL, row_not_zero},
    {"keyed hash of pages", {NULL}, NULL, row_hash},
    {NULL},
};
