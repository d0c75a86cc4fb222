/* SPDX-License-Identifier: Apache-2.0 */
/* Main and multifd channels into one stream: made by hand, as QEMU 7.2 and 10.0 write them. */
#include "stream/test_support.h"

#include "base/error.h"
#include "stream/multifd_merge.h"
#include "stream/ram_record.h"

#define CHANNELS 2
#define RAM      ((uint64_t)16 * RAM_PAGE_SIZE)
#define SECTION  2

struct merging {
    struct multifd_merge *merge;
    struct made in[CHANNELS]; /* channels */
    size_t at[CHANNELS];
    size_t piece; /* that a read gets at most */
    struct made out;
};

static int put_out(void *context, const uint8_t *bytes, size_t size, struct error **err)
{
    struct merging *merging = context;
    (void)err;
    put(&merging->out, bytes, size);
    return 0;
}

static ssize_t read_in(void *context, unsigned channel, uint8_t *buffer, size_t size,
                       struct error **err)
{
    struct merging *merging = context;
    const struct made *in = &merging->in[channel];
    const size_t left = in->size - merging->at[channel];
    (void)err;
    assert_true(size > 0);
    if (size > left)
        size = left;
    if (merging->piece && size > merging->piece)
        size = merging->piece;
    memcpy(buffer, in->bytes + merging->at[channel], size);
    merging->at[channel] += size;
    return (ssize_t)size;
}

static void start(struct merging *merging)
{
    CLEANUP_ERROR struct error *err = NULL;
    memset(merging, 0, sizeof(*merging));
    merging->merge =
        multifd_merge_new(CHANNELS, (struct multifd_merge_ends){put_out, read_in, merging}, &err);
    assert_non_null(merging->merge);
    for (uint8_t i = 0; i < CHANNELS; i++)
        put_multifd_greeting(&merging->in[i], i);
}

/* One page, full of `fill`; 0: a zero page. */
static void put_page(struct made *made, uint64_t address, uint8_t fill)
{
    put_multifd_packet(made, &(struct multifd_packet){.room = MULTIFD_ROOM,
                                                      .pages = fill != 0,
                                                      .zeros = fill == 0,
                                                      .follow = fill ? RAM_PAGE_SIZE : 0,
                                                      .block = "ram",
                                                      .first = address});
    if (fill)
        put_fill(made, fill, RAM_PAGE_SIZE);
}

static void put_sync(struct made *made)
{
    put_multifd_packet(made, &(struct multifd_packet){.flags = 1, .block = ""});
}

/* --- the main channel --- */

static void put_head(struct made *made, uint8_t type)
{
    put8(made, type);
    put32(made, SECTION);
}

static void put_begin_of(struct made *made, unsigned blocks)
{
    static const char *const names[] = {"\3ram", "\3vga"};
    put32(made, 0x5145564d);
    put32(made, 3);
    put_head(made, 1);
    put(made, "\3ram", 4);
    put32(made, 0);
    put32(made, 4);
    put64(made, blocks * RAM | RAM_RECORD_MEM_SIZE);
    for (unsigned i = 0; i < blocks; i++) {
        put(made, names[i], 4);
        put64(made, RAM);
    }
}

static void put_begin(struct made *made)
{
    put_begin_of(made, 1);
}

static void put_record(struct made *made, uint64_t kind, uint64_t address, const char *name,
                       uint8_t fill)
{
    uint8_t header[RAM_RECORD_HEADER_MAX];
    put(made, header, ram_record_header(header, kind, address, name));
    put_fill(made, fill, kind == RAM_RECORD_PAGE ? RAM_PAGE_SIZE : 1);
}

static void put_end(struct made *made)
{
    put64(made, RAM_RECORD_EOS);
    put8(made, 0x7e);
    put32(made, SECTION);
}

static void main_says(struct merging *merging, const struct made *made)
{
    CLEANUP_ERROR struct error *err = NULL;
    for (size_t at = 0; at < made->size;) {
        size_t piece = made->size - at;
        if (merging->piece && piece > merging->piece)
            piece = merging->piece;
        assert_ok(multifd_merge_main(merging->merge, made->bytes + at, piece, &err), err);
        at += piece;
    }
}

