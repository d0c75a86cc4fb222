/* SPDX-License-Identifier: Apache-2.0 */
/* What the parsers of QEMU's streams hand out. */
#ifndef STREAM_RAM_TOKEN_H
#define STREAM_RAM_TOKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "stream/ram_record.h"

enum ram_token_kind {
    RAM_OTHER, /* bytes to pass on */
    RAM_PAGE,  /* perhaps a header, then a page of RAM_PAGE_SIZE bytes */
    RAM_ZERO,  /* a header that says that a page is full of one byte, then that byte */
};

/* What RAM_OTHER is the whole of, where that matters. */
enum ram_mark {
    RAM_MARK_NONE,
    RAM_MARK_SECTION, /* the head of a section of RAM, or what is unknown */
    RAM_MARK_FLUSH,   /* the record behind which QEMU waits for all multifd channels */
    RAM_MARK_END,     /* a section's last record */
    RAM_MARK_FOOTER,  /* a section's footer */
};

struct ram_token {
    enum ram_token_kind kind;
    const uint8_t *bytes; /* the whole token; valid during the callback */
    size_t size;

    enum ram_mark mark; /* RAM_OTHER only */

    /* RAM_PAGE and RAM_ZERO only. What stands before the page or byte is up to the parser. */
    uint32_t block;      /* index of the block in the parser's list */
    bool named;          /* false: the header says "same block as before" */
    uint64_t address;    /* in the block, bytes; a multiple of RAM_PAGE_SIZE */
    const uint8_t *page; /* RAM_PAGE: the page itself, at the end of `bytes`; any alignment */
    uint8_t fill;        /* RAM_ZERO: the byte, 0 in all that QEMU sends today */
};

/* Takes one token. Returns 0, or -1 with an error, which ends the parser's call with it. */
typedef int ram_token_fn(void *context, const struct ram_token *token, struct error **err);

#endif
