/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of how a move's progress is drawn. */
#include "base/test.h"

#include <string.h>

#include "cli/bar.h"

static json_t *sample(void)
{
    json_t *progress = json_pack("{s:s, s:s, s:f, s:i, s:I, s:i, s:i}", "vm", "web", "phase",
                                 "copy", "percent", 43.25, "remaining_ms", 2100, "rate",
                                 (json_int_t)1181116006, "round", 2, "downtime_estimate_ms", 28);
    assert_non_null(progress);
    return progress;
}

static char *render(const json_t *progress, double percent, unsigned width, bool colour)
{
    struct text line = {0};
    const struct bar_view view = {percent, width, colour};
    bar_render(progress, &view, &line);
    return line.data ? line.data : text_copy("");
}

static void test_eighty_columns_show_all(void **state)
{
    (void)state;
    CLEANUP_JSON json_t *progress = sample();
    CLEANUP_FREE char *line = render(progress, 43.25, 80, false);
    assert_string_equal(line, "copy      [###----]   43.2 %  3 s left     1.1 GiB/s     round 2 "
                              "  down ~28 ms");
    CLEANUP_FREE char *wide = render(progress, 43.25, 160, false);
    assert_string_equal(wide, "copy      [#################-----------------------]   43.2 %"
                              "  3 s left     1.1 GiB/s     round 2   down ~28 ms");
}

static void test_narrow_terminals_lose_fields_from_the_right(void **state)
{
    (void)state;
    CLEANUP_JSON json_t *progress = sample();
    static const struct {
        unsigned width;
        const char *there, *missing;
    } cases[] = {
        {79, "round 2", "down"}, {65, "GiB/s", "round"}, {50, "s left", "GiB/s"},
        {36, "[", "s left"},     {20, "copy", "["},      {12, "43.2 %", "copy"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        CLEANUP_FREE char *line = render(progress, 43.25, cases[i].width, false);
        assert_non_null(strstr(line, cases[i].there));
        assert_null(strstr(line, cases[i].missing));
    }
}

static void test_remaining_time_is_coarse(void **state)
{
    (void)state;
    static const struct {
        int64_t ms;
        const char *text;
    } cases[] = {
        {0, "0 s left"},       {1, "1 s left"},          {99000, "99 s left"},
        {99001, "1 min left"}, {5999000, "99 min left"}, {6000000, "1 h left"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        CLEANUP_JSON json_t *progress = sample();
        json_object_set_new(progress, "remaining_ms", json_integer(cases[i].ms));
        CLEANUP_FREE char *line = render(progress, 1, 80, false);
        assert_non_null(strstr(line, cases[i].text));
    }
}

static void test_no_line_reaches_the_last_column(void **state)
{
    (void)state;
    CLEANUP_JSON json_t *progress = sample();
    json_object_set_new(progress, "remaining_ms", json_integer(INT64_MAX));
    json_object_set_new(progress, "rate", json_integer(INT64_MAX));
    json_object_set_new(progress, "round", json_integer(INT64_MAX));
    json_object_set_new(progress, "downtime_estimate_ms", json_integer(INT64_MAX));
    json_object_set_new(progress, "phase", json_string("a phase with a long name"));
    for (unsigned width = 0; width < 300; width++) {
        CLEANUP_FREE char *line = render(progress, 100, width, false);
        assert_true(strlen(line) < width || strlen(line) == 0);
        if (width > 8)
            assert_non_null(strstr(line, "100.0 %"));
    }
}

static void test_fields_stay_where_they_are(void **state)
{
    (void)state;
    CLEANUP_JSON json_t *early = sample(), *late = sample();
    json_object_del(early, "remaining_ms");
    json_object_set_new(late, "rate", json_integer(12));
    CLEANUP_FREE char *one = render(early, 1, 120, false), *other = render(late, 99, 120, false);
    assert_int_equal(strstr(one, "round") - one, strstr(other, "round") - other);
    assert_int_equal(strchr(one, ']') - one, strchr(other, ']') - other);
    assert_null(strstr(one, "left"));
}

static unsigned filled(double percent)
{
    CLEANUP_JSON json_t *progress = sample();
    CLEANUP_FREE char *line = render(progress, percent, 200, false);
    unsigned count = 0;
    for (const char *c = line; *c; c++)
        count += *c == '#';
    return count;
}

static void test_the_bar_is_full_only_at_the_end(void **state)
{
    (void)state;
    assert_int_equal(filled(0), 0);
    assert_int_equal(filled(50), 20);
    assert_int_equal(filled(99.9), 39);
    assert_int_equal(filled(100), 40);
}

static void test_colour_adds_nothing_else(void **state)
{
    (void)state;
    CLEANUP_JSON json_t *progress = sample();
    CLEANUP_FREE char *plain = render(progress, 50, 100, false);
    CLEANUP_FREE char *colour = render(progress, 50, 100, true);
    assert_null(strchr(plain, '\033'));
    assert_non_null(strstr(colour, "\033[32m"));
    assert_non_null(strstr(colour, "\033[0m"));
    assert_int_equal(strlen(colour), strlen(plain) + strlen("\033[32m\033[0m"));
}

static void test_sentences_say_what_is_known(void **state)
{
    (void)state;
    CLEANUP_JSON json_t *full = sample();
    CLEANUP_JSON json_t *bare = json_pack("{s:s, s:s}", "vm", "a\nb", "phase", "plan");
    CLEANUP_TEXT struct text one = {0}, other = {0};
    bar_sentence(full, 43.25, &one);
    assert_string_equal(one.data, "web: copy 43.2 %, 1.1 GiB/s, 3 s left, round 2, down ~28 ms");
    bar_sentence(bare, 0, &other);
    assert_string_equal(other.data, "a?b: plan 0.0 %");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_eighty_columns_show_all),
        cmocka_unit_test(test_narrow_terminals_lose_fields_from_the_right),
        cmocka_unit_test(test_remaining_time_is_coarse),
        cmocka_unit_test(test_no_line_reaches_the_last_column),
        cmocka_unit_test(test_fields_stay_where_they_are),
        cmocka_unit_test(test_the_bar_is_full_only_at_the_end),
        cmocka_unit_test(test_colour_adds_nothing_else),
        cmocka_unit_test(test_sentences_say_what_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