static void assert_out(const struct merging *merging, const struct made *expected)
{
    assert_int_equal(merging->out.size, expected->size);
    assert_memory_equal(merging->out.bytes, expected->bytes, expected->size);
}

/*
 * Two rounds: in the second the page that the other channel had in the first. Channels that have
 * come to a mark wait; the main one has them read up to it. `flushes`: as QEMU 10.0 says it.
 */
static void rounds(bool flushes, size_t piece)
{
    static struct merging merging;
    static struct made main, expected;
    CLEANUP_ERROR struct error *err = NULL;
    start(&merging);
    merging.piece = piece;
    main.size = expected.size = 0;
    put_begin(&main);
    if (flushes)
        put64(&main, RAM_RECORD_MULTIFD_FLUSH);
    put_end(&main);
    put_begin(&expected);
    for (unsigned i = 0; i < CHANNELS; i++)
        put_sync(&merging.in[i]); /* of the first section */
    put_page(&merging.in[0], 0x1000, 0x11);
    put_sync(&merging.in[0]);
    put_page(&merging.in[0], 0x3000, 0);
    put_sync(&merging.in[0]);
    put_page(&merging.in[1], 0x2000, 0x22);
    put_sync(&merging.in[1]);
    put_page(&merging.in[1], 0x1000, 0x33);
    put_sync(&merging.in[1]);
    main_says(&merging, &main);
    assert_int_equal(merging.at[0], 64 + 1344);

    /* What is there is taken when it comes, up to the mark. */
    while (!multifd_merge_waits(merging.merge, 0))
        assert_int_equal(multifd_merge_channel(merging.merge, 0, &err), 1);
    put_record(&expected, RAM_RECORD_PAGE, 0x1000, "ram", 0x11);
    assert_int_equal(merging.at[0], 64 + 3 * 1344 + RAM_PAGE_SIZE);
    /* The main one has a page of its own, and passes the point. */
    main.size = 0;
    put_head(&main, 2);
    put_record(&main, RAM_RECORD_ZERO, 0x5000, "ram", 0);
    if (flushes) { /* once a round; a section may end in the middle of it */
        put_end(&main);
        put_head(&main, 2);
        put64(&main, RAM_RECORD_MULTIFD_FLUSH);
    }
    put_end(&main);
    main_says(&merging, &main);
    put_record(&expected, RAM_RECORD_ZERO, 0x5000, NULL, 0);
    put_record(&expected, RAM_RECORD_PAGE, 0x2000, NULL, 0x22);
    assert_false(multifd_merge_waits(merging.merge, 0));
    /* The last round, and what follows RAM. */
    main.size = 0;
    put_head(&main, 3);
    if (flushes)
        put64(&main, RAM_RECORD_MULTIFD_FLUSH);
    put_end(&main);
    put(&main, "\4devices and all", 16);
    main_says(&merging, &main);
    put_end(&expected);
    put_head(&expected, 3);
    put_record(&expected, RAM_RECORD_ZERO, 0x3000, NULL, 0);
    put_record(&expected, RAM_RECORD_PAGE, 0x1000, NULL, 0x33);
    put_end(&expected);
    put(&expected, "\4devices and all", 16);
    assert_ok(multifd_merge_finish(merging.merge, &err), err);
    assert_out(&merging, &expected);
    multifd_merge_free(merging.merge);
}

static void old(void **state)
{
    (void)state;
    rounds(false, 0);
    rounds(false, 7);
}

static void new (void **state)
{
    (void)state;
    rounds(true, 0);
    rounds(true, 7);
}

static void put_command(struct made *made)
{
    put8(made, 8);
    put16(made, 11); /* the switchover begins */
    put16(made, 2);
    put16(made, 0x1234); /* what it may say */
}

/* QEMU 10.0 says between two sections that the switchover begins, and then has pages before the
 * next section's head leaves its buffer: they have a part of their own, but not in the middle of
 * what it says. */
