/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of what both guests share: working set, options, lines, engine. */
#include "base/test.h"

#include <stdlib.h>
#include <string.h>

#include "engine.h"

#define WORK 8u
#define FILL 3u
#define ZERO 2u

struct fixture {
    struct workset set;
    uint32_t *region;
};

/* A working set with its first contents. Freed by fixture_close. */
static void fixture_open(struct fixture *fixture, enum workset_pattern pattern)
{
    const struct workset_config config = {
        .seed = 7, .pattern = pattern, .work_pages = WORK, .fill_pages = FILL, .zero_pages = ZERO};
    uintptr_t size = workset_size(&config);

    assert_int_equal(size, (1 + WORK + FILL + ZERO) * WORKSET_PAGE_SIZE);
    fixture->region = aligned_alloc(WORKSET_PAGE_SIZE, size);
    assert_non_null(fixture->region);
    memset(fixture->region, 0xa5, size);
    workset_open(&fixture->set, &config, fixture->region);
    while (!workset_init(&fixture->set, 100))
        continue;
}

static void fixture_close(struct fixture *fixture)
{
    free(fixture->region);
}

/* Checks everything once, in steps of `words`; true when all is right. */
static bool fixture_round(struct fixture *fixture, uint32_t words)
{
    uint64_t goal = fixture->set.rounds + 1, errors = fixture->set.errors;

    while (fixture->set.rounds < goal)
        workset_check(&fixture->set, words);
    return fixture->set.errors == errors;
}

static void test_no_false_error(void **state)
{
    (void)state;
    for (int pattern = WORKSET_COUNTER; pattern <= WORKSET_SWEEP; pattern++) {
        struct fixture fixture;

        fixture_open(&fixture, (enum workset_pattern)pattern);
        assert_true(fixture_round(&fixture, 1000));
        /* Steps that share no divisor with a page: every state of the page in flight is met. */
        for (uint32_t i = 0; i < 20000; i++) {
            workset_write(&fixture.set, 1 + i % 333, 3);
            workset_check(&fixture.set, 1 + i % 257);
        }
        assert_int_equal(fixture.set.errors, 0);
        assert_true(fixture.set.written > 1000);
        assert_true(fixture.set.rounds > 100);
        fixture_close(&fixture);
    }
}

static void test_every_page_changes(void **state)
{
    (void)state;
    struct fixture fixture;

    fixture_open(&fixture, WORKSET_SWEEP);
    for (uint32_t page = 0; page < WORK; page++)
        assert_int_equal(workset_write(&fixture.set, WORKSET_WORDS, 1), 1);
    for (uint32_t page = 0; page < WORK; page++)
        assert_int_equal(fixture.set.generation[page], 1);
    assert_true(fixture_round(&fixture, 1000));
    fixture_close(&fixture);
}

/* Each single flipped bit of some words in each part is found, at its address. */
static void test_every_bit_counts(void **state)
{
    (void)state;
    for (int pattern = WORKSET_COUNTER; pattern <= WORKSET_SWEEP; pattern++) {
        struct fixture fixture;
        uint32_t *words;

        fixture_open(&fixture, (enum workset_pattern)pattern);
        workset_write(&fixture.set, 50000, 100);
        words = fixture.set.pages;
        for (uint32_t i = 0; i < fixture.set.total * WORKSET_WORDS; i += 61) {
            uint32_t bit = i % 32;

            words[i] ^= 1u << bit;
            fixture.set.errors = 0;
            assert_false(fixture_round(&fixture, 1000));
            assert_int_equal(fixture.set.errors, 1);
            assert_int_equal(fixture.set.first.address, (uintptr_t)(words + i) + bit / 8);
            assert_int_equal(fixture.set.first.page, i / WORKSET_WORDS);
            assert_int_equal(fixture.set.first.got, ((uint8_t *)(words + i))[bit / 8]);
            assert_int_equal(fixture.set.first.want ^ fixture.set.first.got, 1u << bit % 8);
            words[i] ^= 1u << bit;
        }
        assert_true(fixture_round(&fixture, 1000));
        fixture_close(&fixture);
    }
}

