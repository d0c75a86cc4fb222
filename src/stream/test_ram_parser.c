/* SPDX-License-Identifier: Apache-2.0 */
/* The parser of QEMU's stream: tokens of hand-made streams, cut at every boundary. */
#include "stream/test_support.h"

#include "base/error.h"
#include "stream/ram_parser.h"

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
        put8(made, (uint8_t)(i + address));
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
    put_fill(made, 0x5a, length);
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
    put16(&made, 7);
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

/* What QEMU compressed itself passes, and pages around it are seen. */
static void compressed(void **state)
{
    (void)state;
    struct made made = {.size = 0};
    put_header(&made);
    put_blocks(&made, false);
    put_part(&made, 2);
    put_record(&made, RAM_RECORD_XBZRLE, 0, "pc.ram");
    put8(&made, 1);
    put16(&made, 300);
    put_fill(&made, 0x08, 300);
    put_record(&made, RAM_RECORD_COMPRESSED, 0x1000, NULL);
    put32(&made, RAM_PAGE_SIZE + 13);
    put_fill(&made, 0x02, RAM_PAGE_SIZE + 13);
    put_record(&made, RAM_RECORD_PAGE, 0x2000, NULL);
    put_footer(&made);
    check_cuts(&made, RAM_PHASE_COPY, 1, 0);
}

static int ignore(void *context, const struct ram_token *token, struct error **err)
{
    (void)context;
    (void)token;
    (void)err;
    return 0;
}

/* One broken thing each after a good beginning: it all passes, no page after it is seen. */
static void unknown(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
    } cases[] = {
#define CASE(text) {text, sizeof(text) - 1}
        CASE("\x02\0\0\0\x03"),                              /* part of another section */
        CASE("\x02\0\0\0\x02\0\0\0\0\0\0\x30\x28"),          /* a page of "the same block" */
        CASE("\x02\0\0\0\x02\0\0\0\0\0\0\0\x08\x03vgb"),     /* a page of no block */
        CASE("\x02\0\0\0\x02\0\0\0\0\0\0\x20\x02\x03vga\0"), /* a page beyond the block */
        CASE("\x02\0\0\0\x02\xff\xff\xff\xff\xff\xff\xf0\x02\x03vga\0"), /* far beyond */
        CASE("\x02\0\0\0\x02\0\0\0\0\0\0\0\x40\x03vga\x02\0\0"),         /* XBZRLE? */
        CASE("\x02\0\0\0\x02\0\0\0\0\0\0\0\x40\x03vga\x01\x10\x01"),     /* too long */
        CASE("\x02\0\0\0\x02\0\0\0\0\0\0\x01\0\x03vga\0\0\x20\0"),       /* too long, too */
        CASE("\x02\0\0\0\x02\0\0\0\0\0\0\0\0"),                          /* a record of nothing */
        CASE("\x02\0\0\0\x02\0\0\0\0\0\x02\0\x04"),                      /* a second list */
        CASE("\x02\0\0\0\x02\0\0\0\0\0\0\0\x80"),                        /* RDMA */
        CASE("\x01\0\0\0\x04\x03ram\0\0\0\0\0\0\0\x04"),                 /* a second RAM section */
        CASE("\x01\0\0\0\x04\x05"
             "block\0\0\0\0\0\0\0\x01"), /* another section */
        CASE("\x04\0\0\0\x04"),          /* device state too early */
        CASE("\x05"),
        CASE("\x06"),
        CASE("\x07"),
        CASE("\x7e\0\0\0\x03"),
        CASE("\0"),
        CASE("\x08\0\0\0\0"),
        CASE("\x08\0\x08\0\0"),
        CASE("\x08\0\x0c\0\0"),   /* commands */
        CASE("\x08\0\x07\0\x05"), /* a package with another size of its size */
#undef CASE
    };
    CLEANUP_ERROR struct error *err = NULL;
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct made made = {.size = 0};
        put_header(&made);
        put_blocks(&made, false);
        put(&made, cases[i].bytes, cases[i].size);
        if (cases[i].bytes[0] == 2) /* a record counts when it is there with its page */
            put_fill(&made, 0, RAM_PAGE_SIZE);
        CLEANUP_RAM_PARSER struct ram_parser *at_once = ram_parser_new();
        assert_ok(ram_parser_feed(at_once, made.bytes, made.size, ignore, NULL, &err), err);
        assert_true(ram_parser_is_opaque(at_once)); /* not only where what follows makes no sense */
        put_part(&made, 2);
        put_record(&made, RAM_RECORD_PAGE, 0x2000, "pc.ram");
        put_footer(&made);
        struct seen seen;
        CLEANUP_RAM_PARSER struct ram_parser *parser = feed(&made, 100, 300, &seen);
        if (ram_parser_phase(parser) != RAM_PHASE_UNKNOWN || seen.pages > 0)
            fail_msg("case %zu was not noticed", i);
        assert_true(ram_parser_is_opaque(parser));
        assert_non_null(ram_parser_reason(parser));
    }
}

