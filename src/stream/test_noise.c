/* SPDX-License-Identifier: Apache-2.0 */
/* Noise is told from what can be compressed, and is not compressed when that is in vain. */
#include "base/test.h"

#include <stdlib.h>
#include <string.h>

#include "stream/codec.h"
#include "stream/engine_testing.h"
#include "stream/noise.h"

#define PAGES 128
#define SIZE  ((size_t)PAGES * RAM_PAGE_SIZE)

static uint8_t pages[SIZE];

static void fill_noise(uint8_t *to, size_t size, uint64_t seed)
{
    for (size_t i = 0; i < size; i += 8) {
        uint64_t word = made_random(&seed);
        memcpy(to + i, &word, 8);
    }
}

static void test_noise_is_noise(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        fill_noise(pages, SIZE, seed * 7919);
        assert_true(noise_fills(pages, PAGES));
    }
    assert_false(noise_fills(pages, 0));
}

/* What is in memory: each of these has some bytes that differ from page to page. */
static void fill_words(uint8_t *to, uint64_t seed, unsigned kind)
{
    for (size_t i = 0; i < SIZE; i += 8) {
        uint64_t random = made_random(&seed);
        uint64_t word = kind == 0   ? 0x7f3a10000000 + (random & 0xffffff0) /* pointers */
                        : kind == 1 ? i / 8 * 0x100000001                   /* counters */
                        : kind == 2 ? random & 0xffff0000ffff               /* small numbers */
                        : kind == 3 ? random & 0x3f3f3f3f3f3f3f3f           /* text as base64 */
                                    : 0;
        memcpy(to + i, &word, 8);
    }
}

static void test_what_can_be_compressed_is_none(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind <= 4; kind++) {
        fill_words(pages, 99, kind);
        assert_false(noise_fills(pages, PAGES));
    }
}

/* Two pages of 128 may be something else, three not. */
static void test_a_few_others(void **state)
{
    (void)state;
    fill_noise(pages, SIZE, 5);
    memset(pages + (size_t)17 * RAM_PAGE_SIZE, 0, RAM_PAGE_SIZE);
    memset(pages + (size_t)127 * RAM_PAGE_SIZE, 1, RAM_PAGE_SIZE);
    assert_true(noise_fills(pages, PAGES));
    memset(pages, 2, RAM_PAGE_SIZE);
    assert_false(noise_fills(pages, PAGES));
}

/* --- the codec --- */

static unsigned compressed_of(struct codec_writer *writer, enum stream_codec codec, unsigned count,
                              uint64_t seed, bool again)
{
    uint8_t *out = malloc(codec_bound(SIZE));
    unsigned compressed = 0;
    assert_non_null(out);
    for (unsigned i = 0; i < count; i++) {
        size_t made;
        fill_noise(pages, SIZE, seed + i);
        if (again) /* the same noise twice, at another place in the page */
            memmove(pages + SIZE / 2 + 100, pages, SIZE / 2 - 100);
        assert_true(codec_compress(writer, codec, pages, SIZE, PAGES, out, &made));
        assert_true(made <= codec_bound(SIZE));
        compressed += made > 0;
    }
    free(out);
    return compressed;
}

static void test_attempts_in_vain_become_rare(void **state)
{
    (void)state;
    struct error *err = NULL;
    struct codec_writer *writer = codec_writer_new(&err);
    assert_non_null(writer);
    unsigned compressed = compressed_of(writer, STREAM_CODEC_ZSTD, 100, 1, false);
    assert_in_range(compressed, 2, 10);
    codec_writer_free(writer);
}

/* What looks like noise and gains is compressed, soon also after much that was noise. */
static void test_what_gains_is_compressed(void **state)
{
    (void)state;
    struct error *err = NULL;
    struct codec_writer *writer = codec_writer_new(&err);
    assert_non_null(writer);
    assert_int_equal(compressed_of(writer, STREAM_CODEC_ZSTD, 40, 1, true), 40);
    assert_true(compressed_of(writer, STREAM_CODEC_ZSTD, 100, 1000, false) <= 10);
    assert_true(compressed_of(writer, STREAM_CODEC_ZSTD, 100, 3000, true) >= 100 - 32);
    codec_writer_free(writer);
}

/* One page that is none, or much control, and the next window is tried at once. */
static void test_another_window_is_tried(void **state)
{
    (void)state;
    struct error *err = NULL;
    struct codec_writer *writer = codec_writer_new(&err);
    uint8_t *out = malloc(codec_bound(SIZE));
    size_t made;
    assert_true(writer && out);
    assert_true(compressed_of(writer, STREAM_CODEC_ZSTD, 20, 1, false) < 20);
    fill_noise(pages, SIZE, 77);
    assert_true(codec_compress(writer, STREAM_CODEC_ZSTD, pages, SIZE, PAGES - 4, out, &made));
    assert_true(made > 0);
    assert_true(compressed_of(writer, STREAM_CODEC_ZSTD, 20, 1, false) < 20);
    memset(pages, 0, SIZE);
    assert_true(codec_compress(writer, STREAM_CODEC_LZ4, pages, SIZE, PAGES, out, &made));
    assert_in_range(made, 1, SIZE / 100);
    free(out);
    codec_writer_free(writer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_noise_is_noise),
        cmocka_unit_test(test_what_can_be_compressed_is_none),
        cmocka_unit_test(test_a_few_others),
        cmocka_unit_test(test_attempts_in_vain_become_rare),
        cmocka_unit_test(test_what_gains_is_compressed),
        cmocka_unit_test(test_another_window_is_tried),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
