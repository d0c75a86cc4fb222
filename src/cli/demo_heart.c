/* SPDX-License-Identifier: Apache-2.0 */
/* The account of what a test guest says on its serial port. */
#include "cli/demo_heart.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BEAT      0x80u
#define BEAT_MASK 0x7fu
#define TRAILER   6 /* " *" and the checksum's four digits */

/* CRC-16 (polynomial 0x1021, initial value 0), as beat.h says. */
static unsigned crc(const char *text, size_t length)
{
    unsigned value = 0;
    for (size_t i = 0; i < length; i++) {
        value ^= (unsigned)(unsigned char)text[i] << 8;
        for (int bit = 0; bit < 8; bit++)
            value = value & 0x8000u ? (value << 1 ^ 0x1021u) & 0xffffu : value << 1;
    }
    return value;
}

/* Takes the trailer off a line whose checksum is right. */
static bool check_line(char *text)
{
    char expected[TRAILER + 1];
    size_t length = strlen(text);
    if (length < TRAILER)
        return false;
    snprintf(expected, sizeof(expected), " *%04x", crc(text, length - TRAILER));
    if (strcmp(text + length - TRAILER, expected) != 0)
        return false;
    text[length - TRAILER] = '\0';
    return true;
}

/* The number of " NAME=NUMBER" in a line; 0 when it is not there. */
static uint64_t field(const char *line, const char *name)
{
    const char *at = strstr(line, name);
    return at ? strtoull(at + strlen(name), NULL, 10) : 0;
}

static void take_number(struct demo_heart *heart, uint64_t number)
{
    heart->beats++;
    if (number <= heart->last) {
        heart->repeated++;
        return;
    }
    heart->lost += number - heart->last - 1;
    heart->last = number;
}

/* A heartbeat of one byte has the low seven bits of its number: the nearest such number is meant.
 */
static void take_beat(struct demo_heart *heart, unsigned low)
{
    uint64_t ahead = (low - heart->last) & BEAT_MASK;
    if (ahead <= BEAT_MASK / 2 || heart->last + ahead < BEAT_MASK + 1)
        take_number(heart, heart->last + ahead);
    else
        take_number(heart, heart->last + ahead - (BEAT_MASK + 1));
}

static bool is_kind(const char *line, const char *kind)
{
    size_t length = strlen(kind);
    return strncmp(line, kind, length) == 0 && (line[length] == ' ' || line[length] == '\0');
}

static void take_line(struct demo_heart *heart, const char *line)
{
    if (is_kind(line, "HI"))
        heart->alive = true;
    else if (is_kind(line, "RDY"))
        heart->ready = true;
    else if (is_kind(line, "BYE"))
        heart->bye = true;
    else if (is_kind(line, "HB") && heart->alive)
        take_number(heart, field(line, " n="));
    if (is_kind(line, "HB") || is_kind(line, "ST")) {
        heart->rounds = field(line, " c=");
        heart->wrong = field(line, " e=");
        heart->lines++;
    }
    if (!heart->complained && (is_kind(line, "BAD") || is_kind(line, "ERR"))) {
        heart->complained = true;
        snprintf(heart->complaint, sizeof(heart->complaint), "%s", line);
    }
}

static void damage(struct demo_heart *heart)
{
    if (heart->alive && !heart->bye)
        heart->damaged++;
}

static void end_line(struct demo_heart *heart)
{
    char line[DEMO_HEART_LINE_MAX] = "";
    memcpy(line, heart->line, heart->length);
    heart->length = 0;
    if (check_line(line))
        take_line(heart, line);
    else
        damage(heart);
}

static void take_byte(struct demo_heart *heart, unsigned char byte)
{
    if (byte & BEAT) {
        if (heart->length) /* a beat never stands within a line */
            damage(heart);
        heart->length = 0;
        if (heart->alive && !heart->bye)
            take_beat(heart, byte & BEAT_MASK);
    } else if (byte == '\n' || heart->length == sizeof(heart->line) - 1) {
        end_line(heart);
    } else {
        heart->line[heart->length++] = (char)byte;
    }
}

void demo_heart_feed(struct demo_heart *heart, const void *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        take_byte(heart, ((const unsigned char *)bytes)[i]);
}
