/* SPDX-License-Identifier: Apache-2.0 */
/* The decoder against blocks that no encoder makes: each is refused, by its own gate. */
#include "base/test.h"

#include <lz4.h>
#include <stdlib.h>
#include <string.h>

#include "stream/control.h"
#include "stream/engine_testing.h"
#include "stream/stream_block.h"

#define SLOTS 4

static int ignore_write(void *context, const uint8_t *bytes, size_t size, struct error **err)
{
    (void)bytes;
    (void)err;
    *(size_t *)context += size;
    return 0;
}

static int ignore_block(void *context, struct block *block, struct error **err)
{
    (void)context;
    (void)err;
    free(block);
    return 0;
}

static int read_zeroes(void *context, uint64_t address, uint8_t *page, struct error **err)
{
    (void)context;
    (void)address;
    (void)err;
    memset(page, 0, RAM_PAGE_SIZE);
    return 0;
}

static struct decoder_options options = {.slots = SLOTS, .read_ram = read_zeroes};

/* Gives the block to a new decoder, which must refuse it with these words; NULL: must take it. */
static void expect(struct block *block, const char *words)
{
    struct error *err = NULL;
    size_t written = 0;
    struct decoder *decoder =
        decoder_new(&options, (struct decoder_sink){ignore_write, ignore_block, &written}, &err);
    assert_ok(decoder ? 0 : -1, err);
    int status = decoder_take(decoder, block, &err);
    if (words) {
        assert_int_equal(status, -1);
        assert_int_equal(err->kind, ERROR_CORRUPT);
        if (!strstr(err->message, words))
            fail_msg("'%s' is not in '%s'", words, err->message);
        error_free(err);
    } else {
        assert_ok(status, err);
    }
    decoder_free(decoder);
    free(block);
}

static struct block *make_window(struct stream_window_header header, size_t pages,
                                 const uint8_t *control, size_t size)
{
    size_t payload = pages * RAM_PAGE_SIZE;
    struct block *block =
        block_new(STREAM_WINDOW, (uint32_t)(STREAM_WINDOW_HEADER_SIZE + payload + size));
    memset(block->data, 0, block->size);
    if (!header.payload)
        header.payload = (uint32_t)payload;
    if (!header.control)
        header.control = (uint32_t)size;
    stream_window_header_put(&header, block->data);
    memcpy(block->data + STREAM_WINDOW_HEADER_SIZE + payload, control, size);
    return block;
}

/* A window of this control and so many pages, that announces so many bytes of stream. */
#define WINDOW(pages, out, ...)                                                                    \
    make_window((struct stream_window_header){.output = (out)}, (pages),                           \
                (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))
#define ONE(op) (uint8_t)((op) | 1 << 4)

