/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Splits QEMU's migration stream into RAM pages and everything else.
 *
 * Theory of operation. One function for each state looks at the next item (a header, a section's
 * head, a record with its page, ...): parser_STATE(parser, bytes, size, token) keeps the contract
 * of splitter_item_fn, see there.
 *
 * Layouts come from QEMU's migration/savevm.c and migration/ram.c, 7.2 to 10.0:
 *
 *   stream:   magic version [configuration] { section | command } [0 ...]
 *   section:  START id name instance version | PART id | END id, records, [FOOTER id]
 *   command:  COMMAND number length payload; PACKAGED's payload is the size of what follows it
 *
 * FULL is device state, of a size that only the device's model knows: see parser_full().
 */
#include "stream/ram_parser.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "stream/splitter.h"

#define STREAM_MAGIC   0x5145564du /* "QEVM" */
#define STREAM_VERSION 3

/* The first byte of everything between two sections' contents. */
#define SECTION_EOF           0x00
#define SECTION_START         0x01
#define SECTION_END           0x03
#define SECTION_FULL          0x04
#define SECTION_SUBSECTION    0x05
#define SECTION_CONFIGURATION 0x07
#define SECTION_COMMAND       0x08

#define RAM_SECTION_VERSION 4

#define COMMAND_FIRST    1 /* open the return path */
#define COMMAND_PACKAGED 7
#define COMMAND_COLO     8  /* a protocol of its own */
#define COMMAND_LAST     11 /* the switchover starts, from 10.0; 10 asks for a bitmap */

#define TARGET_PAGE_BITS 12
#define COMPRESSED_MAX   (RAM_PAGE_SIZE + 64) /* zlib's compressBound() adds 14 to a page */

enum parser_state {
    STATE_HEADER,
    STATE_CONFIGURATION, /* or the first section */
    STATE_SECTION,
    STATE_SUBSECTION,   /* of the configuration, or the next section */
    STATE_CAPABILITIES, /* names in the configuration's list */
    STATE_BLOCKS,
    STATE_RECORD,
    STATE_FOOTER, /* or the next section */
    STATE_OPAQUE,
};

struct ram_parser {
    enum parser_state state, opaque_since; /* the state in which it became opaque */
    enum ram_phase phase;
    bool has_section; /* section_id is known */
    bool has_footer;  /* sections end with one */
    bool extra_next;  /* a number more on the block may follow, see parser_is_extra() */
    uint32_t section_id;
    uint32_t capabilities; /* names still to come */
    uint64_t ram_left;     /* of the sum of all blocks' sizes, while they are listed */
    struct ram_blocks blocks;
    uint32_t block; /* of the latest record */
    bool has_block; /* there was one */
    bool has_list;  /* the list of blocks has passed */
    struct splitter splitter;
    char reason[160];
};

struct ram_parser *ram_parser_new(void)
{
    return calloc(1, sizeof(struct ram_parser));
}

void ram_parser_free(struct ram_parser *parser)
{
    if (!parser)
        return;
    ram_blocks_clear(&parser->blocks);
    free(parser);
}

enum ram_phase ram_parser_phase(const struct ram_parser *parser)
{
    return parser->phase;
}

bool ram_parser_is_opaque(const struct ram_parser *parser)
{
    return parser->state == STATE_OPAQUE;
}

const char *ram_parser_reason(const struct ram_parser *parser)
{
    return parser->phase == RAM_PHASE_UNKNOWN ? parser->reason : NULL;
}

uint32_t ram_parser_blocks(const struct ram_parser *parser)
{
    return parser->blocks.count;
}

const struct ram_block *ram_parser_block(const struct ram_parser *parser, uint32_t index)
{
    return &parser->blocks.list[index];
}

