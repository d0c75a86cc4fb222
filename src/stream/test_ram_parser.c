/* SPDX-License-Identifier: Apache-2.0 */
/* The parser of QEMU's stream: tokens of hand-made streams, cut at every boundary. */
#include "base/test.h"

#include <string.h>

#include "base/error.h"
#include "stream/bytes.h"
#include "stream/ram_parser.h"

/* A stream under construction. */
struct made {
    uint8_t bytes[1 << 16];
    size_t size;
};

static void put(struct made *made, const void *bytes, size_t size)
{
    assert_true(size <= sizeof(made->bytes) - made->size);
    memcpy(made->bytes + made->size, bytes, size);
    made->size += size;
}

static void put8(struct made *made, uint8_t value)
{
    put(made, &value, 1);
}

static void put16(struct made *made, uint16_t value)
{
    uint8_t bytes[2];
    bytes_put16(bytes, value);
    put(made, bytes, sizeof(bytes));
}

static void put32(struct made *made, uint32_t value)
{
    uint8_t bytes[4];
    bytes_put32(bytes, value);
    put(made, bytes, sizeof(bytes));
}

static void put64(struct made *made, uint64_t value)
{
    uint8_t bytes[8];
    bytes_put64(bytes, value);
    put(made, bytes, sizeof(bytes));
}

static void put_name(struct made *made, const char *name)
{
    put8(made, (uint8_t)strlen(name));
    put(made, name, strlen(name));
}

static void put_header(struct made *made)
{
    put32(made, 0x5145564d);
    put32(made, 3);
    put8(made, 7);
    put32(made, 6);
    put(made, "pc-q35", 6);
    put8(made, 5);
    put_name(made, "configuration/capabilities");
    put32(made, 1);
    put32(made, 2);
    put_name(made, "x-ignore-shared");
    put_name(made, "events");
}

static void put_footer(struct made *made)
{
    put64(made, RAM_RECORD_EOS);
    put8(made, 0x7e);
    put32(made, 2);
}

/* The RAM section's start with two blocks, pc.ram of 64 KiB and vga of 8 KiB. */
static void put_blocks(struct made *made, bool extra)
{
    put8(made, 1);
    put32(made, 2);
    put_name(made, "ram");
    put32(made, 0);
    put32(made, 4);
    put64(made, 0x12000 | RAM_RECORD_MEM_SIZE);
    put_name(made, "pc.ram");
    put64(made, 0x10000);
    if (extra)
        put64(made, 0x200000);
    put_name(made, "vga");
    put64(made, 0x2000);
    if (extra)
        put64(made, 0);
    put_footer(made);
}

static void put_record(struct made *made, uint64_t kind, uint64_t address, const char *name)
{
    uint8_t header[RAM_RECORD_HEADER_MAX];
    put(made, header, ram_record_header(header, kind, address, name));
    if (kind == RAM_RECORD_ZERO)
        put8(made, 0);
    for (unsigned i = 0; kind == RAM_RECORD_PAGE && i < RAM_PAGE_SIZE; i++)
        put8(made, (uint8_t)(i * 7 + address));
}

static void put_part(struct made *made, uint8_t type)
{
    put8(made, type);
    put32(made, 2);
}

/* What came out. */
struct seen {
    uint8_t bytes[1 << 16];
    size_t size;
    size_t pages, zeros;
    uint64_t digest; /* of the tokens' members */
    struct ram_parser *parser;
};

static int see(void *context, const struct ram_token *token, struct error **err)
{
    struct seen *seen = context;
    (void)err;
    assert_true(token->size > 0);
    assert_true(token->size <= sizeof(seen->bytes) - seen->size);
    memcpy(seen->bytes + seen->size, token->bytes, token->size);
    seen->size += token->size;
    if (token->kind == RAM_OTHER)
        return 0;
    const struct ram_block *block = ram_parser_block(seen->parser, token->block);
    uint8_t header[RAM_RECORD_HEADER_MAX];
    bool page = token->kind == RAM_PAGE;
    size_t size = ram_record_header(header, page ? RAM_RECORD_PAGE : RAM_RECORD_ZERO,
                                    token->address, token->named ? block->name : NULL);
    assert_int_equal(token->size, size + (page ? RAM_PAGE_SIZE : 1));
    assert_memory_equal(token->bytes, header, size);
    if (page)
        assert_ptr_equal(token->page, token->bytes + size);
    assert_true(token->address % RAM_PAGE_SIZE == 0 && token->address < block->size);
    seen->digest = seen->digest * 31 + token->kind;
    seen->digest = seen->digest * 31 + token->block;
    seen->digest = seen->digest * 31 + token->address;
    seen->digest = seen->digest * 31 + (page ? token->page[1] : token->fill);
    *(page ? &seen->pages : &seen->zeros) += 1;
    return 0;
}

