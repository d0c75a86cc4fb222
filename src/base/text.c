/* SPDX-License-Identifier: Apache-2.0 */
/* Text: numbers with units, checked parsing, a growing buffer. */
#include "base/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void *check(void *memory)
{
    if (!memory)
        abort(); /* a few bytes of text: nothing sensible is left to do */
    return memory;
}

int text_parse_int(const char *text, int64_t min, int64_t max, int64_t *value, struct error **err)
{
    char *end = NULL;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    if (end == text || *end || errno || text[0] == ' ' || text[0] == '+')
        return error_set(err, ERROR_INVALID, "'%s' is not a whole number", text);
    if (number < min || number > max)
        return error_set(err, ERROR_INVALID, "%s is not between %" PRId64 " and %" PRId64, text,
                         min, max);
    *value = number;
    return 0;
}

const char *text_size(uint64_t bytes, const char *suffix, char buffer[TEXT_SIZE_MAX])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1024 && unit + 1 < ARRAY_SIZE(units)) {
        value /= 1024;
        unit++;
    }
    snprintf(buffer, TEXT_SIZE_MAX, unit ? "%.1f %s%s" : "%.0f %s%s", value, units[unit], suffix);
    return buffer;
}

char *text_format(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = NULL;
    if (vasprintf(&text, format, args) < 0)
        text = NULL;
    va_end(args);
    return check(text);
}

char *text_copy(const char *text)
{
    return text ? check(strdup(text)) : NULL;
}

bool text_equal(const char *one, const char *other)
{
    return one && other ? strcmp(one, other) == 0 : one == other;
}

void text_append_bytes(struct text *text, const void *data, size_t size)
{
    if (text->length + size + 1 > text->capacity) {
        size_t capacity = text->capacity ? text->capacity : 64;
        while (capacity < text->length + size + 1)
            capacity *= 2;
        text->data = check(realloc(text->data, capacity));
        text->capacity = capacity;
    }
    if (size)
        memcpy(text->data + text->length, data, size);
    text->length += size;
    text->data[text->length] = '\0';
}

void text_append(struct text *text, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    CLEANUP_FREE char *piece = NULL;
    int length = vasprintf(&piece, format, args);
    va_end(args);
    if (length < 0)
        piece = NULL;
    check(piece);
    text_append_bytes(text, piece, (size_t)length);
}

void text_hex(const uint8_t *bytes, size_t size, char *hex)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < size; i++) {
        hex[2 * i] = digits[bytes[i] >> 4];
        hex[2 * i + 1] = digits[bytes[i] & 15];
    }
    hex[2 * size] = '\0';
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int text_unhex(const char *hex, uint8_t *bytes, size_t size, struct error **err)
{
    if (strlen(hex) != 2 * size)
        return error_set(err, ERROR_INVALID, "'%s' is not %zu hex digits", hex, 2 * size);
    for (size_t i = 0; i < size; i++) {
        int high = hex_digit(hex[2 * i]), low = hex_digit(hex[2 * i + 1]);
        if (high < 0 || low < 0)
            return error_set(err, ERROR_INVALID, "'%s' is not %zu hex digits", hex, 2 * size);
        bytes[i] = (uint8_t)(high << 4 | low);
    }
    return 0;
}