enum ram_place ram_parser_place(const struct ram_parser *parser)
{
    if (parser->splitter.skip)
        return RAM_PLACE_OTHER;
    switch (parser->state == STATE_OPAQUE ? parser->opaque_since : parser->state) {
    case STATE_SECTION:
        return RAM_PLACE_SECTIONS;
    case STATE_RECORD:
        return parser->extra_next ? RAM_PLACE_OTHER : RAM_PLACE_RECORDS;
    case STATE_FOOTER:
        return RAM_PLACE_FOOTER;
    default:
        return RAM_PLACE_OTHER;
    }
}

uint32_t ram_parser_section(const struct ram_parser *parser)
{
    return parser->section_id;
}

bool ram_parser_has_footers(const struct ram_parser *parser)
{
    return parser->has_footer;
}

/* From here on everything passes as it is, beginning with the `size` bytes at hand. */
static size_t parser_opaque(struct ram_parser *parser, enum ram_phase phase, size_t size)
{
    parser->opaque_since = parser->state;
    parser->state = STATE_OPAQUE;
    parser->phase = phase;
    return size;
}

/* The same because of something unknown. */
static size_t parser_unknown(struct ram_parser *parser, size_t size, const char *what,
                             uint64_t value)
{
    snprintf(parser->reason, sizeof(parser->reason), "%s 0x%" PRIx64 " at byte %" PRIu64, what,
             value, parser->splitter.offset);
    return parser_opaque(parser, RAM_PHASE_UNKNOWN, size);
}

static size_t parser_header(struct ram_parser *parser, const uint8_t *bytes, size_t size)
{
    if (size < 8)
        return 8;
    if (bytes_get32(bytes) != STREAM_MAGIC)
        return parser_unknown(parser, size, "a stream with magic", bytes_get32(bytes));
    if (bytes_get32(bytes + 4) != STREAM_VERSION)
        return parser_unknown(parser, size, "a stream of version", bytes_get32(bytes + 4));
    parser->state = STATE_CONFIGURATION;
    return 8;
}

static bool name_is(const uint8_t *name, size_t length, const char *expected)
{
    return length == strlen(expected) && memcmp(name, expected, length) == 0;
}

/* Type, id, length, name, instance, version; records follow when it is the RAM. */
static size_t parser_start(struct ram_parser *parser, const uint8_t *bytes, size_t size)
{
    if (size < 6)
        return 6;
    size_t length = bytes[5];
    size_t need = 6 + length + 8;
    if (size < need)
        return need;
    uint32_t version = bytes_get32(bytes + 6 + length + 4);
    if (parser->has_section || !name_is(bytes + 6, length, "ram"))
        return parser_unknown(parser, size, "a section other than RAM, id", bytes_get32(bytes + 1));
    if (version != RAM_SECTION_VERSION)
        return parser_unknown(parser, size, "a RAM section of version", version);
    parser->section_id = bytes_get32(bytes + 1);
    parser->has_section = true;
    parser->state = STATE_RECORD;
    return need;
}

static size_t parser_part(struct ram_parser *parser, const uint8_t *bytes, size_t size)
{
    if (size < 5)
        return 5;
    uint32_t id = bytes_get32(bytes + 1);
    if (!parser->has_section || id != parser->section_id)
        return parser_unknown(parser, size, "a part of an unknown section, id", id);
    if (bytes[0] == SECTION_END && parser->phase == RAM_PHASE_COPY)
        parser->phase = RAM_PHASE_FINAL;
    parser->state = STATE_RECORD;
    return 5;
}

/*
 * Device state. After the end of RAM it is the last thing in a pre-copy stream (but for the end
 * mark and a description, both without use for us). Before it, as some devices do, it costs us the
 * sight of the rest.
 */
static size_t parser_full(struct ram_parser *parser, size_t size)
{
    if (parser->phase == RAM_PHASE_FINAL)
        return parser_opaque(parser, RAM_PHASE_DEVICES, size);
    return parser_unknown(parser, size, "device state before the RAM's, type", SECTION_FULL);
}

