/* SPDX-License-Identifier: Apache-2.0 */
/* The parser of multifd channels: tokens of hand-made channels, cut at every boundary. */
#include "stream/test_support.h"

#include "base/error.h"
#include "stream/multifd_parser.h"

#define ROOM 128

static void put_greeting(struct made *made, uint8_t channel)
{
    put32(made, 0x11223344);
    put32(made, 1);
    put_fill(made, 0xab, 16);
    put8(made, channel);
    put_fill(made, 0, 39);
}

struct packet {
    uint32_t flags, room, pages, zeros, follow;
    uint64_t number;
    const char *block;
    uint64_t first; /* address of the first page, the others follow it */
};

static void put_packet(struct made *made, const struct packet *packet)
{
    put32(made, 0x11223344);
    put32(made, 1);
    put32(made, packet->flags);
    put32(made, packet->room);
    put32(made, packet->pages);
    put32(made, packet->follow);
    put64(made, packet->number);
    put32(made, packet->zeros);
    put_fill(made, 0, 28);
    put(made, packet->block, strlen(packet->block));
    put_fill(made, 0, 256 - strlen(packet->block));
    for (uint64_t i = 0; i < ROOM; i++)
        put64(made, i < packet->pages + packet->zeros ? packet->first + i * RAM_PAGE_SIZE : 0);
}

struct seen {
    uint8_t bytes[1 << 16];
    size_t size;
    uint64_t pages, digest;
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
    assert_int_equal(token->kind, RAM_PAGE);
    assert_int_equal(token->size, RAM_PAGE_SIZE);
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
    put_greeting(&made, 3);
    put_packet(&made, &(struct packet){.room = ROOM,
                                       .pages = 2,
                                       .zeros = 5,
                                       .follow = 2 * RAM_PAGE_SIZE,
                                       .block = "pc.ram",
                                       .first = 0x7000});
    put_fill(&made, 1, RAM_PAGE_SIZE);
    put_fill(&made, 2, RAM_PAGE_SIZE);
    put_packet(&made, &(struct packet){.flags = 1, .follow = 2 * RAM_PAGE_SIZE, .block = ""});
    put_packet(&made, &(struct packet){.flags = 2 << 1, /* zstd */
                                       .room = ROOM,
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
    put_packet(&made, &(struct packet){.flags = 1,
                                       .room = ROOM,
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
    assert_int_equal(status.zero_pages, 5);
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

/* One broken thing each: it all passes, and nothing after it is taken for a page. */
static void unknown(void **state)
{
    static const struct packet good = {
        .room = ROOM, .pages = 1, .follow = RAM_PAGE_SIZE, .block = "ram", .first = 0x1000};
    struct packet broken[] = {good, good, good, good, good, good, good};
    char name[] = "the block's name without an end                                 "
                  "                                                                "
                  "                                                                "
                  "                                                               .";
    assert_int_equal(strlen(name), 256);
    broken[0].room = ROOM + 1;
    broken[1].pages = ROOM + 1;
    broken[2].zeros = ROOM;
    broken[3].follow = RAM_PAGE_SIZE + 1;
    broken[4].first = 0x1001;
    broken[5].block = "";
    broken[6].block = name;
    (void)state;
    for (size_t i = 0; i <= ARRAY_SIZE(broken) + 2; i++) {
        struct made made = {.size = 0};
        put_greeting(&made, 0);
        put_packet(&made, i < ARRAY_SIZE(broken) ? &broken[i] : &good);
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
        cmocka_unit_test(unknown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
