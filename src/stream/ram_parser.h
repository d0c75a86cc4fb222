/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Splits QEMU's migration stream into RAM pages and everything else.
 *
 * The stream comes in pieces that are cut anywhere; tokens go out through a callback. All tokens'
 * bytes one after the other are exactly the bytes that went in: whatever the parser does not know,
 * it passes on. It never searches for something that looks like a page: it reads what it knows the
 * layout of, and from the first thing without a known length on everything is RAM_OTHER. In
 * pre-copy that is the state of the devices, which comes after all RAM; in post-copy that state
 * travels in a package of known length, and pages follow after it.
 *
 * Layouts: QEMU 7.2 to 10.0, x86 (pages of 4 KiB), the main channel. A stream that breaks the rules
 * is no error here: it is passed on, and the QEMU at the other end says what is wrong with it.
 */
#ifndef STREAM_RAM_PARSER_H
#define STREAM_RAM_PARSER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "stream/ram_blocks.h"
#include "stream/ram_token.h"

/* Where the stream is. */
enum ram_phase {
    RAM_PHASE_COPY,      /* header, then rounds of pre-copy */
    RAM_PHASE_FINAL,     /* the last pages of pre-copy: the guest is stopped */
    RAM_PHASE_DEVICES,   /* pre-copy's device state: opaque to the end, as it must be */
    RAM_PHASE_POST_COPY, /* the package has begun: the guest runs, or soon will, at the other end */
    RAM_PHASE_DONE,      /* post-copy's end mark has passed */
    RAM_PHASE_UNKNOWN,   /* met something unknown: opaque to the end, see ram_parser_reason() */
};

/* What QEMU's loader awaits behind the tokens that were handed out. */
enum ram_place {
    RAM_PLACE_OTHER,    /* also what may follow the list of blocks */
    RAM_PLACE_SECTIONS, /* a section, or a command */
    RAM_PLACE_RECORDS,  /* a record, in a section of RAM */
    RAM_PLACE_FOOTER,   /* the footer of such a section */
};

struct ram_parser;

/*
 * For one stream, from its first byte on. A page's address is below its block's size. The headers
 * of RAM_PAGE and RAM_ZERO are exactly what ram_record_header() makes of RAM_RECORD_PAGE or
 * RAM_RECORD_ZERO, the address, and, if `named`, the block's name. Returns NULL when memory is out.
 */
struct ram_parser *ram_parser_new(void);
/* Before its first byte: it is the middle of a stream, so that everything is RAM_OTHER. */
void ram_parser_set_opaque(struct ram_parser *parser);
void ram_parser_free(struct ram_parser *parser);

/*
 * Takes the next `size` bytes and hands out the tokens that are complete. A record that lies whole
 * in `bytes` is handed out in place; one that is cut is gathered inside. What is not handed out
 * when it returns is the beginning of something QEMU has not written whole yet, less than one
 * record. Returns 0, or -1 with the callback's error; the parser is of no use then.
 */
int ram_parser_feed(struct ram_parser *parser, const uint8_t *bytes, size_t size,
                    ram_token_fn *token, void *context, struct error **err);

/* What is held: borrowed until the next call. */
const uint8_t *ram_parser_held(const struct ram_parser *parser, size_t *size);

/* The stream has ended: hands out what is held, if it ended in the middle of something. Feeding
 * goes on as RAM_OTHER only, when something was held. */
int ram_parser_finish(struct ram_parser *parser, ram_token_fn *token, void *context,
                      struct error **err);

enum ram_phase ram_parser_phase(const struct ram_parser *parser);

/* Once the stream is opaque: where that began. */
enum ram_place ram_parser_place(const struct ram_parser *parser);
/* The id of RAM's sections, which pages come in. */
uint32_t ram_parser_section(const struct ram_parser *parser);
/* Sections end with a footer, as those have that came before the first page. */
bool ram_parser_has_footers(const struct ram_parser *parser);

/* Everything from here to the end is RAM_OTHER. */
bool ram_parser_is_opaque(const struct ram_parser *parser);

/* In RAM_PHASE_UNKNOWN: what was met and where, for the log; NULL otherwise. */
const char *ram_parser_reason(const struct ram_parser *parser);

/* The guest's RAM blocks, in the order in which the stream lists them. They are known before the
 * first page, and do not change after it. */
uint32_t ram_parser_blocks(const struct ram_parser *parser);
const struct ram_block *ram_parser_block(const struct ram_parser *parser, uint32_t index);

static inline void cleanup_ram_parser_function(struct ram_parser **parser)
{
    ram_parser_free(*parser);
}
#define CLEANUP_RAM_PARSER CLEANUP(cleanup_ram_parser_function)

#endif
