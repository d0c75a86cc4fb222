/* SPDX-License-Identifier: Apache-2.0 */
/* Encoder and decoder together: what goes in comes out, by whatever way. */
#include "base/test.h"

#include <stdlib.h>
#include <string.h>

#include "stream/engine_testing.h"
#include "stream/ram_parser.h"
#include "stream/stream_block.h"

#define PAGES 600

static const struct encoder_options plain_options = {.codec = CHOOSER_ZSTD, .slots = 1000};

static struct made_stream make_stream(uint64_t *state, unsigned rounds)
{
    struct made_stream stream = {0};
    uint8_t *memory = calloc(PAGES, RAM_PAGE_SIZE);
    made_begin(&stream, (uint64_t)PAGES * RAM_PAGE_SIZE);
    made_rounds(&stream, state, memory, PAGES, rounds);
    made_device(&stream, memory, 100000);
    free(memory);
    return stream;
}

static void carry(const struct encoder_options *options, const struct made_stream *stream,
                  size_t piece, uint64_t seed, struct stream_counts *counts)
{
    struct engine engine;
    uint64_t state = seed;
    engine_start(&engine, options, &(struct decoder_options){.slots = options->slots});
    engine_carry(&engine, stream, piece, &state);
    *counts = encoder_counts(engine.encoder);
    assert_int_equal(counts->bytes_in, stream->size);
    assert_int_equal(counts->bytes_out, engine.wire);
    engine_stop(&engine);
}

/* Every codec, with threads and without, with slots, with too few of them, and without. */
static void test_arrives_as_it_left(void **test_state)
{
    (void)test_state;
    uint64_t seed = 88172645463325252;
    for (enum chooser_wish wish = CHOOSER_AUTO; wish <= CHOOSER_ZSTD; wish++)
        for (unsigned threads = 0; threads <= 3; threads += threads ? 2 : 1)
            for (uint32_t slots = 0; slots <= 1000; slots = slots ? slots * 10 : 10) {
                struct made_stream stream = make_stream(&seed, 4);
                struct stream_counts counts;
                const struct encoder_options options = {
                    .codec = wish, .threads = threads, .slots = slots};
                carry(&options, &stream, 0, made_random(&seed), &counts);
                made_free(&stream);
            }
}

static void test_cut_anywhere(void **state)
{
    (void)state;
    uint64_t seed = 424242;
    struct made_stream stream = make_stream(&seed, 1);
    struct stream_counts counts;
    stream.size = stream.size < 60000 ? stream.size : 60000;
    for (size_t piece = 1; piece < 5000; piece = piece * 2 + 1)
        carry(&plain_options, &stream, piece, 1, &counts);
    made_free(&stream);
}

/* What is no stream of QEMU's passes, too. */
static void test_garbage_passes(void **state)
{
    (void)state;
    struct made_stream stream = {0};
    struct stream_counts counts;
    uint64_t seed = 7;
    for (unsigned i = 0; i < 300000; i++)
        made_put(&stream, &(uint64_t){made_random(&seed)}, 8);
    carry(&plain_options, &stream, 100000, 1, &counts);
    assert_int_equal(counts.compressed + counts.zero + counts.repeated, 0);
    made_free(&stream);
}

/* One page of each kind, in the kind's count and in fewer bytes than the page. */
static void test_pages_are_counted_by_kind(void **state)
{
    (void)state;
    struct made_stream stream = {0};
    struct stream_counts counts;
    uint8_t page[RAM_PAGE_SIZE];
    uint64_t seed = 5;
    for (size_t i = 0; i < sizeof(page); i++)
        page[i] = (uint8_t)made_random(&seed);
    made_begin(&stream, 1 << 20);
    made_part(&stream);
    made_page(&stream, 0x1000, "pc.ram", page);
    made_page(&stream, 0x2000, NULL, NULL);
    made_page(&stream, 0x3000, NULL, page); /* equal to the first */
    page[100]++;
    made_page(&stream, 0x1000, NULL, page); /* changed */
    memset(page, 0xff, sizeof(page));
    made_page(&stream, 0x9000, NULL, page);
    made_part_end(&stream);
    carry(&plain_options, &stream, stream.size, 1, &counts);
    assert_int_equal(counts.compressed, 1);
    assert_int_equal(counts.zero, 1);
    assert_int_equal(counts.repeated, 2);
    assert_int_equal(counts.delta, 1);
    assert_int_equal(counts.plain + counts.known, 0);
    assert_true(counts.bytes_out < RAM_PAGE_SIZE + 300);
    made_free(&stream);
}

