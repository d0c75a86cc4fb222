/* SPDX-License-Identifier: Apache-2.0 */
/* The parser of multifd channels: tokens of hand-made channels, cut at every boundary. */
#include "stream/test_support.h"

#include "base/error.h"
#include "stream/multifd_parser.h"

struct seen {
    uint8_t bytes[1 << 16];
    size_t size;
    uint64_t pages, zeros, digest;
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
    assert_int_equal(token->size, token->kind == RAM_ZERO ? 8 : RAM_PAGE_SIZE);
    if (token->kind == RAM_ZERO) {
        seen->zeros++;
        seen->digest = seen->digest * 31 + token->address + 1;
        return 0;
    }
    assert_ptr_equal(token->page, token->bytes);
    seen->pages++;
    seen->digest = seen->digest * 31 + token->block;
    seen->digest = seen->digest * 31 + token->address;
    seen->digest = seen->digest * 31 + token->page[0];
    return 0;
}

/* Feeds a channel in two pieces, checks that it comes out, and returns the parser. */
static struct multifd_parser *feed(const struct made *made, size_t cut, struct seen *seen)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct multifd_parser *parser = multifd_parser_new();
    assert_non_null(parser);
    memset(seen, 0, sizeof(*seen));
    assert_ok(multifd_parser_feed(parser, made->bytes, cut, see, seen, &err), err);
    assert_ok(multifd_parser_feed(parser, made->bytes + cut, made->size - cut, see, seen, &err),
              err);
    assert_ok(multifd_parser_finish(parser, see, seen, &err), err);
    assert_int_equal(seen->size, made->size);
    assert_memory_equal(seen->bytes, made->bytes, made->size);
    return parser;
}

static void all_kinds(void **state)
{
    (void)state;
    struct made made = {.size = 0};
    put_multifd_greeting(&made, 3);
    put_multifd_packet(&made, &(struct multifd_packet){.room = MULTIFD_ROOM,
                                                       .pages = 2,
                                                       .zeros = 5,
                                                       .follow = 2 * RAM_PAGE_SIZE,
                                                       .block = "pc.ram",
                                                       .first = 0x7000});
    put_fill(&made, 1, RAM_PAGE_SIZE);
    put_fill(&made, 2, RAM_PAGE_SIZE);
    put_multifd_packet(
        &made, &(struct multifd_packet){.flags = 1, .follow = 2 * RAM_PAGE_SIZE, .block = ""});
    put_multifd_packet(&made, &(struct multifd_packet){.flags = 2 << 1, /* zstd */
                                                       .room = MULTIFD_ROOM,
                                                       .pages = 100,
                                                       .follow = 77,
                                                       .number = 2,
                                                       .block = "vga"});
    put_fill(&made, 0x11, 77);
    put32(&made, 0x11223344); /* device state */
    put32(&made, 1);
    put32(&made, 0x40);
    put_fill(&made, 'd', 256);
    put32(&made, 0);
    put32(&made, 99);
    put_fill(&made, 0x22, 99);
    put_multifd_packet(&made, &(struct multifd_packet){.flags = 1,
                                                       .room = MULTIFD_ROOM,
                                                       .pages = 1,
                                                       .follow = RAM_PAGE_SIZE,
                                                       .block = "vga",
                                                       .first = 0x1000});
    put_fill(&made, 3, RAM_PAGE_SIZE);

    struct seen whole;
    CLEANUP_MULTIFD_PARSER struct multifd_parser *parser = feed(&made, 0, &whole);
    struct multifd_status status = multifd_parser_status(parser);
    assert_false(status.opaque);
    assert_int_equal(whole.pages, 3);
    assert_int_equal(status.packets, 5);
    assert_int_equal(whole.zeros, 5);
    assert_int_equal(status.packed, 2);
    assert_int_equal(status.syncs, 2);
    assert_int_equal(status.channel, 3);
    assert_string_equal(multifd_parser_block(parser, 0)->name, "pc.ram");
    assert_string_equal(multifd_parser_block(parser, 1)->name, "vga");
    for (size_t cut = 0; cut <= made.size; cut++) {
        struct seen seen;
        CLEANUP_MULTIFD_PARSER struct multifd_parser *again = feed(&made, cut, &seen);
        assert_int_equal(seen.digest, whole.digest);
        assert_int_equal(multifd_parser_status(again).packets, 5);
    }
}

