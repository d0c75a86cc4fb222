/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Splits what QEMU writes into one multifd channel into pages and everything else.
 *
 * A channel says who it is, then sends packets: which pages of which block follow, and which are
 * zero, then the pages. Pages of packets that QEMU compressed itself and packets of device state
 * stay RAM_OTHER. As for the main channel (ram_parser.h) the tokens put together are the input, cut
 * wherever it may be, and what is not known makes the rest of the channel RAM_OTHER.
 *
 * Layouts: QEMU 7.2 (pages_used) to 10.0 (zero pages, device state), x86 (pages of 4 KiB).
 */
#ifndef STREAM_MULTIFD_PARSER_H
#define STREAM_MULTIFD_PARSER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "stream/ram_blocks.h"
#include "stream/ram_token.h"

struct multifd_parser;

struct multifd_status {
    uint64_t packets;
    uint64_t packed;    /* of them those that hold pages or state as RAM_OTHER */
    uint64_t syncs;     /* packets behind which QEMU waits for all channels */
    unsigned channel;   /* its number, from 0 */
    bool opaque;        /* everything from here to the end is RAM_OTHER */
    const char *reason; /* why; NULL unless opaque */
};

/*
 * For one channel, from its first byte on. A RAM_PAGE is the page alone, without a header; a
 * RAM_ZERO (QEMU 9.0 and newer) its address in the packet's list. The block's size is not known
 * here, so whoever uses the address must check it. Returns NULL when memory is out.
 */
struct multifd_parser *multifd_parser_new(void);
void multifd_parser_free(struct multifd_parser *parser);

/* See ram_parser_feed() and ram_parser_finish(). */
int multifd_parser_feed(struct multifd_parser *parser, const uint8_t *bytes, size_t size,
                        ram_token_fn *token, void *context, struct error **err);
int multifd_parser_finish(struct multifd_parser *parser, ram_token_fn *token, void *context,
                          struct error **err);

struct multifd_status multifd_parser_status(const struct multifd_parser *parser);

/* How many bytes more the packet at hand has at least: with pieces that are no larger, nothing of
 * the next one has been fed. Of a packet that is complete: those that tell what the next one is. */
size_t multifd_parser_rest(const struct multifd_parser *parser);
/* Nothing of another packet was fed behind the last one. */
bool multifd_parser_between(const struct multifd_parser *parser);

/* The blocks that this channel has named so far, in the order in which it did. */
const struct ram_block *multifd_parser_block(const struct multifd_parser *parser, uint32_t index);

static inline void cleanup_multifd_parser_function(struct multifd_parser **parser)
{
    multifd_parser_free(*parser);
}
#define CLEANUP_MULTIFD_PARSER CLEANUP(cleanup_multifd_parser_function)

#endif