/* The same for the beginning itself. */
static void unknown_beginning(void **state)
{
    (void)state;
    struct made good = {.size = 0};
    put_header(&good);
    put_blocks(&good, false);
    size_t list = good.size - 13 - 3 - 1 - 8 - 8 - 6 - 1 - 8;
    const struct {
        size_t at;
        uint8_t value;
    } cases[] = {
        {0, 'q'},       {7, 4}, /* another magic, another version */
        {20, 'C'},              /* a subsection of another name */
        {list + 8, 0},          /* a block without a name */
        {list + 9, 0},          /* with a NUL in it */
        {list + 5, 0},          /* blocks larger than their sum */
        {list + 23, 9},         /* a name that goes beyond the list */
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct made made = good;
        made.bytes[cases[i].at] = cases[i].value;
        put_part(&made, 2);
        put_record(&made, RAM_RECORD_PAGE, 0x2000, "pc.ram");
        put_footer(&made);
        struct seen seen;
        CLEANUP_RAM_PARSER struct ram_parser *parser = feed(&made, 100, 300, &seen);
        if (ram_parser_phase(parser) != RAM_PHASE_UNKNOWN || seen.pages > 0)
            fail_msg("case %zu was not noticed", i);
    }
}

/* A record that lies whole in the input is handed out where it is. */
static int in_place(void *context, const struct ram_token *token, struct error **err)
{
    const struct made *made = context;
    (void)err;
    assert_true(token->bytes >= made->bytes);
    assert_true(token->bytes + token->size <= made->bytes + made->size);
    return 0;
}

static void without_copying(void **state)
{
    (void)state;
    struct made made = {.size = 0};
    put_header(&made);
    put_blocks(&made, false);
    put_part(&made, 2);
    put_record(&made, RAM_RECORD_PAGE, 0x2000, "pc.ram");
    put_record(&made, RAM_RECORD_PAGE, 0x3000, NULL);
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_RAM_PARSER struct ram_parser *parser = ram_parser_new();
    assert_ok(ram_parser_feed(parser, made.bytes, made.size, in_place, &made, &err), err);
}

/* The caller's error ends it and comes back. */
static int refuse(void *context, const struct ram_token *token, struct error **err)
{
    enum ram_token_kind *kind = context;
    return token->kind == *kind ? error_set(err, ERROR_CANCELLED, "enough") : 0;
}

static void errors(void **state)
{
    (void)state;
    struct made made = {.size = 0};
    put_header(&made);
    put_blocks(&made, false);
    put_part(&made, 2);
    put_record(&made, RAM_RECORD_PAGE, 0x2000, "pc.ram");
    for (enum ram_token_kind kind = RAM_OTHER; kind <= RAM_PAGE; kind++) {
        for (size_t first = made.size - 10; first <= made.size; first += 10) {
            CLEANUP_ERROR struct error *err = NULL;
            CLEANUP_RAM_PARSER struct ram_parser *parser = ram_parser_new();
            int status = ram_parser_feed(parser, made.bytes, first, refuse, &kind, &err);
            if (status == 0)
                status = ram_parser_feed(parser, made.bytes + first, made.size - first, refuse,
                                         &kind, &err);
            assert_int_equal(status, -1);
            assert_int_equal(err->kind, ERROR_CANCELLED);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pre_copy),
        cmocka_unit_test(post_copy),
        cmocka_unit_test(compressed),
        cmocka_unit_test(unknown),
        cmocka_unit_test(unknown_beginning),
        cmocka_unit_test(without_copying),
        cmocka_unit_test(errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
