/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the program says: results on standard output, everything else on standard error. With JSON,
 * standard output gets exactly one object, an error included.
 */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include "base/error.h"
#include "base/json.h"

enum output {
    OUTPUT_TEXT,
    OUTPUT_JSON,
};

/* Prints one object on one line. */
void output_json(const json_t *object);

/* One line of the result for people; nothing with JSON. Names in it may be as they came. */
void output_line(enum output output, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* "mudanza: MESSAGE" and "  HINT" on standard error; with JSON also {"error": ...} as the result.
 */
void output_error(enum output output, const struct error *error);

/* "mudanza: warning: TEXT" on standard error. */
void output_warning(const char *text);

/*
 * The words of the API's enums as people write them: `-` for `_` in the members state, mode and
 * outcome, at every depth. Changes `value` and returns it.
 */
json_t *output_words(json_t *value);

/* A copy with `?` for each control character: names and messages also come from other hosts, and
 * must not drive the terminal. Owned by the caller. */
char *output_clean(const char *text);

#endif