/* Type, number, length of the payload; a package's payload is its size. */
static size_t parser_command(struct ram_parser *parser, const uint8_t *bytes, size_t size)
{
    if (size < 5)
        return 5;
    uint16_t command = bytes_get16(bytes + 1);
    uint16_t length = bytes_get16(bytes + 3);
    if (command < COMMAND_FIRST || command > COMMAND_LAST || command == COMMAND_COLO)
        return parser_unknown(parser, size, "command", command);
    if (command != COMMAND_PACKAGED) {
        parser->splitter.skip = length;
        return 5;
    }
    if (length != 4)
        return parser_unknown(parser, size, "a package whose size has a length of", length);
    if (size < 9)
        return 9;
    parser->splitter.skip = bytes_get32(bytes + 5);
    parser->phase = RAM_PHASE_POST_COPY;
    return 9;
}

static size_t parser_section(struct ram_parser *parser, const uint8_t *bytes, size_t size)
{
    parser->state = STATE_SECTION;
    switch (bytes[0]) {
    case SECTION_START:
        return parser_start(parser, bytes, size);
    case RAM_SECTION_PART:
    case SECTION_END:
        return parser_part(parser, bytes, size);
    case SECTION_FULL:
        return parser_full(parser, size);
    case SECTION_COMMAND:
        return parser_command(parser, bytes, size);
    case SECTION_EOF:
        if (parser->phase != RAM_PHASE_POST_COPY)
            break;
        return parser_opaque(parser, RAM_PHASE_DONE, size);
    default:
        break;
    }
    return parser_unknown(parser, size, "a section of type", bytes[0]);
}

/* Type, length of the machine's name; the name and perhaps subsections follow. */
static size_t parser_configuration(struct ram_parser *parser, const uint8_t *bytes, size_t size)
{
    if (bytes[0] != SECTION_CONFIGURATION)
        return parser_section(parser, bytes, size);
    if (size < 5)
        return 5;
    parser->splitter.skip = bytes_get32(bytes + 1);
    parser->state = STATE_SUBSECTION;
    return 5;
}

/* Type, length, name, version; its contents have no length, so only those we know can be passed. */
static size_t parser_subsection(struct ram_parser *parser, const uint8_t *bytes, size_t size)
{
    if (bytes[0] != SECTION_SUBSECTION)
        return parser_section(parser, bytes, size);
    if (size < 2)
        return 2;
    size_t length = bytes[1];
    size_t need = 2 + length + 4;
    if (size < need)
        return need;
    if (name_is(bytes + 2, length, "configuration/uuid")) {
        parser->splitter.skip = 16;
        return need;
    }
    bool bits = name_is(bytes + 2, length, "configuration/target-page-bits");
    if (!bits && !name_is(bytes + 2, length, "configuration/capabilities"))
        return parser_unknown(parser, size, "a subsection of the configuration, length", length);
    if (size < need + 4)
        return need + 4;
    uint32_t value = bytes_get32(bytes + need);
    if (bits && value != TARGET_PAGE_BITS)
        return parser_unknown(parser, size, "pages whose size in bits is", value);
    if (!bits && value > 0) {
        parser->capabilities = value;
        parser->state = STATE_CAPABILITIES;
    }
    return need + 4;
}

static size_t parser_capability(struct ram_parser *parser, const uint8_t *bytes, size_t size)
{
    size_t need = 1 + (size_t)bytes[0];
    if (size >= need && --parser->capabilities == 0)
        parser->state = STATE_SUBSECTION;
    return need;
}

/*
 * After a block's entry QEMU may write one more number: the size of its pages, when post-copy is on
 * and they are huge, or its guest address, when shared RAM stays behind. Nothing announces it, but
 * it cannot be mistaken: its low twelve bits are zero, which no record's are, and its first byte is
 * zero, which the length of the next block's name is not.
 */
static bool parser_is_extra(struct ram_parser *parser, const uint8_t *bytes)
{
    return parser->extra_next && bytes[0] == 0 && bytes_get64(bytes) % RAM_PAGE_SIZE == 0;
}

