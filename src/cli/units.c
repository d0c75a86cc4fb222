/* SPDX-License-Identifier: Apache-2.0 */
/* Durations and rates as people write and read them. */
#include "cli/units.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

const char *units_duration(int64_t ms, char buffer[UNITS_DURATION_MAX])
{
    if (ms < 0)
        ms = 0;
    int64_t s = ms / 1000;
    if (ms < 1000)
        snprintf(buffer, UNITS_DURATION_MAX, "%" PRId64 " ms", ms);
    else if (s < 60)
        snprintf(buffer, UNITS_DURATION_MAX, "%" PRId64 ".%02" PRId64 " s", s, ms % 1000 / 10);
    else if (s < 3600)
        snprintf(buffer, UNITS_DURATION_MAX, "%" PRId64 " min %" PRId64 " s", s / 60, s % 60);
    else
        snprintf(buffer, UNITS_DURATION_MAX, "%" PRId64 " h %" PRId64 " min", s / 3600,
                 s % 3600 / 60);
    return buffer;
}

/* What may follow the number, without "/s", and bytes for each of it. */
static const struct {
    const char *name;
    double bytes;
} rate_units[] = {
    {"", 0x1p20},      {"K", 0x1p10},     {"KiB", 0x1p10},   {"M", 0x1p20},   {"MiB", 0x1p20},
    {"G", 0x1p30},     {"GiB", 0x1p30},   {"T", 0x1p40},     {"TiB", 0x1p40}, {"B", 1},
    {"kbit", 1e3 / 8}, {"Mbit", 1e6 / 8}, {"Gbit", 1e9 / 8},
};

/* The first of them, which are of bytes. */
#define SIZE_UNITS 10

/* Digits with at most one point between them. Returns what follows, NULL when there is no number.
 * By hand: strtod also takes signs, exponents, hex, "inf" and the locale's decimal comma. */
static const char *parse_number(const char *text, double *number)
{
    double value = 0, weight = 1;
    const char *at = text;
    for (; *at >= '0' && *at <= '9'; at++)
        value = value * 10 + (*at - '0');
    if (at == text)
        return NULL;
    if (*at == '.') {
        const char *fraction = ++at;
        for (; *at >= '0' && *at <= '9'; at++)
            value += (*at - '0') * (weight /= 10);
        if (at == fraction)
            return NULL;
    }
    *number = value;
    return at;
}

/* A number and one of the first `n` units, of which `length` bytes count. 0: it is none. */
static int parse_bytes(const char *text, const char *unit, size_t length, size_t n, double number,
                       int64_t *value, struct error **err)
{
    for (size_t i = 0; unit && i < n; i++) {
        const char *name = rate_units[i].name;
        if (strlen(name) != length || strncasecmp(name, unit, length) != 0)
            continue;
        double bytes = number * rate_units[i].bytes;
        if (bytes < 1 || bytes >= 0x1p62)
            return error_set(err, ERROR_INVALID, "'%s' is out of range", text);
        *value = (int64_t)bytes;
        return 1;
    }
    return 0;
}

int units_parse_rate(const char *text, int64_t *bytes_per_s, struct error **err)
{
    double number = 0;
    const char *unit = parse_number(text, &number);
    size_t length = unit ? strlen(unit) : 0;
    if (length >= 2 && strcmp(unit + length - 2, "/s") == 0)
        length -= 2;
    int parsed = parse_bytes(text, unit, length, ARRAY_SIZE(rate_units), number, bytes_per_s, err);
    if (parsed)
        return parsed < 0 ? -1 : 0;
    error_set(err, ERROR_INVALID, "'%s' is not a rate", text);
    return error_hint(err, "write MiB/s as a plain number, or a unit: 512KiB/s, 1.5GiB/s, "
                           "800Mbit/s");
}

int units_parse_size(const char *text, int64_t *bytes, struct error **err)
{
    double number = 0;
    const char *unit = parse_number(text, &number);
    int parsed = parse_bytes(text, unit, unit ? strlen(unit) : 0, SIZE_UNITS, number, bytes, err);
    if (parsed)
        return parsed < 0 ? -1 : 0;
    error_set(err, ERROR_INVALID, "'%s' is not a size", text);
    return error_hint(err, "write MiB as a plain number, or a unit: 512M, 1.5GiB");
}