/* A page that changes a little costs a little each time, also when slots run short. */
static void test_changes_are_small(void **state)
{
    (void)state;
    enum { COUNT = 64, ROUNDS = 20 };
    static uint8_t memory[COUNT * RAM_PAGE_SIZE];
    struct made_stream stream = {0};
    struct stream_counts counts;
    uint64_t seed = 99;
    for (size_t i = 0; i < sizeof(memory); i++)
        memory[i] = (uint8_t)made_random(&seed);
    made_begin(&stream, sizeof(memory));
    for (unsigned round = 0; round < ROUNDS; round++) {
        made_part(&stream);
        for (uint64_t i = 0; i < COUNT; i++) {
            memory[i * RAM_PAGE_SIZE + 8 * (round + i)]++;
            made_page(&stream, i * RAM_PAGE_SIZE, i ? NULL : "pc.ram", memory + i * RAM_PAGE_SIZE);
        }
        made_part_end(&stream);
    }
    carry(&plain_options, &stream, stream.size, 1, &counts);
    assert_int_equal(counts.compressed, COUNT);
    assert_int_equal(counts.delta, COUNT * (ROUNDS - 1));
    assert_true(counts.bytes_out < sizeof(memory) + (size_t)COUNT * ROUNDS * 16);
    made_free(&stream);
}

/* Where all is noise, windows go uncompressed between those that are part of a lane's zstd stream.
 */
static void test_noise_is_not_compressed(void **state)
{
    (void)state;
    enum { ROUNDS = 2, NOISE = 3000, TEXT = 100 };
    for (unsigned threads = 0; threads <= 2; threads++) {
        struct made_stream stream = {0};
        struct stream_counts counts;
        uint8_t page[RAM_PAGE_SIZE];
        uint64_t seed = 1234567;
        made_begin(&stream, (uint64_t)ROUNDS * (NOISE + TEXT) * RAM_PAGE_SIZE);
        made_part(&stream);
        for (uint64_t i = 0; i < (uint64_t)ROUNDS * (NOISE + TEXT); i++) {
            bool noise = i % (NOISE + TEXT) < NOISE;
            for (size_t at = 0; at < sizeof(page); at += 8) {
                uint64_t word = made_random(&seed) & (noise ? UINT64_MAX : 0x0303030303030303);
                memcpy(page + at, &word, 8);
            }
            made_page(&stream, i * RAM_PAGE_SIZE, i ? NULL : "pc.ram", page);
        }
        made_part_end(&stream);
        const struct encoder_options options = {
            .codec = CHOOSER_ZSTD, .threads = threads, .slots = 1000};
        carry(&options, &stream, stream.size, 1, &counts);
        assert_true(counts.compressed >= (uint64_t)ROUNDS * TEXT);
        assert_true(counts.plain > counts.compressed / 2);
        assert_int_equal(counts.plain + counts.compressed, ROUNDS * (NOISE + TEXT));
        made_free(&stream);
    }
}

/* --- the dictionary --- */

struct host_ram {
    struct page_hasher *hasher;
    const uint8_t *pages;
    uint8_t (*hashes)[PAGE_HASH_SIZE];
    size_t count, gone; /* pages below `gone` are in the filter only */
};

static bool look_one_up(const struct host_ram *ram, const uint8_t *hash, uint8_t *page)
{
    for (size_t i = ram->gone; i < ram->count; i++)
        if (memcmp(ram->hashes[i], hash, PAGE_HASH_SIZE) == 0) {
            memcpy(page, ram->pages + i * RAM_PAGE_SIZE, RAM_PAGE_SIZE);
            return true;
        }
    return false;
}