/* Length, name, size. */
static size_t parser_listed(struct ram_parser *parser, const uint8_t *bytes, size_t size)
{
    size_t length = bytes[0];
    size_t need = length == 0 ? 8 : 1 + length + 8;
    if (size < need)
        return need;
    if (length == 0) {
        if (!parser_is_extra(parser, bytes))
            return parser_unknown(parser, size, "in the list of blocks", bytes_get64(bytes));
        parser->extra_next = false;
        return need;
    }
    uint64_t block_size = bytes_get64(bytes + 1 + length);
    if (block_size > parser->ram_left)
        return parser_unknown(parser, size, "a block beyond the sum of all, size", block_size);
    if (!ram_blocks_add(&parser->blocks, bytes + 1, length, block_size))
        return parser_unknown(parser, size, "one block too many or twice, size", block_size);
    parser->ram_left -= block_size;
    parser->extra_next = true;
    if (parser->ram_left == 0)
        parser->state = STATE_RECORD;
    return need;
}

/* What a record about one page has after its header, at least; 0 for other records. */
static size_t record_body(uint64_t kind)
{
    switch (kind) {
    case RAM_RECORD_PAGE:
        return RAM_PAGE_SIZE;
    case RAM_RECORD_ZERO:
        return 1;
    case RAM_RECORD_XBZRLE:
        return 3;
    case RAM_RECORD_COMPRESSED:
        return 4;
    default:
        return 0;
    }
}

/* Fills the token of a record of `kind` whose body is at `body`, and knows what follows it. Returns
 * false if the body is nothing that QEMU writes. */
static bool parser_take_page(struct ram_parser *parser, uint64_t kind, const uint8_t *body,
                             struct ram_token *token)
{
    switch (kind) {
    case RAM_RECORD_PAGE:
        token->kind = RAM_PAGE;
        token->page = body;
        return true;
    case RAM_RECORD_ZERO:
        token->kind = RAM_ZERO;
        token->fill = body[0];
        return true;
    case RAM_RECORD_XBZRLE:
        parser->splitter.skip = bytes_get16(body + 1);
        return body[0] == 1 && parser->splitter.skip <= RAM_PAGE_SIZE;
    default:
        parser->splitter.skip = bytes_get32(body);
        return parser->splitter.skip <= COMPRESSED_MAX;
    }
}

/* A record about one page. */
static size_t parser_page(struct ram_parser *parser, const uint8_t *bytes, size_t size,
                          struct ram_token *token)
{
    uint64_t word = bytes_get64(bytes);
    uint64_t kind = word % RAM_PAGE_SIZE & ~(uint64_t)RAM_RECORD_CONTINUE;
    bool named = !(word & RAM_RECORD_CONTINUE);
    if (named && size < 9)
        return 9;
    size_t header = named ? 9 + (size_t)bytes[8] : 8;
    size_t need = header + record_body(kind);
    if (size < need)
        return need;
    if (named)
        parser->has_block = ram_blocks_find(&parser->blocks, bytes + 9, bytes[8], &parser->block);
    if (!parser->has_block)
        return parser_unknown(parser, size, "a page of an unknown block, word", word);
    uint64_t address = word - word % RAM_PAGE_SIZE;
    uint64_t block_size = parser->blocks.list[parser->block].size;
    if (block_size < RAM_PAGE_SIZE || address > block_size - RAM_PAGE_SIZE)
        return parser_unknown(parser, size, "a page beyond its block, word", word);
    token->block = parser->block;
    token->named = named;
    token->address = address;
    if (!parser_take_page(parser, kind, bytes + header, token)) {
        parser->splitter.skip = 0;
        return parser_unknown(parser, size, "a broken page, word", word);
    }
    parser->extra_next = false;
    return need;
}

