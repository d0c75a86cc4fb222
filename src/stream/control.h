/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Control bytes of a window: what the stream consists of, in order.
 *
 * An item is one byte, the operation | a count << 4, where count 0 means that a number follows;
 * then what the operation asks for. Numbers have 7 bits in each byte, lowest first, bit 7 set in
 * all but the last. Signed numbers alternate: 0, -1, 1, -2, ...
 *
 * Two positions are kept from item to item, and from window to window: the address at which the
 * next page lies, which moves on by one page with each page whose header is made, and the slot,
 * which moves on by one with each page that uses one. So memory in order costs less than a byte a
 * page.
 */
#ifndef STREAM_CONTROL_H
#define STREAM_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum control_op {
    CONTROL_BYTES,   /* `count` bytes of the stream, which follow here */
    CONTROL_SEEK,    /* moves the address by a signed number of pages; count 1 */
    CONTROL_SLOT,    /* moves the slot by a signed number; count 1 */
    CONTROL_BARE,    /* the next item is one page, whose header is not made; count 1 */
    CONTROL_ZERO,    /* `count` records of a page full of zeroes */
    CONTROL_PLAIN,   /* `count` pages of the payload */
    CONTROL_KEEP,    /* the same; each goes into a slot, too */
    CONTROL_REPEAT,  /* `count` pages; each is a word of 8 bytes, which follows, again and again */
    CONTROL_SAME,    /* `count` pages that are in slots */
    CONTROL_DELTA,   /* one page: a slot's, changed by the delta that follows; it goes there */
    CONTROL_OFFERED, /* `count` pages of the offer: the dictionary's, or else of the payload */
    CONTROL_COPY, /* one page of main RAM: the one so many pages before its address, which follow */
    CONTROL_DIGEST, /* of the pages since the last digest that were copies (32 bytes); count 1 */
    CONTROL_OPS,
};

#define CONTROL_NUMBER_MAX 10 /* bytes of a number */
#define CONTROL_ITEM_MAX   (1 + CONTROL_NUMBER_MAX)

/* Writes into `bytes`, which has room. The last item is held back so that runs join. */
struct control_writer {
    uint8_t *bytes;
    size_t size;
    enum control_op op;
    uint64_t count; /* of the item held back; 0: none */
};

void control_number(struct control_writer *writer, uint64_t number);
void control_signed(struct control_writer *writer, int64_t number);
void control_raw(struct control_writer *writer, const void *bytes, size_t size);
/* An item that needs nothing behind it, or `count` 1 of one that does: joins the one before if that
 * is the same operation without anything behind it. */
void control_run(struct control_writer *writer, enum control_op op, uint64_t count);
/* An item by itself; what it asks for comes next. */
void control_item(struct control_writer *writer, enum control_op op, uint64_t count);
/* Puts out the item held back. */
void control_end(struct control_writer *writer);

struct control_reader {
    const uint8_t *at, *end;
};

/* False when the bytes end too early, a number has more than 64 bits, or the operation is none. */
bool control_next(struct control_reader *reader, enum control_op *op, uint64_t *count);
bool control_take_number(struct control_reader *reader, uint64_t *number);
bool control_take_signed(struct control_reader *reader, int64_t *number);
/* `size` bytes in place, NULL when there are less. */
const uint8_t *control_take(struct control_reader *reader, uint64_t size);

#endif
