/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a test guest says on its serial port. Freestanding; read by heartbeat.py.
 *
 * Two forms, told apart by the top bit of a byte:
 *  - a beat: one byte, 0x80 | sequence & 0x7f, never within a line. A UDP back end of QEMU's
 *    serial port sends each byte as a packet, so a beat is exactly one packet.
 *  - a line of ASCII: a word for its kind, fields, " *" and the CRC-16 (CCITT: polynomial 0x1021,
 *    initial value 0, as Python's binascii.crc_hqx) of everything before that, four hexadecimal
 *    digits, "\n". A damaged byte is thus evident.
 *
 *    HI  what was understood of the command line, once at the start
 *    HB  n= sequence number, t= milliseconds since the start, s= init|run|hold, w= pages written,
 *        c= check rounds completed, e= wrong words seen; d= blocks that are safe on the disk, when
 *        the guest writes one
 *    RDY n= t=: all memory has its first contents, writing and checking begin
 *    BAD addr= want= got= page= gen= n=: the first wrong byte, once
 *    ST  as HB, but no heartbeat: the answer to 'r'
 *    BYE n=: the guest turns itself off
 *    ERR what is wrong; unless the guest has said HI, nothing else will come
 *
 * A beat or an HB line is one heartbeat; the numbers of consecutive ones differ by one. Numbers
 * are decimal, those that begin with 0x hexadecimal.
 */
#ifndef BEAT_H
#define BEAT_H

#include <stdint.h>

#define BEAT_LINE_MAX 192u

struct beat_line {
    char text[BEAT_LINE_MAX]; /* not terminated */
    uint32_t length;
};

/* A line is begun, gets its fields, and is ended; what does not fit is left out. */
void beat_begin(struct beat_line *line, const char *kind);
void beat_word(struct beat_line *line, const char *name, const char *value);
void beat_number(struct beat_line *line, const char *name, uint64_t value);
void beat_hex(struct beat_line *line, const char *name, uint64_t value);
void beat_end(struct beat_line *line);

/* The byte of heartbeat `sequence`. */
static inline uint8_t beat_byte(uint32_t sequence)
{
    return (uint8_t)(0x80u | (sequence & 0x7fu));
}

#endif
