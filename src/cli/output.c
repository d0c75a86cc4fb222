/* SPDX-License-Identifier: Apache-2.0 */
/* What the program says, as text and as JSON. */
#include "cli/output.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

char *output_clean(const char *text)
{
    char *clean = text_copy(text);
    for (char *c = clean; *c; c++) {
        /* C0, DEL, and C1 in its UTF-8 form (0xc2 0x80 .. 0xc2 0x9f) */
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
        else if ((unsigned char)*c == 0xc2 && (unsigned char)c[1] >= 0x80 &&
                 (unsigned char)c[1] <= 0x9f)
            c[0] = c[1] = '?';
    }
    return clean;
}

void output_json(const json_t *object)
{
    CLEANUP_FREE char *text = json_dumps(object, 0);
    if (text)
        puts(text);
}

void output_line(enum output output, const char *format, ...)
{
    if (output == OUTPUT_JSON)
        return;
    va_list args;
    va_start(args, format);
    CLEANUP_FREE char *raw = NULL;
    if (vasprintf(&raw, format, args) < 0)
        raw = NULL;
    va_end(args);
    if (!raw)
        return;
    CLEANUP_FREE char *text = output_clean(raw);
    puts(text);
}

void output_error(enum output output, const struct error *error)
{
    CLEANUP_JSON json_t *object = json_from_error(error);
    CLEANUP_FREE char *message = output_clean(json_opt_string(object, "message", ""));
    fprintf(stderr, "mudanza: %s\n", message);
    const char *hint = json_opt_string(object, "hint", NULL);
    if (hint) {
        CLEANUP_FREE char *text = output_clean(hint);
        fprintf(stderr, "  %s\n", text);
    }
    if (output == OUTPUT_JSON) {
        CLEANUP_JSON json_t *outer = json_pack("{s:O}", "error", object);
        output_json(outer);
    }
}

void output_warning(const char *text)
{
    CLEANUP_FREE char *clean = output_clean(text);
    fprintf(stderr, "mudanza: warning: %s\n", clean);
}

static void hyphenate(json_t *object, const char *key)
{
    const char *word = json_opt_string(object, key, NULL);
    if (!word || !strchr(word, '_'))
        return;
    CLEANUP_FREE char *copy = text_copy(word);
    for (char *c = copy; *c; c++)
        if (*c == '_')
            *c = '-';
    json_object_set_new(object, key, json_string(copy));
}

json_t *output_words(json_t *value)
{
    const char *key;
    size_t index;
    json_t *member;
    if (json_is_object(value)) {
        hyphenate(value, "state");
        hyphenate(value, "mode");
        hyphenate(value, "outcome");
    }
    json_object_foreach (value, key, member) {
        output_words(member);
    }
    json_array_foreach (value, index, member) {
        output_words(member);
    }
    return value;
}