static void switchover(void **state)
{
    static struct merging merging;
    static struct made main, expected;
    CLEANUP_ERROR struct error *err = NULL;
    (void)state;
    start(&merging);
    main.size = expected.size = 0;
    put_begin(&main);
    put_begin(&expected);
    put64(&main, RAM_RECORD_MULTIFD_FLUSH);
    put_end(&main);
    put_end(&expected);
    put_command(&main);
    put_command(&expected);
    main.size--; /* the rest comes later */
    for (unsigned i = 0; i < CHANNELS; i++) {
        put_sync(&merging.in[i]);
        put_page(&merging.in[i], (uint64_t)i * 0x1000, (uint8_t)(0x11 + i));
        put_sync(&merging.in[i]);
    }
    main_says(&merging, &main);
    while (!multifd_merge_waits(merging.merge, 0))
        assert_int_equal(multifd_merge_channel(merging.merge, 0, &err), 1);
    assert_int_equal(merging.out.size, expected.size - 1);
    main.size = 0;
    put8(&main, 0x34);
    main_says(&merging, &main);
    while (!multifd_merge_waits(merging.merge, 0))
        assert_int_equal(multifd_merge_channel(merging.merge, 0, &err), 1);
    put_head(&expected, 2);
    put_record(&expected, RAM_RECORD_PAGE, 0, "ram", 0x11);
    assert_out(&merging, &expected);
    main.size = 0;
    put_head(&main, 3);
    put64(&main, RAM_RECORD_MULTIFD_FLUSH);
    put_end(&main);
    main_says(&merging, &main);
    put_end(&expected);
    put_head(&expected, 3);
    put_record(&expected, RAM_RECORD_PAGE, 0x1000, NULL, 0x12);
    put_end(&expected);
    assert_ok(multifd_merge_finish(merging.merge, &err), err);
    assert_out(&merging, &expected);
    multifd_merge_free(merging.merge);
}

/* Pages that are there before all of the main channel's first section was read do not go into the
 * middle of it, also when their block has been listed. */
static void early(void **state)
{
    static struct merging merging;
    static struct made main, expected;
    CLEANUP_ERROR struct error *err = NULL;
    (void)state;
    main.size = expected.size = 0;
    put_begin_of(&main, 2);
    put64(&main, 0x200000); /* the size of the last one's pages */
    put(&expected, main.bytes, main.size);
    put_record(&expected, RAM_RECORD_PAGE, 0x1000, "ram", 0x11);
    put64(&main, RAM_RECORD_MULTIFD_FLUSH);
    put_end(&main);
    put_end(&expected);
    for (size_t first = 1; first <= main.size; first++) {
        start(&merging);
        put_page(&merging.in[0], 0x1000, 0x11);
        for (unsigned i = 0; i < CHANNELS; i++)
            put_sync(&merging.in[i]);
        for (size_t at = 0, piece = first; at < main.size; at += piece, piece = main.size - first) {
            assert_ok(multifd_merge_main(merging.merge, main.bytes + at, piece, &err), err);
            while (!multifd_merge_waits(merging.merge, 0) && merging.at[0] < merging.in[0].size)
                assert_int_equal(multifd_merge_channel(merging.merge, 0, &err), 1);
        }
        assert_ok(multifd_merge_finish(merging.merge, &err), err);
        assert_out(&merging, &expected);
        multifd_merge_free(merging.merge);
    }
}

/* Pages of the two blocks in turn: each says which it is of when the one before was not. */
static void blocks(void **state)
{
    static struct merging merging;
    static struct made main;
    CLEANUP_ERROR struct error *err = NULL;
    (void)state;
    start(&merging);
    main.size = 0;
    put_begin_of(&main, 2);
    main_says(&merging, &main);
    put_page(&merging.in[0], 0x1000, 0x11);
    while (merging.at[0] < merging.in[0].size)
        assert_int_equal(multifd_merge_channel(merging.merge, 0, &err), 1);
    merging.out.size = 0;
    main.size = 0;
    put_record(&main, RAM_RECORD_ZERO, 0x2000, "vga", 0);
    main_says(&merging, &main);
    put_page(&merging.in[0], 0x2000, 0x11);
    while (merging.at[0] < merging.in[0].size)
        assert_int_equal(multifd_merge_channel(merging.merge, 0, &err), 1);
    put_record(&main, RAM_RECORD_PAGE, 0x2000, "ram", 0x11);
    static struct made again;
    again.size = 0;
    put_record(&again, RAM_RECORD_ZERO, 0x3000, NULL, 0); /* of vga still, in its own channel */
    main_says(&merging, &again);
    put_record(&main, RAM_RECORD_ZERO, 0x3000, "vga", 0);
    assert_out(&merging, &main);
    multifd_merge_free(merging.merge);
}

