/* SPDX-License-Identifier: Apache-2.0 */
/* What a test guest is told on its command line; see options.h. */
#include "options.h"

#include <stddef.h>

#define HEARTBEAT_MS_MAX 10000u

void options_default(struct options *options)
{
    *options = (struct options){
        .work = {.seed = 1, .pattern = WORKSET_COUNTER, .work_pages = 4096},
        .heartbeat_ms = 100,
        .line_ms = 100,
        .rate = 256,
        .check = OPTIONS_NO_LIMIT,
    };
}

static bool options_at_end(char c)
{
    return c == 0 || c == ' ' || c == '\n';
}

/* The text behind `start` if `text` begins with it, else NULL. */
static const char *options_after(const char *text, const char *start)
{
    while (*start != 0 && *text == *start) {
        text++;
        start++;
    }
    return *start == 0 ? text : NULL;
}

/* A decimal number below 2^32, up to the end of the word or one letter of `suffixes`. The suffix
 * found, or 0, goes to `suffix`. */
static bool options_number(const char *text, const char *suffixes, uint32_t *number, char *suffix)
{
    const char *digit = text;
    uint32_t value = 0;

    for (; *digit >= '0' && *digit <= '9'; digit++) {
        uint32_t next = value * 10 + (uint32_t)(*digit - '0');

        if (value > UINT32_MAX / 10 || next < value * 10)
            return false;
        value = next;
    }
    *number = value;
    *suffix = 0;
    for (; *suffixes != 0 && !options_at_end(*digit); suffixes++) {
        if (*digit == *suffixes) {
            *suffix = *digit++;
            break;
        }
    }
    return digit != text && options_at_end(*digit);
}

/* A count of 1, or of a unit: K, M or G bytes as 4 KiB pages. */
static bool options_pages(const char *text, char unit, uint32_t *pages)
{
    uint32_t number, scale = 1;
    char suffix;

    if (!options_number(text, "KMG", &number, &suffix))
        return false;
    if (suffix == 0)
        suffix = unit;
    if (suffix == 'K') {
        *pages = number / 4 + (number % 4 > 0);
        return true;
    }
    if (suffix == 'M')
        scale = 256;
    if (suffix == 'G')
        scale = 262144;
    *pages = number * scale;
    return number <= UINT32_MAX / scale;
}

static bool options_rate(const char *text, uint32_t *rate)
{
    const char *end = options_after(text, "max");

    if (end != NULL && options_at_end(*end)) {
        *rate = OPTIONS_NO_LIMIT;
        return true;
    }
    return options_pages(text, 0, rate);
}

static bool options_pattern(const char *text, enum workset_pattern *pattern)
{
    static const struct {
        const char *name;
        enum workset_pattern pattern;
    } table[] = {
        {"counter", WORKSET_COUNTER}, {"random", WORKSET_RANDOM}, {"sweep", WORKSET_SWEEP}};

    for (uint32_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        const char *end = options_after(text, table[i].name);

        if (end != NULL && options_at_end(*end)) {
            *pattern = table[i].pattern;
            return true;
        }
    }
    return false;
}

static bool options_ms(const char *text, uint32_t *ms)
{
    char suffix;

    return options_number(text, "", ms, &suffix) && *ms > 0 && *ms <= HEARTBEAT_MS_MAX;
}

static bool options_word(struct options *options, const char *word)
{
    const char *value;
    char suffix;

    if ((value = options_after(word, "mem=")) != NULL)
        return options_pages(value, 'M', &options->work.work_pages);
    if ((value = options_after(word, "fill=")) != NULL)
        return options_pages(value, 'M', &options->work.fill_pages);
    if ((value = options_after(word, "zero=")) != NULL)
        return options_pages(value, 'M', &options->work.zero_pages);
    if ((value = options_after(word, "rate=")) != NULL)
        return options_rate(value, &options->rate);
    if ((value = options_after(word, "check=")) != NULL)
        return options_rate(value, &options->check);
    if ((value = options_after(word, "pattern=")) != NULL)
        return options_pattern(value, &options->work.pattern);
    if ((value = options_after(word, "seed=")) != NULL)
        return options_number(value, "", &options->work.seed, &suffix);
    if ((value = options_after(word, "heartbeat=")) != NULL)
        return options_ms(value, &options->heartbeat_ms);
    if ((value = options_after(word, "line=")) != NULL)
        return options_ms(value, &options->line_ms);
    return false;
}

/* The word after this one; the terminating NUL when there is none. */
static const char *options_next(const char *word)
{
    while (!options_at_end(*word))
        word++;
    while (*word == ' ' || *word == '\n')
        word++;
    return word;
}

const char *options_parse(struct options *options, const char *line, const char *prefix)
{
    const char *word = *line == ' ' ? options_next(line) : line;

    for (; *word != 0; word = options_next(word)) {
        const char *name = options_after(word, prefix);

        if (name != NULL && !options_word(options, name))
            return word;
    }
    return NULL;
}

bool options_text(const char *line, const char *name, char *value, uint32_t size)
{
    const char *word = *line == ' ' ? options_next(line) : line;
    const char *text = NULL;
    uint32_t length = 0;

    for (; *word != 0 && text == NULL; word = options_next(word)) {
        text = options_after(word, name);
        if (text != NULL && *text++ != '=')
            text = NULL;
    }
    if (text == NULL)
        return false;
    for (; !options_at_end(text[length]); length++) {
        if (length + 1 >= size)
            return false;
        value[length] = text[length];
    }
    value[length] = 0;
    return true;
}
