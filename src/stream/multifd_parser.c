/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Splits what QEMU writes into one multifd channel into pages and everything else.
 *
 * Layouts, all big-endian, from QEMU's migration/multifd.h, 7.2 to 10.0 (offset, size):
 *
 *   greeting:  0 magic 4, 4 version 4, 8 UUID 16, 24 channel 1, reserved up to 64
 *   packet:    0 magic 4, 4 version 4, 8 flags 4,
 *              12 room for pages 4, 16 pages that follow 4, 20 bytes that follow 4, 24 number 8,
 *              32 zero pages 4 (before 9.0: reserved, 0), reserved up to 64,
 *              64 block's name 256, 320 the address of each page 8, for as many as there is room
 *   device:    0 magic 4, 4 version 4, 8 flags 4, 12 name 256, 268 instance 4, 272 bytes 4
 *
 * The room is the same in all packets: 128 pages on x86; packets that only synchronize may give 0.
 * The bytes that follow are those of an earlier packet when no page follows, so they count only
 * with pages.
 */
#include "stream/multifd_parser.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "stream/splitter.h"

#define MULTIFD_MAGIC         0x11223344u
#define MULTIFD_VERSION       1
#define MULTIFD_GREETING_SIZE 64
#define MULTIFD_PAGES_MAX     128 /* of 4 KiB in MULTIFD_PACKET_SIZE */
#define MULTIFD_NAME_AT       64
#define MULTIFD_NAME_SIZE     256
#define MULTIFD_LIST_AT       (MULTIFD_NAME_AT + MULTIFD_NAME_SIZE)
#define MULTIFD_HEADER_SIZE   (MULTIFD_LIST_AT + 8 * MULTIFD_PAGES_MAX)
#define MULTIFD_DEVICE_SIZE   276

#define MULTIFD_SYNC         0x01
#define MULTIFD_COMPRESSION  0x3e /* how; 0 is not at all */
#define MULTIFD_DEVICE_STATE 0x40
#define MULTIFD_FLAGS        (MULTIFD_SYNC | MULTIFD_COMPRESSION | MULTIFD_DEVICE_STATE)

enum multifd_state {
    STATE_GREETING,
    STATE_PACKET,
    STATE_PAGES,
    STATE_OPAQUE,
};

struct multifd_parser {
    enum multifd_state state;
    struct multifd_status status;
    uint32_t pages; /* of the packet at hand */
    uint32_t page;  /* the next of them */
    uint32_t block;
    uint8_t list[8 * MULTIFD_PAGES_MAX]; /* their addresses */
    struct ram_blocks blocks;
    struct splitter splitter;
    char reason[160];
};

struct multifd_parser *multifd_parser_new(void)
{
    return calloc(1, sizeof(struct multifd_parser));
}

void multifd_parser_free(struct multifd_parser *parser)
{
    if (!parser)
        return;
    ram_blocks_clear(&parser->blocks);
    free(parser);
}

struct multifd_status multifd_parser_status(const struct multifd_parser *parser)
{
    struct multifd_status status = parser->status;
    status.opaque = parser->state == STATE_OPAQUE;
    status.reason = status.opaque ? parser->reason : NULL;
    return status;
}

const struct ram_block *multifd_parser_block(const struct multifd_parser *parser, uint32_t index)
{
    return &parser->blocks.list[index];
}

/* From here on everything passes as it is, beginning with the `size` bytes at hand. */
static size_t parser_unknown(struct multifd_parser *parser, size_t size, const char *what,
                             uint64_t value)
{
    snprintf(parser->reason, sizeof(parser->reason), "%s 0x%" PRIx64 " at byte %" PRIu64, what,
             value, parser->splitter.offset);
    parser->state = STATE_OPAQUE;
    return size;
}

static bool parser_is_ours(const uint8_t *bytes)
{
    return bytes_get32(bytes) == MULTIFD_MAGIC && bytes_get32(bytes + 4) == MULTIFD_VERSION;
}

static size_t parser_greeting(struct multifd_parser *parser, const uint8_t *bytes, size_t size)
{
    if (size < MULTIFD_GREETING_SIZE)
        return MULTIFD_GREETING_SIZE;
    if (!parser_is_ours(bytes))
        return parser_unknown(parser, size, "a channel with magic and version", bytes_get64(bytes));
    parser->status.channel = bytes[24];
    parser->state = STATE_PACKET;
    return MULTIFD_GREETING_SIZE;
}

static size_t parser_device_state(struct multifd_parser *parser, const uint8_t *bytes, size_t size)
{
    if (size < MULTIFD_DEVICE_SIZE)
        return MULTIFD_DEVICE_SIZE;
    parser->splitter.skip = bytes_get32(bytes + 272);
    parser->status.packets++;
    return MULTIFD_DEVICE_SIZE;
}