/* A page as it was one write ago, and a page in another one's place: what a migration that loses
 * or misplaces a page leaves behind. */
static void test_stale_and_misplaced_pages(void **state)
{
    (void)state;
    for (int pattern = WORKSET_COUNTER; pattern <= WORKSET_SWEEP; pattern++) {
        static uint32_t old[WORK * WORKSET_WORDS];
        struct fixture fixture;

        fixture_open(&fixture, (enum workset_pattern)pattern);
        memcpy(old, fixture.set.pages, sizeof(old));
        workset_write(&fixture.set, WORKSET_WORDS, 1);
        memcpy(fixture.set.pages, old, sizeof(old));
        assert_false(fixture_round(&fixture, 1000));
        fixture_close(&fixture);

        fixture_open(&fixture, (enum workset_pattern)pattern);
        memmove(fixture.set.pages, fixture.set.pages + WORKSET_WORDS, WORKSET_PAGE_SIZE);
        assert_false(fixture_round(&fixture, 1000));
        assert_true(fixture.set.errors > WORKSET_WORDS - 10);
        fixture_close(&fixture);
    }
}

static void test_damage_is_found(void **state)
{
    (void)state;
    struct fixture fixture;

    fixture_open(&fixture, WORKSET_COUNTER);
    workset_damage(&fixture.set);
    workset_write(&fixture.set, 1000000, 1000);
    assert_false(fixture_round(&fixture, 64));
    assert_int_equal(fixture.set.errors, 1);
    fixture_close(&fixture);
}

static void test_options(void **state)
{
    (void)state;
    struct options options;
    char value[8];

    options_default(&options);
    assert_null(options_parse(&options,
                              " mem=2 fill=10K zero=1G rate=300M check=max seed=4294967295"
                              " pattern=sweep heartbeat=2 line=50 ",
                              ""));
    assert_int_equal(options.work.work_pages, 512);
    assert_int_equal(options.work.fill_pages, 3);
    assert_int_equal(options.work.zero_pages, 262144);
    assert_int_equal(options.rate, 76800);
    assert_int_equal(options.check, OPTIONS_NO_LIMIT);
    assert_int_equal(options.work.seed, UINT32_MAX);
    assert_int_equal(options.work.pattern, WORKSET_SWEEP);
    assert_int_equal(options.heartbeat_ms, 2);
    assert_int_equal(options.line_ms, 50);
    assert_null(options_parse(&options, "quiet ro mudanza.rate=7\n", "mudanza."));
    assert_int_equal(options.rate, 7);
    assert_true(options_text("a=1 mudanza.ip=1.2.3 b", "mudanza.ip", value, sizeof(value)));
    assert_string_equal(value, "1.2.3");
    assert_false(options_text("a=1 mudanza.ipx=1", "mudanza.ip", value, sizeof(value)));
    assert_false(options_text("ip=12345678", "ip", value, sizeof(value)));
}

static void test_options_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "mem=",    "mem=1X",       "mem=4294967296",  "mem=16777216", "rate=max1",
        "rate=-1", "pattern=rand", "pattern=random2", "heartbeat=0",  "heartbeat=2 ms",
        "speed=1", "rate",         "seed=1M",         "line=10001"};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct options options;

        options_default(&options);
        assert_non_null(options_parse(&options, bad[i], ""));
    }
}

static void assert_line(const struct beat_line *line, const char *text)
{
    assert_int_equal(line->length, strlen(text));
    assert_memory_equal(line->text, text, line->length);
}