static void look_up(void *context, const uint8_t *hashes, size_t n, uint8_t *const *to, bool *found)
{
    for (size_t i = 0; i < n; i++)
        found[i] = look_one_up(context, hashes + i * PAGE_HASH_SIZE, to[i]);
}

static void give_filter(struct engine *engine, const struct host_ram *ram)
{
    struct error *err = NULL;
    size_t size;
    uint8_t *part = page_filter_make(ram->hashes[0], ram->count, true, &size);
    struct block *block = block_new(STREAM_FILTER, (uint32_t)size);
    memcpy(block->data, part, size);
    assert_ok(encoder_answer(engine->encoder, block, &err), err);
    free(block);
    free(part);
}

/* Runs with half of the destination's pages written over since the filter was made. */
static void carry_with_dictionary(bool hold, unsigned threads, uint32_t slots,
                                  struct stream_counts *counts)
{
    static uint8_t memory[PAGES * RAM_PAGE_SIZE];
    static uint8_t hashes[PAGES][PAGE_HASH_SIZE];
    struct made_stream stream = {0};
    struct page_hash_key key;
    struct error *err = NULL;
    uint64_t seed = 31337;
    made_begin(&stream, sizeof(memory));
    made_rounds(&stream, &seed, memory, PAGES, 1);
    assert_ok(page_hash_key_make(&key, &err), err);
    struct host_ram ram = {page_hasher_new(&key, &err), memory, hashes, PAGES, PAGES / 2};
    for (size_t i = 0; i < PAGES; i++)
        assert_true(page_hash(ram.hasher, memory + i * RAM_PAGE_SIZE, hashes[i]));
    struct engine engine;
    engine_start(
        &engine,
        &(struct encoder_options){
            .codec = CHOOSER_ZSTD, .threads = threads, .slots = slots, .dictionary_key = &key},
        &(struct decoder_options){.slots = slots, .lookup = look_up, .context = &ram});
    engine.hold_answers = hold;
    give_filter(&engine, &ram);
    engine_carry(&engine, &stream, 10000, &seed);
    *counts = encoder_counts(engine.encoder);
    engine_answer(&engine); /* those that come late are of no interest any more */
    engine_stop(&engine);
    page_hasher_free(ram.hasher);
    made_free(&stream);
}

static void test_known_pages_do_not_travel(void **state)
{
    (void)state;
    struct stream_counts counts;
    for (unsigned threads = 0; threads < 3; threads++)
        for (uint32_t slots = 0; slots <= 1000; slots += 1000) {
            carry_with_dictionary(false, threads, slots, &counts);
            assert_true(counts.known > PAGES / 8);
            assert_true(counts.compressed > PAGES / 8); /* those that were gone */
        }
}

static void test_nobody_waits_for_an_answer_at_the_end(void **state)
{
    (void)state;
    struct stream_counts counts;
    carry_with_dictionary(true, 1, 1000, &counts);
    assert_int_equal(counts.known, 0);
    assert_true(counts.compressed > PAGES / 2);
}

/* --- copies --- */

/* The guest's RAM, as what came out makes it. */
struct guest_ram {
    struct engine *engine;
    struct ram_parser *parser;
    size_t fed;
    unsigned read;
    int wrong; /* added to what is read */
    uint8_t bytes[PAGES * RAM_PAGE_SIZE];
};

static int place(void *context, const struct ram_token *token, struct error **err)
{
    struct guest_ram *ram = context;
    (void)err;
    if (token->kind == RAM_PAGE)
        memcpy(ram->bytes + token->address, token->page, RAM_PAGE_SIZE);
    else if (token->kind == RAM_ZERO)
        memset(ram->bytes + token->address, 0, RAM_PAGE_SIZE);
    return 0;
}

static int read_ram(void *context, uint64_t address, uint8_t *page, struct error **err)
{
    struct guest_ram *ram = context;
    const struct made_stream *out = &ram->engine->out;
    assert_ok(
        ram_parser_feed(ram->parser, out->bytes + ram->fed, out->size - ram->fed, place, ram, err),
        *err);
    ram->fed = out->size;
    ram->read++;
    assert_true(address <= sizeof(ram->bytes) - RAM_PAGE_SIZE);
    memcpy(page, ram->bytes + address, RAM_PAGE_SIZE);
    page[0] = (uint8_t)(page[0] + ram->wrong);
    return 0;
}

