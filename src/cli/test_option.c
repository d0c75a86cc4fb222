/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of option parsing, of its help, and of the suggestions for misspelt words. */
#include "base/test.h"

#include <string.h>

#include "cli/option.h"
#include "cli/suggest.h"

enum {
    FLAG,
    LEFT,
    RIGHT,
    TEXT,
    RATE,
};

static const struct option_spec specs[] = {
    [FLAG] = {"flag", NULL, NULL, "a flag", 'f'},
    [LEFT] = {"left", NULL, NULL, "one side", 0, 's'},
    [RIGHT] = {"right", NULL, NULL, "other side", 0, 's'},
    [TEXT] = {"text", "WORD", option_check_name, "a text", 't'},
    [RATE] = {"rate", "RATE", option_check_rate, "a rate"},
    {NULL},
};

struct line {
    struct option_value values[OPTION_MAX];
    const char *items[2];
    struct option_operands operands;
    struct error *err;
    int result;
};

/* Parses words ended by NULL after a program's name. */
static void parse(struct line *line, const char *const words[])
{
    char *argv[16] = {(char *)"program"};
    int argc = 1;
    for (; words[argc - 1]; argc++)
        argv[argc] = (char *)words[argc - 1];
    *line = (struct line){0};
    line->operands = (struct option_operands){.items = line->items, .max = 2};
    const struct option_set set = {specs, line->values};
    line->result = option_parse(argc, argv, &set, 1, &line->operands, &line->err);
}

#define PARSE(line, ...) parse(line, (const char *const[]){__VA_ARGS__, NULL})

static void assert_refused(struct line *line, const char *message, const char *hint)
{
    assert_int_equal(line->result, -1);
    assert_non_null(line->err);
    assert_int_equal(line->err->kind, ERROR_INVALID);
    assert_string_equal(line->err->message, message);
    if (hint)
        assert_string_equal(line->err->hint, hint);
    else
        assert_null(line->err->hint);
    error_free(line->err);
}

static void test_every_spelling_is_taken(void **state)
{
    (void)state;
    struct line line;
    PARSE(&line, "--text=a=b", "one", "-f", "--rate", "2", "two");
    assert_ok(line.result, line.err);
    assert_true(line.values[FLAG].given);
    assert_string_equal(line.values[TEXT].text, "a=b");
    assert_int_equal(line.values[RATE].number, 2 << 20);
    assert_false(line.values[LEFT].given);
    assert_int_equal(line.operands.count, 2);
    assert_string_equal(line.items[0], "one");
    assert_string_equal(line.items[1], "two");
    PARSE(&line, "-t", "x", "-t", "y");
    assert_ok(line.result, line.err);
    assert_string_equal(line.values[TEXT].text, "y");
}

static void test_dashes_can_be_operands(void **state)
{
    (void)state;
    struct line line;
    PARSE(&line, "-", "--", "--flag");
    assert_ok(line.result, line.err);
    assert_false(line.values[FLAG].given);
    assert_string_equal(line.items[0], "-");
    assert_string_equal(line.items[1], "--flag");
    PARSE(&line, "--text", "--flag");
    assert_ok(line.result, line.err);
    assert_string_equal(line.values[TEXT].text, "--flag");
    assert_false(line.values[FLAG].given);
}

static void test_wrong_lines_are_refused_with_a_reason(void **state)
{
    (void)state;
    struct line line;
    PARSE(&line, "--flga");
    assert_refused(&line, "unknown option '--flga'", "did you mean '--flag'?");
    PARSE(&line, "--zzz=3");
    assert_refused(&line, "unknown option '--zzz'", NULL);
    PARSE(&line, "--fla");
    assert_refused(&line, "unknown option '--fla'", "did you mean '--flag'?");
    PARSE(&line, "-x");
    assert_refused(&line, "unknown option '-x'", NULL);
    PARSE(&line, "-ff");
    assert_refused(&line, "unknown option '-ff'", NULL);
    PARSE(&line, "--flag=yes");
    assert_refused(&line, "option '--flag' takes no value", NULL);
    PARSE(&line, "one", "--text");
    assert_refused(&line, "option '--text' needs a value: WORD", NULL);
    PARSE(&line, "--text=");
    assert_refused(&line, "option '--text': is empty", NULL);
    PARSE(&line, "--left", "--right");
    assert_refused(&line, "'--left' and '--right' exclude each other", NULL);
    PARSE(&line, "1", "2", "3");
    assert_refused(&line, "one argument too many: '3'", NULL);
}

static void test_global_options_end_at_the_command(void **state)
{
    (void)state;
    char *argv[] = {(char *)"program", (char *)"-f", (char *)"command", (char *)"--nonsense"};
    struct option_value values[OPTION_MAX] = {0};
    const struct option_set set = {specs, values};
    assert_int_equal(option_parse(4, argv, &set, 1, NULL, NULL), 2);
    assert_true(values[FLAG].given);
}

static void test_help_has_a_line_for_each(void **state)
{
    (void)state;
    CLEANUP_TEXT struct text text = {0};
    option_help(specs, &text);
    assert_non_null(strstr(text.data, "  -f, --flag                a flag\n"));
    assert_non_null(strstr(text.data, "      --rate RATE           a rate\n"));
}

static void test_numbers_have_limits(void **state)
{
    (void)state;
    int64_t number = 0;
    assert_int_equal(option_check_downtime("2000000", &number, NULL), 0);
    assert_int_equal(number, 2000000);
    assert_int_equal(option_check_downtime("2000001", &number, NULL), -1);
    assert_int_equal(option_check_downtime("0", &number, NULL), -1);
    assert_int_equal(option_check_seconds("60", &number, NULL), 0);
    assert_int_equal(option_check_seconds("1.5", &number, NULL), -1);
}

static const char *nearest(const char *word)
{
    static const char *const known[] = {"migrate", "list", "start", "state", "suspend", "undefine"};
    struct suggest suggest;
    suggest_start(&suggest, word, strlen(word));
    for (size_t i = 0; i < ARRAY_SIZE(known); i++)
        suggest_offer(&suggest, known[i], strlen(known[i]));
    return suggest.best;
}

static void test_near_words_are_suggested(void **state)
{
    (void)state;
    assert_string_equal(nearest("mirgate"), "migrate");
    assert_string_equal(nearest("mig"), "migrate");
    assert_string_equal(nearest("lsit"), "list");
    assert_string_equal(nearest("stat"), "start");
    assert_string_equal(nearest("undefin"), "undefine");
    assert_null(nearest("frobnicate"));
    assert_null(nearest(""));
    assert_null(nearest("a-word-that-is-longer-than-anything-that-is-compared-here"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_spelling_is_taken),
        cmocka_unit_test(test_dashes_can_be_operands),
        cmocka_unit_test(test_wrong_lines_are_refused_with_a_reason),
        cmocka_unit_test(test_global_options_end_at_the_command),
        cmocka_unit_test(test_help_has_a_line_for_each),
        cmocka_unit_test(test_numbers_have_limits),
        cmocka_unit_test(test_near_words_are_suggested),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