static void test_headers(void **state)
{
    (void)state;
    static const uint8_t control[] = {ONE(CONTROL_ZERO)};
    static const struct {
        struct stream_window_header header;
        const char *words;
    } cases[] = {
        {{.output = 9}, NULL},
        {{.output = 9, .number = 1}, "where 0 is due"},
        {{.output = 9, .codec = 3}, "codec 3"},
        {{.output = 9, .lane = STREAM_LANES_MAX}, "lane 16"},
        {{.output = 9, .flags = 2}, "flags 2"},
        {{.output = 9, .flags = STREAM_WINDOW_ANSWERED}, "nothing was offered"},
        {{.output = 9, .payload = 4095}, "bytes of pages"},
        {{.output = 9, .payload = 257 * RAM_PAGE_SIZE}, "bytes of pages"},
        {{.output = 9, .control = STREAM_WINDOW_CONTROL_MAX + 1}, "of control"},
        {{.output = STREAM_WINDOW_OUTPUT_MAX + 1}, "of stream"},
        {{.output = 9, .control = 2}, "where 2 are announced"},
        {{.output = 9, .payload = RAM_PAGE_SIZE}, "bytes where"},
        {{.output = 9, .check = 1}, "slots do not hold"},
        {{.output = 10}, "less than"},
        {{.output = 8}, "more than"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        expect(make_window(cases[i].header, 0, control, sizeof(control)), cases[i].words);
    struct block *block = block_new(STREAM_WINDOW, STREAM_WINDOW_HEADER_SIZE - 1);
    memset(block->data, 0, block->size);
    expect(block, "window of 31 bytes");
    struct block *other = block_new(STREAM_ANSWER, 9);
    memset(other->data, 0, other->size);
    expect(other, "block of kind 4");
}

static void test_control(void **state)
{
    (void)state;
    expect(WINDOW(0, 0, CONTROL_OPS | 1 << 4), "no control");
    expect(WINDOW(0, 0, CONTROL_ZERO, 0x80), "no control"); /* its count ends too early */
    expect(WINDOW(0, 0, CONTROL_ZERO, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02),
           "no control"); /* more than 64 bits */
    expect(WINDOW(0, 9, CONTROL_ZERO, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01),
           "zero pages");
    expect(WINDOW(0, 5, CONTROL_BYTES | 5 << 4, 1, 2, 3, 4), "bytes that are not there");
    expect(WINDOW(0, 4, CONTROL_BYTES | 4 << 4, 1, 2, 3, 4), NULL);
    expect(WINDOW(0, 3, CONTROL_BYTES | 4 << 4, 1, 2, 3, 4), "more than");
    expect(WINDOW(0, 0, ONE(CONTROL_SEEK)), "no number of pages");
    expect(WINDOW(0, 0, ONE(CONTROL_SLOT)), "no slot");
    expect(WINDOW(0, 0, ONE(CONTROL_SLOT), 1), "slot 0-1");
    expect(WINDOW(0, 0, ONE(CONTROL_SLOT), 2 * SLOTS), NULL);
    expect(WINDOW(0, 0, ONE(CONTROL_SLOT), 2 * SLOTS + 2), "slot 0+5, there are 4");
    expect(WINDOW(0, 9, ONE(CONTROL_BARE), ONE(CONTROL_ZERO)), "zero pages");
    expect(WINDOW(0, 4104, ONE(CONTROL_REPEAT), 1, 2, 3), "no word");
}

static void test_pages(void **state)
{
    (void)state;
    expect(WINDOW(1, 4104, ONE(CONTROL_PLAIN)), NULL);
    expect(WINDOW(1, 4096, ONE(CONTROL_BARE), ONE(CONTROL_PLAIN)), NULL);
    expect(WINDOW(1, 8208, CONTROL_PLAIN | 2 << 4), "a page that is not there");
    expect(WINDOW(2, 4104, ONE(CONTROL_PLAIN)), "less than");
    expect(WINDOW(2, 4104, CONTROL_PLAIN | 2 << 4), "more than");
    expect(WINDOW(1, 4104, ONE(CONTROL_SAME)), "0 are in use");
    expect(WINDOW(0, 4104, ONE(CONTROL_DELTA), 0, 0), "0 are in use");
    expect(WINDOW(1, 8208, ONE(CONTROL_KEEP), ONE(CONTROL_SLOT), 1, ONE(CONTROL_DELTA), 1, 0),
           "no delta");
    expect(WINDOW(1, 4104, ONE(CONTROL_SLOT), 2, ONE(CONTROL_KEEP)), "page for slot 1");
    expect(WINDOW(4, 16416, CONTROL_KEEP | 4 << 4), NULL);
    expect(WINDOW(5, 20520, CONTROL_KEEP | 5 << 4), "page for slot 4");
    expect(WINDOW(1, 4104, ONE(CONTROL_OFFERED)), NULL); /* not answered: from the payload */
}

static void test_copies(void **state)
{
    (void)state;
    enum { FORWARD = 2 }; /* by a page */
    expect(WINDOW(0, 4104, ONE(CONTROL_SEEK), FORWARD, ONE(CONTROL_COPY), 0), "of no page");
    expect(WINDOW(0, 4104, ONE(CONTROL_SEEK), FORWARD, ONE(CONTROL_COPY)), "of no page");
    expect(WINDOW(0, 4104, ONE(CONTROL_COPY), 1), "of no page"); /* below 0 */
    expect(WINDOW(0, 4096, ONE(CONTROL_SEEK), FORWARD, ONE(CONTROL_BARE), ONE(CONTROL_COPY), 1),
           "of no page");
    expect(WINDOW(0, 0, ONE(CONTROL_SEEK), FORWARD, ONE(CONTROL_COPY), 1), "more than");
    expect(WINDOW(0, 4104, ONE(CONTROL_SEEK), FORWARD, ONE(CONTROL_COPY), 1), "without their");
    expect(WINDOW(0, 4104, ONE(CONTROL_SEEK), FORWARD, ONE(CONTROL_COPY), 1, ONE(CONTROL_DIGEST), 1,
                  2, 3),
           "no digest");
    expect(WINDOW(0, 4104, ONE(CONTROL_SEEK), FORWARD, ONE(CONTROL_COPY), 1, ONE(CONTROL_DIGEST), 0,
                  0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                  0, 0, 0, 0),
           "not hold what was sent");
    expect(WINDOW(1, 4104, ONE(CONTROL_PLAIN), ONE(CONTROL_DIGEST), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                  0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
           "no digest");
    options.read_ram = NULL;
    expect(WINDOW(0, 4104, ONE(CONTROL_SEEK), FORWARD, ONE(CONTROL_COPY), 1), "is not read");
    options.read_ram = read_zeroes;
}

/* Slots that do not hold what the encoder thinks are found out. */
static void test_slot_check(void **state)
{
    (void)state;
    expect(WINDOW(1, 8208, ONE(CONTROL_KEEP), ONE(CONTROL_SLOT), 1, ONE(CONTROL_SAME)),
           "slots do not hold");
}

static void test_compressed(void **state)
{
    (void)state;
    uint8_t plain[] = {ONE(CONTROL_ZERO), ONE(CONTROL_ZERO)}, packed[64];
    int size = LZ4_compress_default((char *)plain, (char *)packed, sizeof(plain), sizeof(packed));
    struct stream_window_header header = {.codec = STREAM_CODEC_LZ4, .output = 18};
    header.control = sizeof(plain);
    expect(make_window(header, 0, packed, (size_t)size), NULL);
    header.control = sizeof(plain) + 1;
    expect(make_window(header, 0, packed, (size_t)size), "lz4");
    header.control = sizeof(plain) - 1;
    expect(make_window(header, 0, packed, (size_t)size), "lz4");
    header.codec = STREAM_CODEC_ZSTD;
    expect(make_window(header, 0, packed, (size_t)size), "zstd");
    expect(make_window(header, 0, packed, 0), "zstd");
}

static struct block *make_offer(uint64_t window, size_t size)
{
    struct block *block = block_new(STREAM_OFFER, (uint32_t)size);
    memset(block->data, 0, size);
    if (size >= 8)
        bytes_put64(block->data, window);
    return block;
}

static void test_offers(void **state)
{
    (void)state;
    expect(make_offer(0, 24), NULL);
    expect(make_offer(0, 4), "offer of 4 bytes");
    expect(make_offer(0, 8), "offer of 8 bytes");
    expect(make_offer(0, 30), "offer of 30 bytes");
    expect(make_offer(0, 8 + 257 * 16), "offer of 4120 bytes");
    expect(make_offer(STREAM_OFFERS_MAX, 24), "offer for window 32");
    expect(make_offer(UINT64_MAX, 24), "offer for window");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_headers),    cmocka_unit_test(test_control),
        cmocka_unit_test(test_pages),      cmocka_unit_test(test_slot_check),
        cmocka_unit_test(test_compressed), cmocka_unit_test(test_offers),
        cmocka_unit_test(test_copies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