static void test_lines(void **state)
{
    (void)state;
    struct beat_line line;

    beat_begin(&line, "HB");
    beat_number(&line, "n", 1);
    beat_hex(&line, "e", 0x1f);
    beat_end(&line);
    assert_line(&line, "HB n=1 e=0x1f *c178\n"); /* test_heartbeat.py reads the same */

    beat_begin(&line, "X");
    beat_number(&line, "a", 0);
    beat_number(&line, "b", UINT64_MAX);
    beat_number(&line, "c", 65536);
    beat_hex(&line, "d", 0);
    beat_hex(&line, "e", UINT64_MAX);
    line.text[line.length] = 0;
    assert_string_equal(line.text,
                        "X a=0 b=18446744073709551615 c=65536 d=0x0 e=0xffffffffffffffff");
    for (int i = 0; i < 100; i++)
        beat_word(&line, "long", "text");
    beat_end(&line);
    assert_int_equal(line.length, BEAT_LINE_MAX);
    assert_int_equal(line.text[BEAT_LINE_MAX - 1], '\n');
}

/* Runs the engine for `ms` milliseconds of its own time. */
static void engine_for(struct engine *engine, uint32_t ms)
{
    struct beat_line line;

    for (uint32_t i = 0; i < ms; i++) {
        engine_grant(engine, 1);
        while (engine_step(engine) && engine->ready)
            continue;
        engine_event(engine, &line);
    }
}

static void test_engine_keeps_rates(void **state)
{
    (void)state;
    struct options options;
    struct engine engine;
    struct beat_line line;
    void *region;

    options_default(&options);
    assert_null(options_parse(&options, "mem=64K rate=500 check=1000 pattern=random", ""));
    region = aligned_alloc(WORKSET_PAGE_SIZE, workset_size(&options.work));
    engine_open(&engine, &options, region);
    while (!engine.ready)
        engine_for(&engine, 1);
    engine_for(&engine, 4000);
    assert_in_range(engine.set.written, 1998, 2000);
    assert_in_range(engine.set.rounds, 240, 250);
    assert_false(engine_command(&engine, 'p', &line));
    engine_for(&engine, 1000);
    assert_in_range(engine.set.written, 1998, 2000);
    assert_false(engine_command(&engine, 'g', &line));
    engine_for(&engine, 1000);
    assert_in_range(engine.set.written, 2498, 2500);
    assert_int_equal(engine.set.errors, 0);
    free(region);
}

static void test_engine_says_what_it_finds(void **state)
{
    (void)state;
    struct options options;
    struct engine engine;
    struct beat_line line;
    void *region;
    int events = 0;

    options_default(&options);
    assert_null(options_parse(&options, "mem=16K heartbeat=2 line=10 check=4000", ""));
    region = aligned_alloc(WORKSET_PAGE_SIZE, workset_size(&options.work));
    engine_open(&engine, &options, region);
    for (uint32_t n = 1; n <= 11; n++) {
        uint32_t length = engine_beat(&engine, &line);

        assert_int_equal(engine.sequence, n);
        assert_int_equal(length == 1, n % 5 != 1);
        assert_int_equal((uint8_t)line.text[0] == beat_byte(n), n % 5 != 1);
    }
    engine_for(&engine, 100);
    engine_command(&engine, 'b', &line);
    for (int i = 0; i < 1000; i++) {
        engine_grant(&engine, 1);
        engine_step(&engine);
        if (!engine_event(&engine, &line))
            continue;
        assert_memory_equal(line.text, "BAD addr=0x", 11);
        events++;
    }
    assert_int_equal(events, 1);
    assert_true(engine_command(&engine, 'r', &line));
    assert_memory_equal(line.text, "ST n=11 t=", 10);
    free(region);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_false_error),     cmocka_unit_test(test_every_page_changes),
        cmocka_unit_test(test_every_bit_counts),   cmocka_unit_test(test_stale_and_misplaced_pages),
        cmocka_unit_test(test_damage_is_found),    cmocka_unit_test(test_options),
        cmocka_unit_test(test_options_refused),    cmocka_unit_test(test_lines),
        cmocka_unit_test(test_engine_keeps_rates), cmocka_unit_test(test_engine_says_what_it_finds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