/* Read in pieces as it says, nothing of a packet comes with the one before. */
static void rest(void **state)
{
    (void)state;
    struct made made = {.size = 0};
    size_t ends[4], n = 0, at = 0;
    put_multifd_greeting(&made, 0);
    put_multifd_packet(
        &made,
        &(struct multifd_packet){
            .pages = 2, .zeros = 3, .follow = 2 * RAM_PAGE_SIZE, .block = "ram", .first = 0x1000});
    put_fill(&made, 1, (size_t)2 * RAM_PAGE_SIZE);
    ends[n++] = made.size;
    put_multifd_packet(&made, &(struct multifd_packet){.flags = 1, .block = ""});
    ends[n++] = made.size;
    put_multifd_packet(
        &made, &(struct multifd_packet){.flags = 2 << 1, .pages = 9, .follow = 77, .block = "ram"});
    put_fill(&made, 2, 77);
    ends[n++] = made.size;
    put32(&made, 0x11223344); /* device state */
    put32(&made, 1);
    put32(&made, 0x40);
    put_fill(&made, 'd', 260); /* name and instance */
    put32(&made, 5);
    put_fill(&made, 3, 5);
    ends[n++] = made.size;

    struct seen seen = {.size = 0};
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_MULTIFD_PARSER struct multifd_parser *parser = multifd_parser_new();
    assert_non_null(parser);
    for (size_t i = 0; at < made.size;) {
        const size_t piece = multifd_parser_rest(parser);
        assert_in_range(piece, 1, ends[i] - at);
        assert_ok(multifd_parser_feed(parser, made.bytes + at, piece, see, &seen, &err), err);
        at += piece;
        i += at == ends[i];
        assert_int_equal(multifd_parser_between(parser), at == 64 || (i > 0 && at == ends[i - 1]));
    }
    assert_int_equal(seen.size, made.size);
    assert_int_equal(seen.zeros, 3);
}

/* One broken thing each: it all passes, and nothing after it is taken for a page. */
static void unknown(void **state)
{
    static const struct multifd_packet good = {
        .room = MULTIFD_ROOM, .pages = 1, .follow = RAM_PAGE_SIZE, .block = "ram", .first = 0x1000};
    struct multifd_packet broken[] = {good, good, good, good, good, good, good};
    char name[] = "the block's name without an end                                 "
                  "                                                                "
                  "                                                                "
                  "                                                               .";
    assert_int_equal(strlen(name), 256);
    broken[0].room = MULTIFD_ROOM + 1;
    broken[1].pages = MULTIFD_ROOM + 1;
    broken[2].zeros = MULTIFD_ROOM;
    broken[3].follow = RAM_PAGE_SIZE + 1;
    broken[4].first = 0x1001;
    broken[5].block = "";
    broken[6].block = name;
    (void)state;
    for (size_t i = 0; i <= ARRAY_SIZE(broken) + 2; i++) {
        struct made made = {.size = 0};
        put_multifd_greeting(&made, 0);
        put_multifd_packet(&made, i < ARRAY_SIZE(broken) ? &broken[i] : &good);
        if (i == ARRAY_SIZE(broken))
            made.bytes[64] ^= 1; /* the magic */
        if (i == ARRAY_SIZE(broken) + 1)
            made.bytes[64 + 10] ^= 1; /* a flag */
        if (i == ARRAY_SIZE(broken) + 2)
            made.bytes[7] ^= 3; /* the greeting's version */
        put_fill(&made, 1, RAM_PAGE_SIZE);
        struct seen seen;
        CLEANUP_MULTIFD_PARSER struct multifd_parser *parser = feed(&made, 70, &seen);
        if (!multifd_parser_status(parser).opaque || seen.pages > 0)
            fail_msg("case %zu was not noticed", i);
        assert_non_null(multifd_parser_status(parser).reason);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_kinds),
        cmocka_unit_test(rest),
        cmocka_unit_test(unknown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