/* Reads the first channel until that is an error. */
static void assert_broken(const char *what, void (*make)(struct made *channel))
{
    static struct merging merging;
    static struct made main;
    CLEANUP_ERROR struct error *err = NULL;
    int more;
    start(&merging);
    main.size = 0;
    put_begin(&main);
    main_says(&merging, &main);
    make(&merging.in[0]);
    while ((more = multifd_merge_channel(merging.merge, 0, &err)) > 0)
        ;
    assert_int_equal(more, -1);
    assert_int_equal(err->kind, ERROR_QEMU);
    assert_non_null(strstr(err->message, what));
    multifd_merge_free(merging.merge);
}

static void make_unknown_block(struct made *made)
{
    put_multifd_packet(
        made, &(struct multifd_packet){.pages = 1, .follow = RAM_PAGE_SIZE, .block = "rom"});
    put_fill(made, 1, RAM_PAGE_SIZE);
}

static void make_beyond(struct made *made)
{
    put_page(made, RAM, 1);
}

static void make_zero_beyond(struct made *made)
{
    put_page(made, RAM, 0);
}

static void make_compressed(struct made *made)
{
    put_multifd_packet(
        made, &(struct multifd_packet){.flags = 1 << 1, .pages = 1, .follow = 100, .block = "ram"});
}

static void make_noise(struct made *made)
{
    put_fill(made, 'x', 64);
}

static void make_cut(struct made *made)
{
    put_page(made, 0, 1);
    made->size--;
}

static void broken(void **state)
{
    (void)state;
    assert_broken("unknown block", make_unknown_block);
    assert_broken("beyond its block", make_beyond);
    assert_broken("beyond its block", make_zero_beyond);
    assert_broken("compressed", make_compressed);
    assert_broken("magic", make_noise);
    assert_broken("ended in a packet", make_cut);
}

/* The main channel's: what cannot be merged, and a channel that has ended before it. */
static void broken_main(void **state)
{
    static struct merging merging;
    static struct made main;
    CLEANUP_ERROR struct error *unknown = NULL, *early = NULL, *late = NULL;
    (void)state;
    main.size = 0;
    put_begin(&main);
    put64(&main, 0x800); /* no record's */
    start(&merging);
    assert_int_equal(multifd_merge_main(merging.merge, main.bytes, main.size, &unknown), -1);
    assert_non_null(strstr(unknown->message, "a record with word"));
    multifd_merge_free(merging.merge);

    main.size -= 8;
    put_end(&main);
    start(&merging);
    assert_int_equal(multifd_merge_main(merging.merge, main.bytes, main.size, &early), -1);
    assert_non_null(strstr(early->message, "too early"));
    multifd_merge_free(merging.merge);

    start(&merging);
    main.size = 0;
    put_begin(&main);
    put64(&main, RAM_RECORD_MULTIFD_FLUSH);
    put_end(&main);
    put_head(&main, 3);
    put64(&main, RAM_RECORD_MULTIFD_FLUSH);
    put_end(&main);
    put(&main, "\4", 1); /* no more of RAM */
    for (unsigned i = 0; i < CHANNELS; i++) {
        put_sync(&merging.in[i]);
        put_sync(&merging.in[i]);
        put_page(&merging.in[i], 0, 1);
    }
    main_says(&merging, &main);
    while (multifd_merge_channel(merging.merge, 0, &late) > 0)
        ;
    assert_non_null(late);
    assert_non_null(strstr(late->message, "where none can be"));
    multifd_merge_free(merging.merge);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(old),         cmocka_unit_test(new),    cmocka_unit_test(switchover),
        cmocka_unit_test(early),       cmocka_unit_test(blocks), cmocka_unit_test(broken),
        cmocka_unit_test(broken_main),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