/* Whether all pages' addresses begin a page. */
static bool parser_list_is_good(const uint8_t *list, uint32_t pages)
{
    for (uint32_t i = 0; i < pages; i++)
        if (bytes_get64(list + (size_t)8 * i) % RAM_PAGE_SIZE != 0)
            return false;
    return true;
}

/* Finds the block that a packet names, or adds it. */
static bool parser_take_block(struct multifd_parser *parser, const uint8_t *packet)
{
    const uint8_t *name = packet + MULTIFD_NAME_AT;
    size_t length = strnlen((const char *)name, MULTIFD_NAME_SIZE);
    if (ram_blocks_find(&parser->blocks, name, length, &parser->block))
        return true;
    parser->block = parser->blocks.count;
    return ram_blocks_add(&parser->blocks, name, length, 0);
}

/* A packet's pages come one by one, unless QEMU compressed them. */
static size_t parser_pages(struct multifd_parser *parser, const uint8_t *bytes, size_t size)
{
    uint32_t pages = bytes_get32(bytes + 16);
    uint32_t zeros = bytes_get32(bytes + 32);
    uint32_t follow = bytes_get32(bytes + 20);
    if (pages > MULTIFD_PAGES_MAX || zeros > MULTIFD_PAGES_MAX - pages ||
        bytes_get32(bytes + 12) > MULTIFD_PAGES_MAX)
        return parser_unknown(parser, size, "a packet with too many pages, number",
                              bytes_get64(bytes + 24));
    if (pages > 0 && (bytes_get32(bytes + 8) & MULTIFD_COMPRESSION) != 0)
        parser->splitter.skip = follow;
    else if (pages > 0) {
        if (follow != pages * RAM_PAGE_SIZE)
            return parser_unknown(parser, size, "a packet whose pages are not plain, size", follow);
        if (!parser_take_block(parser, bytes) ||
            !parser_list_is_good(bytes + MULTIFD_LIST_AT, pages))
            return parser_unknown(parser, size, "a packet with a broken list, number",
                                  bytes_get64(bytes + 24));
        memcpy(parser->list, bytes + MULTIFD_LIST_AT, sizeof(parser->list));
        parser->pages = pages;
        parser->page = 0;
        parser->state = STATE_PAGES;
    }
    parser->status.zero_pages += zeros;
    return MULTIFD_HEADER_SIZE;
}

static size_t parser_packet(struct multifd_parser *parser, const uint8_t *bytes, size_t size)
{
    if (size < 12)
        return 12;
    uint32_t flags = bytes_get32(bytes + 8);
    if (!parser_is_ours(bytes) || (flags & ~(uint32_t)MULTIFD_FLAGS) != 0)
        return parser_unknown(parser, size, "a packet with magic and version", bytes_get64(bytes));
    if (flags & MULTIFD_DEVICE_STATE)
        return parser_device_state(parser, bytes, size);
    if (size < MULTIFD_HEADER_SIZE)
        return MULTIFD_HEADER_SIZE;
    size_t taken = parser_pages(parser, bytes, size);
    parser->status.packets++;
    if (flags & MULTIFD_SYNC)
        parser->status.syncs++;
    return taken;
}

static size_t parser_page(struct multifd_parser *parser, const uint8_t *bytes, size_t size,
                          struct ram_token *token)
{
    if (size < RAM_PAGE_SIZE)
        return RAM_PAGE_SIZE;
    token->kind = RAM_PAGE;
    token->block = parser->block;
    token->address = bytes_get64(parser->list + (size_t)8 * parser->page);
    token->page = bytes;
    if (++parser->page == parser->pages)
        parser->state = STATE_PACKET;
    return RAM_PAGE_SIZE;
}

static size_t parser_item(void *context, const uint8_t *bytes, size_t size, struct ram_token *token)
{
    struct multifd_parser *parser = context;
    switch (parser->state) {
    case STATE_PAGES:
        return parser_page(parser, bytes, size, token);
    case STATE_PACKET:
        return parser_packet(parser, bytes, size);
    case STATE_GREETING:
        return parser_greeting(parser, bytes, size);
    case STATE_OPAQUE:
        break;
    }
    return size;
}

int multifd_parser_feed(struct multifd_parser *parser, const uint8_t *bytes, size_t size,
                        ram_token_fn *emit, void *context, struct error **err)
{
    return splitter_feed(&parser->splitter, parser_item, parser, bytes, size, emit, context, err);
}

int multifd_parser_finish(struct multifd_parser *parser, ram_token_fn *emit, void *context,
                          struct error **err)
{
    if (parser->splitter.held_size > 0)
        parser_unknown(parser, 0, "the end in the middle of an item, bytes of it",
                       parser->splitter.held_size);
    return splitter_finish(&parser->splitter, emit, context, err);
}
