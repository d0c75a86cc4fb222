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
#define MULTIFD_DEVICE_SIZE   276
#define MULTIFD_KIND_SIZE     12 /* a packet's beginning, which tells what it is */

#define MULTIFD_SYNC         0x01
#define MULTIFD_COMPRESSION  0x3e /* how; 0 is not at all */
#define MULTIFD_DEVICE_STATE 0x40
#define MULTIFD_FLAGS        (MULTIFD_SYNC | MULTIFD_COMPRESSION | MULTIFD_DEVICE_STATE)

enum multifd_state {
    STATE_GREETING,
    STATE_PACKET,
    STATE_ZEROS,
    STATE_PAGES,
    STATE_OPAQUE,
};

struct multifd_parser {
    enum multifd_state state;
    struct multifd_status status;
    uint32_t pages;  /* of the packet at hand */
    uint32_t page;   /* the next of them */
    uint32_t zeros;  /* of its zero pages, those still to come */
    uint32_t behind; /* its list has so many bytes more behind them */
    uint32_t packed; /* and then follow so many that are not pages as they are */
    uint32_t block;
    uint8_t list[8 * MULTIFD_PAGES_MAX]; /* the pages' addresses */
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

static size_t parser_device_state(struct multifd_parser *parser, const uint8_t *bytes)
{
    parser->splitter.skip = bytes_get32(bytes + 272);
    parser->status.packets++;
    parser->status.packed++;
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

/* Its zero pages have passed. */
static void parser_end_list(struct multifd_parser *parser)
{
    parser->splitter.skip = (uint64_t)parser->behind + parser->packed;
    parser->state = parser->page < parser->pages ? STATE_PAGES : STATE_PACKET;
}

/* What a packet of pages says of them, `bytes` up to the end of the pages' part of the list; with
 * reason, and false, when that cannot be. */
static bool parser_take_pages(struct multifd_parser *parser, const uint8_t *bytes, size_t size)
{
    const uint32_t pages = bytes_get32(bytes + 16), follow = bytes_get32(bytes + 20);
    const uint64_t number = bytes_get64(bytes + 24);
    const bool packed = bytes_get32(bytes + 8) & MULTIFD_COMPRESSION;
    parser->zeros = bytes_get32(bytes + 32);
    if (pages && !packed && follow != pages * RAM_PAGE_SIZE) {
        parser_unknown(parser, size, "a packet whose pages are not plain, size", follow);
        return false;
    }
    if ((pages || parser->zeros) && !parser_take_block(parser, bytes)) {
        parser_unknown(parser, size, "a packet with a broken block, number", number);
        return false;
    }
    if (!parser_list_is_good(bytes + MULTIFD_LIST_AT, pages)) {
        parser_unknown(parser, size, "a packet with a broken list, number", number);
        return false;
    }
    memcpy(parser->list, bytes + MULTIFD_LIST_AT, (size_t)8 * pages);
    parser->behind = 8 * (MULTIFD_PAGES_MAX - pages - parser->zeros);
    parser->page = 0;
    parser->pages = packed ? 0 : pages;
    parser->packed = pages && packed ? follow : 0;
    parser->status.packed += pages && packed;
    return true;
}

/* How far a packet goes, as far as `size` bytes of it tell: to its pages' part of the list. */
static size_t packet_head(const uint8_t *bytes, size_t size)
{
    if (size < MULTIFD_KIND_SIZE)
        return MULTIFD_KIND_SIZE;
    if (bytes_get32(bytes + 8) & MULTIFD_DEVICE_STATE)
        return MULTIFD_DEVICE_SIZE;
    if (size < MULTIFD_LIST_AT)
        return MULTIFD_LIST_AT;
    const uint32_t pages = bytes_get32(bytes + 16);
    return MULTIFD_LIST_AT + (size_t)8 * (pages < MULTIFD_PAGES_MAX ? pages : MULTIFD_PAGES_MAX);
}

static size_t parser_packet(struct multifd_parser *parser, const uint8_t *bytes, size_t size)
{
    const size_t need = packet_head(bytes, size);
    if (size < MULTIFD_KIND_SIZE)
        return need;
    const uint32_t flags = bytes_get32(bytes + 8);
    if (!parser_is_ours(bytes) || (flags & ~(uint32_t)MULTIFD_FLAGS) != 0)
        return parser_unknown(parser, size, "a packet with magic and version", bytes_get64(bytes));
    if (size < MULTIFD_LIST_AT && size < need)
        return need;
    if (flags & MULTIFD_DEVICE_STATE)
        return parser_device_state(parser, bytes);
    const uint32_t pages = bytes_get32(bytes + 16), zeros = bytes_get32(bytes + 32);
    if (pages > MULTIFD_PAGES_MAX || zeros > MULTIFD_PAGES_MAX - pages ||
        bytes_get32(bytes + 12) > MULTIFD_PAGES_MAX)
        return parser_unknown(parser, size, "a packet with too many pages, number",
                              bytes_get64(bytes + 24));
    if (size < need)
        return need;
    if (!parser_take_pages(parser, bytes, size))
        return size;
    parser->status.packets++;
    if (flags & MULTIFD_SYNC)
        parser->status.syncs++;
    if (zeros)
        parser->state = STATE_ZEROS;
    else
        parser_end_list(parser);
    return need;
}

static size_t parser_zero(struct multifd_parser *parser, const uint8_t *bytes, size_t size,
                          struct ram_token *token)
{
    if (size < 8)
        return 8;
    const uint64_t address = bytes_get64(bytes);
    if (address % RAM_PAGE_SIZE != 0)
        return parser_unknown(parser, size, "a zero page at address", address);
    token->kind = RAM_ZERO;
    token->block = parser->block;
    token->address = address;
    if (--parser->zeros == 0)
        parser_end_list(parser);
    return 8;
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

bool multifd_parser_between(const struct multifd_parser *parser)
{
    return parser->state == STATE_PACKET && !parser->splitter.skip && !parser->splitter.held_size;
}

size_t multifd_parser_rest(const struct multifd_parser *parser)
{
    const size_t held = parser->splitter.held_size;
    const size_t pages = (size_t)(parser->pages - parser->page) * RAM_PAGE_SIZE;
    switch (parser->state) {
    case STATE_GREETING:
        return MULTIFD_GREETING_SIZE - held;
    case STATE_PACKET:
        if (parser->splitter.skip)
            return (size_t)parser->splitter.skip;
        return packet_head(parser->splitter.held, held) - held;
    case STATE_ZEROS:
        return (size_t)8 * parser->zeros + parser->behind + parser->packed + pages - held;
    case STATE_PAGES:
        return (size_t)parser->splitter.skip + pages - held;
    case STATE_OPAQUE:
        break;
    }
    return SIZE_MAX;
}

static size_t parser_item(void *context, const uint8_t *bytes, size_t size, struct ram_token *token)
{
    struct multifd_parser *parser = context;
    switch (parser->state) {
    case STATE_PAGES:
        return parser_page(parser, bytes, size, token);
    case STATE_ZEROS:
        return parser_zero(parser, bytes, size, token);
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
