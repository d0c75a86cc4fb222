/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cuts a stream that comes in pieces into items whose sizes follow from their first bytes.
 *
 * Theory of operation. A parser gives a function that looks at the next item: it returns the item's
 * size. If that is more than there is, it has changed nothing, and is called again with as many
 * bytes (which may show that still more is needed). Otherwise the item is consumed, and the token,
 * RAM_OTHER unless the function changes it, says what it is.
 *
 * So one function serves both an item that lies whole in the input, which is most of them and is
 * handed out where it is, and one that was cut: its beginning is kept in `held`, filled up to what
 * is needed, never beyond the item. What is long and uninteresting is not an item: the function
 * puts its size into `skip`, and it passes without being looked at. Bytes of RAM_OTHER that lie
 * side by side go out as one token, but for those that are marked.
 */
#ifndef STREAM_SPLITTER_H
#define STREAM_SPLITTER_H

#include "stream/ram_token.h"

#define SPLITTER_ITEM_MAX (RAM_RECORD_HEADER_MAX + RAM_PAGE_SIZE)

/* Starts with all zero. */
struct splitter {
    uint64_t skip;   /* bytes to pass on before the next item */
    uint64_t offset; /* of the next item in the stream, when its function is called */
    size_t held_size;
    uint8_t held[SPLITTER_ITEM_MAX];
};

/* `size` is at least 1. Returns the size of the item at `bytes`, 1 to SPLITTER_ITEM_MAX, or `size`
 * to pass on all there is. It never asks for less than it did when it saw less of the item. */
typedef size_t splitter_item_fn(void *parser, const uint8_t *bytes, size_t size,
                                struct ram_token *token);

/* See ram_parser_feed(). */
int splitter_feed(struct splitter *splitter, splitter_item_fn *item, void *parser,
                  const uint8_t *bytes, size_t size, ram_token_fn *emit, void *context,
                  struct error **err);

/* Hands out what is held, if anything, as RAM_OTHER. */
int splitter_finish(struct splitter *splitter, ram_token_fn *emit, void *context,
                    struct error **err);

#endif
