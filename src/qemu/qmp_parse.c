/* SPDX-License-Identifier: Apache-2.0 */
/* QMP messages as JSON. */
#include "qemu/qmp_parse.h"

#include <ctype.h>
#include <string.h>

#include "base/text.h"

#define INT64_DIGITS 19 /* of INT64_MAX, 9223372036854775807 */

/* Is the run of `length` digits beyond INT64_MAX? */
static bool is_too_big(const char *digits, size_t length)
{
    return length > INT64_DIGITS ||
           (length == INT64_DIGITS && memcmp(digits, "9223372036854775807", INT64_DIGITS) > 0);
}

/* Length of the string that starts at `text` with its quotes; up to the end when it has none. */
static size_t string_length(const char *text, size_t size)
{
    for (size_t i = 1; i < size; i++) {
        if (text[i] == '"')
            return i + 1;
        if (text[i] == '\\')
            i++;
    }
    return size;
}

/* The message with ".0" behind each integer that is too big. */
static void widen_integers(const char *message, size_t size, struct text *result)
{
    for (size_t at = 0; at < size;) {
        const char *start = message + at;
        size_t length = 1;
        bool big = false;
        if (*start == '"') {
            length = string_length(start, size - at);
        } else if (isdigit((unsigned char)*start)) {
            while (at + length < size && isdigit((unsigned char)start[length]))
                length++;
            const bool whole = at + length == size || !strchr(".eE", start[length]);
            big = whole && is_too_big(start, length);
        }
        text_append_bytes(result, start, length);
        if (big)
            text_append_bytes(result, ".0", 2);
        at += length;
    }
}

json_t *qmp_parse(const char *message, size_t size, struct error **err)
{
    json_t *value = json_parse(message, size, NULL);
    if (value)
        return value;
    CLEANUP_TEXT struct text wide = {0};
    widen_integers(message, size, &wide);
    return json_parse(wide.length ? wide.data : "", wide.length, err);
}