static size_t parser_record(struct ram_parser *parser, const uint8_t *bytes, size_t size,
                            struct ram_token *token)
{
    if (size < 8)
        return 8;
    uint64_t word = bytes_get64(bytes);
    uint64_t flags = word % RAM_PAGE_SIZE;
    if (record_body(flags & ~(uint64_t)RAM_RECORD_CONTINUE) > 0)
        return parser_page(parser, bytes, size, token);
    if (parser_is_extra(parser, bytes)) {
        parser->extra_next = false;
        return 8;
    }
    if (flags == RAM_RECORD_EOS) {
        token->mark = RAM_MARK_END;
        parser->state = STATE_FOOTER;
    } else if (flags == RAM_RECORD_MEM_SIZE && !parser->has_list) {
        parser->has_list = true;
        parser->ram_left = word - flags;
        parser->state = parser->ram_left > 0 ? STATE_BLOCKS : STATE_RECORD;
    } else if (flags == RAM_RECORD_MULTIFD_FLUSH)
        token->mark = RAM_MARK_FLUSH;
    else
        return parser_unknown(parser, size, "a record with word", word);
    parser->extra_next = false;
    return 8;
}

/* Type, section's id. Old machine types have none. */
static size_t parser_footer(struct ram_parser *parser, const uint8_t *bytes, size_t size,
                            struct ram_token *token)
{
    if (bytes[0] != RAM_SECTION_FOOTER)
        return parser_section(parser, bytes, size);
    if (size < 5)
        return 5;
    if (bytes_get32(bytes + 1) != parser->section_id)
        return parser_unknown(parser, size, "a footer of section", bytes_get32(bytes + 1));
    parser->has_footer = true;
    parser->state = STATE_SECTION;
    token->mark = RAM_MARK_FOOTER;
    return 5;
}

static size_t parser_state_item(struct ram_parser *parser, const uint8_t *bytes, size_t size,
                                struct ram_token *token)
{
    switch (parser->state) {
    case STATE_RECORD:
        return parser_record(parser, bytes, size, token);
    case STATE_HEADER:
        return parser_header(parser, bytes, size);
    case STATE_CONFIGURATION:
        return parser_configuration(parser, bytes, size);
    case STATE_SUBSECTION:
        return parser_subsection(parser, bytes, size);
    case STATE_CAPABILITIES:
        return parser_capability(parser, bytes, size);
    case STATE_SECTION:
        return parser_section(parser, bytes, size);
    case STATE_FOOTER:
        return parser_footer(parser, bytes, size, token);
    case STATE_BLOCKS:
        return parser_listed(parser, bytes, size);
    case STATE_OPAQUE:
        break;
    }
    return size;
}

/* The next item, see the top of this file. `size` is at least 1. */
static size_t parser_item(void *context, const uint8_t *bytes, size_t size, struct ram_token *token)
{
    struct ram_parser *parser = context;
    const enum parser_state before = parser->state;
    const size_t taken = parser_state_item(parser, bytes, size, token);
    if (parser->state != before && before != STATE_BLOCKS &&
        (parser->state == STATE_RECORD || parser->state == STATE_OPAQUE))
        token->mark = RAM_MARK_SECTION;
    return taken;
}

int ram_parser_feed(struct ram_parser *parser, const uint8_t *bytes, size_t size,
                    ram_token_fn *emit, void *context, struct error **err)
{
    return splitter_feed(&parser->splitter, parser_item, parser, bytes, size, emit, context, err);
}

void ram_parser_set_opaque(struct ram_parser *parser)
{
    parser->state = STATE_OPAQUE;
    parser->phase = RAM_PHASE_UNKNOWN;
}

const uint8_t *ram_parser_held(const struct ram_parser *parser, size_t *size)
{
    *size = parser->splitter.held_size;
    return parser->splitter.held;
}

int ram_parser_finish(struct ram_parser *parser, ram_token_fn *emit, void *context,
                      struct error **err)
{
    if (parser->splitter.held_size > 0)
        parser_unknown(parser, 0, "the end in the middle of an item, bytes of it",
                       parser->splitter.held_size);
    return splitter_finish(&parser->splitter, emit, context, err);
}