static void copies_start(struct engine *engine, struct guest_ram *ram, unsigned threads)
{
    *ram = (struct guest_ram){.engine = engine, .parser = ram_parser_new()};
    engine_start(engine,
                 &(struct encoder_options){
                     .codec = CHOOSER_ZSTD, .threads = threads, .slots = 1000, .copies = true},
                 &(struct decoder_options){.slots = 1000, .read_ram = read_ram, .context = ram});
}

static void copies_stop(struct engine *engine, struct guest_ram *ram)
{
    engine_stop(engine);
    ram_parser_free(ram->parser);
}

/* What the guest's RAM has had already does not travel, and what is there no more does; with pushes
 * and flushes in between, and rounds in which pages change. */
static void test_copies(void **test_state)
{
    (void)test_state;
    static struct guest_ram ram;
    uint64_t seed = 2718281828;
    for (unsigned i = 0; i < 12; i++) {
        struct made_stream stream = make_stream(&seed, i % 4 + 1);
        struct engine engine;
        copies_start(&engine, &ram, i % 3);
        engine_carry(&engine, &stream, i % 2 ? 0 : 30000, &seed);
        if (i % 2 == 0)
            assert_true(ram.read > PAGES / 60);
        copies_stop(&engine, &ram);
        made_free(&stream);
    }
}

/* A page at a place whose old content was like it: nothing is taken from there any more. */
static void test_no_copies_of_what_was_sent_again(void **state)
{
    (void)state;
    static struct guest_ram ram;
    struct made_stream stream = {0};
    struct engine engine;
    uint8_t one[RAM_PAGE_SIZE], other[RAM_PAGE_SIZE];
    uint64_t seed = 1;
    for (size_t i = 0; i < sizeof(one); i++) {
        one[i] = (uint8_t)made_random(&seed);
        other[i] = (uint8_t)made_random(&seed);
    }
    made_begin(&stream, sizeof(ram.bytes));
    made_part(&stream);
    made_page(&stream, 0x1000, "pc.ram", one);
    made_page(&stream, 0x2000, NULL, one); /* a copy */
    made_page(&stream, 0x1000, NULL, other);
    made_page(&stream, 0x3000, NULL, one);
    made_page(&stream, 0x4000, NULL, other);
    made_part_end(&stream);
    copies_start(&engine, &ram, 0);
    engine_carry(&engine, &stream, stream.size, &seed);
    assert_int_equal(ram.read, 1);
    copies_stop(&engine, &ram);
    made_free(&stream);
}

/* The decoder finds out when the RAM is not what was sent. */
static void test_copies_are_checked(void **state)
{
    (void)state;
    static struct guest_ram ram;
    uint64_t seed = 31;
    struct error *err = NULL;
    struct made_stream stream = make_stream(&seed, 1);
    struct engine engine;
    copies_start(&engine, &ram, 0);
    ram.wrong = 1;
    int status = encoder_write(engine.encoder, stream.bytes, stream.size, &err);
    if (status == 0)
        status = encoder_finish(engine.encoder, &err);
    assert_true(status < 0);
    assert_int_equal(err->kind, ERROR_CORRUPT);
    assert_non_null(strstr(err->message, "does not hold what was sent"));
    error_free(err);
    copies_stop(&engine, &ram);
    made_free(&stream);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arrives_as_it_left),
        cmocka_unit_test(test_cut_anywhere),
        cmocka_unit_test(test_garbage_passes),
        cmocka_unit_test(test_pages_are_counted_by_kind),
        cmocka_unit_test(test_changes_are_small),
        cmocka_unit_test(test_noise_is_not_compressed),
        cmocka_unit_test(test_known_pages_do_not_travel),
        cmocka_unit_test(test_nobody_waits_for_an_answer_at_the_end),
        cmocka_unit_test(test_copies),
        cmocka_unit_test(test_no_copies_of_what_was_sent_again),
        cmocka_unit_test(test_copies_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
