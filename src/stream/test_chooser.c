/* SPDX-License-Identifier: Apache-2.0 */
/* The choice of the codec, from measurements as they come on links of different speed. */
#include "base/test.h"

#include "base/clock.h"
#include "stream/chooser.h"

static enum stream_codec settled(struct chooser *chooser, bool *reduce)
{
    enum stream_codec codec = STREAM_CODEC_NONE;
    for (unsigned i = 0; i < 20; i++)
        codec = chooser_next(chooser, reduce);
    return codec;
}

static enum stream_codec choice(double rate, unsigned threads)
{
    struct chooser chooser;
    bool reduce;
    chooser_init(&chooser, CHOOSER_AUTO, threads);
    chooser_link(&chooser, rate, true, 100);
    enum stream_codec codec = settled(&chooser, &reduce);
    assert_true(reduce);
    return codec;
}

static void test_by_link(void **state)
{
    (void)state;
    assert_int_equal(choice(12e6, 1), STREAM_CODEC_ZSTD);  /* 100 Mbit/s */
    assert_int_equal(choice(119e6, 1), STREAM_CODEC_ZSTD); /* 1 Gbit/s */
    assert_int_equal(choice(300e6, 1), STREAM_CODEC_LZ4);
    assert_int_equal(choice(300e6, 8), STREAM_CODEC_ZSTD);
    assert_int_equal(choice(1.2e9, 1), STREAM_CODEC_NONE); /* 10 Gbit/s */
}

/* Nothing is known yet: as on a network that takes everything, until it is waited for once. */
static void test_start(void **state)
{
    (void)state;
    struct chooser chooser;
    bool reduce;
    chooser_init(&chooser, CHOOSER_AUTO, 1);
    assert_int_equal(settled(&chooser, &reduce), STREAM_CODEC_NONE);
    assert_false(reduce);
    chooser_link(&chooser, 119e6, true, 100);
    assert_int_equal(chooser_next(&chooser, &reduce), STREAM_CODEC_ZSTD);
    assert_true(reduce);
}

/* A link that is never waited for is left alone. */
static void test_no_scarcity(void **state)
{
    (void)state;
    struct chooser chooser;
    bool reduce;
    chooser_init(&chooser, CHOOSER_AUTO, 1);
    for (unsigned i = 0; i < 6; i++)
        chooser_link(&chooser, 3e8, false, 100);
    assert_int_equal(settled(&chooser, &reduce), STREAM_CODEC_NONE);
    assert_false(reduce);
}

/* Waiting for a busy peer says nothing about the link. */
static void test_busy_peer(void **state)
{
    (void)state;
    struct chooser chooser;
    bool reduce;
    chooser_init(&chooser, CHOOSER_AUTO, 1);
    for (unsigned i = 0; i < 6; i++)
        chooser_link(&chooser, 3e8, true, 950);
    assert_int_equal(settled(&chooser, &reduce), STREAM_CODEC_NONE);
}

static void test_random_memory_is_not_compressed(void **state)
{
    (void)state;
    struct chooser chooser;
    bool reduce;
    chooser_init(&chooser, CHOOSER_AUTO, 1);
    chooser_link(&chooser, 300e6, true, 100);
    for (unsigned i = 0; i < 30; i++) {
        enum stream_codec codec = chooser_next(&chooser, &reduce);
        chooser_measured(&chooser, codec, 1000000, 1000000, NS_PER_S / 1000);
    }
    assert_int_equal(settled(&chooser, &reduce), STREAM_CODEC_NONE);
}

/* A link that got faster is found out without being told. */
static void test_faster_link(void **state)
{
    (void)state;
    struct chooser chooser;
    bool reduce;
    chooser_init(&chooser, CHOOSER_AUTO, 1);
    chooser_link(&chooser, 119e6, true, 100);
    assert_int_equal(settled(&chooser, &reduce), STREAM_CODEC_ZSTD);
    /* What the codecs can make of it. */
    static const double rates[STREAM_CODECS] = {2e9, 326e6, 109e6};
    for (unsigned i = 0; i < 1000; i++)
        chooser_link(&chooser, rates[chooser_next(&chooser, &reduce)], false, 100);
    assert_int_equal(settled(&chooser, &reduce), STREAM_CODEC_NONE);
}

/* A codec that had little of the processor at first is looked at again. */
static void test_slow_at_first(void **state)
{
    (void)state;
    struct chooser chooser;
    bool reduce;
    chooser_init(&chooser, CHOOSER_AUTO, 1);
    chooser_link(&chooser, 119e6, true, 100);
    assert_int_equal(chooser_next(&chooser, &reduce), STREAM_CODEC_ZSTD);
    for (unsigned i = 0; i < 20; i++)
        chooser_measured(&chooser, STREAM_CODEC_ZSTD, 3200000, 1000000, NS_PER_S / 50);
    assert_int_equal(settled(&chooser, &reduce), STREAM_CODEC_LZ4);
    for (unsigned i = 0; i < 2000; i++)
        if (chooser_next(&chooser, &reduce) == STREAM_CODEC_ZSTD)
            chooser_measured(&chooser, STREAM_CODEC_ZSTD, 3200000, 1000000, NS_PER_S / 150);
    assert_int_equal(settled(&chooser, &reduce), STREAM_CODEC_ZSTD);
}

