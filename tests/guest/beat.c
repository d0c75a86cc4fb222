/* SPDX-License-Identifier: Apache-2.0 */
/* What a test guest says on its serial port; see beat.h. */
#include "beat.h"

#define TRAILER 7u /* " *1234\n" */

static void beat_char(struct beat_line *line, char c)
{
    if (line->length < BEAT_LINE_MAX - TRAILER)
        line->text[line->length++] = c;
}

static void beat_text(struct beat_line *line, const char *text)
{
    while (*text != 0)
        beat_char(line, *text++);
}

static void beat_name(struct beat_line *line, const char *name)
{
    beat_char(line, ' ');
    beat_text(line, name);
    beat_char(line, '=');
}

void beat_begin(struct beat_line *line, const char *kind)
{
    line->length = 0;
    beat_text(line, kind);
}

void beat_word(struct beat_line *line, const char *name, const char *value)
{
    beat_name(line, name);
    beat_text(line, value);
}

/* Divides by ten in 16-bit limbs: 32-bit code has no 64-bit division without a library. Returns
 * the remainder. */
static uint32_t beat_divide(uint32_t limbs[4], int highest)
{
    uint32_t rest = 0;

    for (int i = highest; i >= 0; i--) {
        rest = rest << 16 | limbs[i];
        limbs[i] = rest / 10;
        rest %= 10;
    }
    return rest;
}

void beat_number(struct beat_line *line, const char *name, uint64_t value)
{
    uint32_t limbs[4] = {value & 0xffff, value >> 16 & 0xffff, value >> 32 & 0xffff,
                         (uint32_t)(value >> 48)};
    char digits[20];
    int n = 0, highest = 3;

    beat_name(line, name);
    do {
        while (highest > 0 && limbs[highest] == 0)
            highest--;
        digits[n++] = (char)('0' + beat_divide(limbs, highest));
    } while (limbs[highest] != 0 || highest > 0);
    while (n > 0)
        beat_char(line, digits[--n]);
}

static char beat_digit(uint64_t value)
{
    return "0123456789abcdef"[value & 15];
}

void beat_hex(struct beat_line *line, const char *name, uint64_t value)
{
    int shift = 60;

    beat_name(line, name);
    beat_text(line, "0x");
    while (shift > 0 && value >> shift == 0)
        shift -= 4;
    for (; shift >= 0; shift -= 4)
        beat_char(line, beat_digit(value >> shift));
}

/* CRC-16/XMODEM, four bits a step. */
static uint16_t beat_crc(const char *text, uint32_t length)
{
    static const uint16_t table[16] = {0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50a5,
                                       0x60c6, 0x70e7, 0x8108, 0x9129, 0xa14a, 0xb16b,
                                       0xc18c, 0xd1ad, 0xe1ce, 0xf1ef};
    uint32_t crc = 0;

    for (uint32_t i = 0; i < length; i++) {
        uint32_t byte = (uint8_t)text[i];

        crc = (crc << 4 ^ table[(crc >> 12 ^ byte >> 4) & 15]) & 0xffff;
        crc = (crc << 4 ^ table[(crc >> 12 ^ byte) & 15]) & 0xffff;
    }
    return (uint16_t)crc;
}

void beat_end(struct beat_line *line)
{
    uint16_t crc = beat_crc(line->text, line->length);
    char *end = line->text + line->length;

    end[0] = ' ';
    end[1] = '*';
    for (int i = 0; i < 4; i++)
        end[2 + i] = beat_digit(crc >> (12 - 4 * i));
    end[6] = '\n';
    line->length += TRAILER;
}