/* Feeds a stream in three pieces, checks that it comes out, and returns the parser. */
static struct ram_parser *feed(const struct made *made, size_t first, size_t second,
                               struct seen *seen)
{
    const size_t cuts[] = {0, first, second, made->size};
    CLEANUP_ERROR struct error *err = NULL;
    struct ram_parser *parser = ram_parser_new();
    assert_non_null(parser);
    memset(seen, 0, sizeof(*seen));
    seen->parser = parser;
    for (unsigned i = 0; i < 3; i++)
        assert_ok(
            ram_parser_feed(parser, made->bytes + cuts[i], cuts[i + 1] - cuts[i], see, seen, &err),
            err);
    assert_ok(ram_parser_finish(parser, see, seen, &err), err);
    assert_int_equal(seen->size, made->size);
    assert_memory_equal(seen->bytes, made->bytes, made->size);
    return parser;
}

/* The same result wherever the stream is cut. */
static void check_cuts(const struct made *made, enum ram_phase phase, size_t pages, size_t zeros)
{
    struct seen whole;
    CLEANUP_RAM_PARSER struct ram_parser *parser = feed(made, 0, 0, &whole);
    if (ram_parser_phase(parser) != phase)
        fail_msg("phase %d: %s", ram_parser_phase(parser), ram_parser_reason(parser));
    assert_int_equal(whole.pages, pages);
    assert_int_equal(whole.zeros, zeros);
    for (size_t cut = 0; cut <= made->size; cut++) {
        struct seen seen;
        size_t second = cut + 1 < made->size ? cut + 1 : made->size;
        CLEANUP_RAM_PARSER struct ram_parser *again = feed(made, cut, second, &seen);
        assert_int_equal(ram_parser_phase(again), phase);
        assert_int_equal(seen.digest, whole.digest);
        assert_int_equal(ram_parser_blocks(again), ram_parser_blocks(parser));
    }
}

static void pre_copy(void **state)
{
    (void)state;
    struct made made = {.size = 0};
    put_header(&made);
    put_blocks(&made, false);
    put_part(&made, 2);
    put_record(&made, RAM_RECORD_PAGE, 0x1000, "pc.ram");
    put_record(&made, RAM_RECORD_ZERO, 0x2000, NULL);
    put64(&made, RAM_RECORD_MULTIFD_FLUSH);
    put_footer(&made);
    put_part(&made, 3);
    put_record(&made, RAM_RECORD_PAGE, 0x1000, "vga");
    put_footer(&made);
    put8(&made, 4);
    put(&made, "whatever the devices say", 24);
    check_cuts(&made, RAM_PHASE_DEVICES, 2, 1);
}

static void put_command(struct made *made, uint16_t command, uint16_t length)
{
    put8(made, 8);
    put16(made, command);
    put16(made, length);
    for (unsigned i = 0; i < length; i++)
        put8(made, 0x5a);
}

/* The package holds what looks like sections and pages: nobody must look. */
static void post_copy(void **state)
{
    (void)state;
    struct made made = {.size = 0};
    put_header(&made);
    put_command(&made, 1, 0);
    put_command(&made, 2, 4);
    put_command(&made, 3, 16);
    put_blocks(&made, true);
    put_part(&made, 2);
    put_record(&made, RAM_RECORD_PAGE, 0, "vga");
    put_footer(&made);
    put_command(&made, 6, 300);
    put8(&made, 8);
    put16(&made, 8);
    put16(&made, 4);
    put32(&made, 9 + 5 + 5);
    put_part(&made, 2);
    put64(&made, 0x1000 | RAM_RECORD_PAGE | RAM_RECORD_CONTINUE);
    put8(&made, 0x11);
    put_command(&made, 5, 0);
    put_part(&made, 2);
    put_record(&made, RAM_RECORD_PAGE, 0x1000, NULL);
    put_record(&made, RAM_RECORD_ZERO, 0xf000, "pc.ram");
    put64(&made, RAM_RECORD_EOS);
    put_part(&made, 3);
    put_footer(&made);
    put8(&made, 0);
    check_cuts(&made, RAM_PHASE_DONE, 2, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pre_copy),
        cmocka_unit_test(post_copy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