/* One that is hardly used is not. */
static void test_idle_link(void **state)
{
    (void)state;
    struct chooser chooser;
    bool reduce;
    chooser_init(&chooser, CHOOSER_AUTO, 1);
    chooser_link(&chooser, 119e6, true, 100);
    for (unsigned i = 0; i < 1000; i++)
        chooser_link(&chooser, 1e6, false, 100);
    assert_int_equal(settled(&chooser, &reduce), STREAM_CODEC_ZSTD);
}

/* One thread does little with zstd; but the processor, which has more to do, makes no more of lz4.
 */
static void test_busy_processor(void **state)
{
    (void)state;
    struct chooser chooser;
    bool reduce;
    chooser_init(&chooser, CHOOSER_AUTO, 1);
    chooser_link(&chooser, 119e6, true, 100);
    for (unsigned i = 0; i < 20; i++)
        chooser_measured(&chooser, STREAM_CODEC_ZSTD, 3200000, 1000000, NS_PER_S / 50);
    assert_int_equal(settled(&chooser, &reduce), STREAM_CODEC_LZ4);
    static const double rates[STREAM_CODECS] = {119e6, 95e6, 65e6};
    unsigned chosen[STREAM_CODECS] = {0};
    for (unsigned i = 0; i < 100; i++) /* two seconds */ {
        enum stream_codec codec = chooser_next(&chooser, &reduce);
        chooser_link(&chooser, rates[codec], codec == STREAM_CODEC_NONE, 100);
        chosen[codec]++;
    }
    assert_true(chosen[STREAM_CODEC_ZSTD] > 80);
    assert_int_equal(chosen[STREAM_CODEC_NONE], 0);
}

/* The processor has something else to do for a while, so that no codec fills the link: what they
 * made of it then does not keep them from being tried once more. */
static void test_a_while_passes(void **state)
{
    (void)state;
    static const double busy[STREAM_CODECS] = {119e6, 40e6, 34e6};
    struct chooser chooser;
    unsigned looks = 0;
    chooser_init(&chooser, CHOOSER_AUTO, 1);
    chooser_link(&chooser, 119e6, true, 100);
    for (unsigned i = 0; i < 100; i++) /* two seconds */ {
        const enum stream_codec codec = chooser_again(&chooser);
        chooser_link(&chooser, busy[codec], codec == STREAM_CODEC_NONE, 100);
    }
    while (looks < 1000 && chooser_again(&chooser) == STREAM_CODEC_NONE) {
        chooser_link(&chooser, 119e6, true, 100);
        looks++;
    }
    assert_in_range(looks, 0, 50);
    for (unsigned i = 0; i < 100; i++) {
        chooser_link(&chooser, 119e6, true, 100);
        assert_int_not_equal(chooser_again(&chooser), STREAM_CODEC_NONE);
    }
}

/* A single look may have met a pause. */
static void test_one_look_says_little(void **state)
{
    (void)state;
    struct chooser chooser;
    chooser_init(&chooser, CHOOSER_AUTO, 1);
    chooser_link(&chooser, 119e6, true, 100);
    const enum stream_codec codec = chooser_again(&chooser);
    chooser_link(&chooser, 31e6, false, 900);
    assert_int_equal(chooser_again(&chooser), codec);
}

/* The network is not what is waited for; but what the destination does not know is so little that
 * compressing it well is, too. Nothing of that is left when the destination knows no more. */
static void test_most_is_known(void **state)
{
    (void)state;
    struct chooser chooser;
    bool reduce;
    chooser_init(&chooser, CHOOSER_AUTO, 1);
    chooser_dictionary(&chooser);
    for (unsigned i = 0; i < 100; i++) /* a run of pages that are not known is no reason to stop */
        chooser_known(&chooser, 128, 2);
    assert_int_equal(settled(&chooser, &reduce), STREAM_CODEC_ZSTD);
    assert_false(reduce);
    for (unsigned i = 0; i < 1000; i++)
        chooser_known(&chooser, 128, 2);
    assert_int_equal(settled(&chooser, &reduce), STREAM_CODEC_NONE);
}

static void test_wishes_are_followed(void **state)
{
    (void)state;
    static const enum stream_codec wished[] = {STREAM_CODEC_NONE, STREAM_CODEC_LZ4,
                                               STREAM_CODEC_ZSTD};
    for (unsigned i = 0; i < 3; i++) {
        struct chooser chooser;
        bool reduce;
        chooser_init(&chooser, CHOOSER_NONE + i, 1);
        assert_int_equal(settled(&chooser, &reduce), wished[i]);
        chooser_link(&chooser, 119e6, true, 100);
        assert_int_equal(settled(&chooser, &reduce), wished[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_link),
        cmocka_unit_test(test_start),
        cmocka_unit_test(test_no_scarcity),
        cmocka_unit_test(test_busy_peer),
        cmocka_unit_test(test_random_memory_is_not_compressed),
        cmocka_unit_test(test_faster_link),
        cmocka_unit_test(test_slow_at_first),
        cmocka_unit_test(test_idle_link),
        cmocka_unit_test(test_busy_processor),
        cmocka_unit_test(test_a_while_passes),
        cmocka_unit_test(test_one_look_says_little),
        cmocka_unit_test(test_most_is_known),
        cmocka_unit_test(test_wishes_are_followed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
