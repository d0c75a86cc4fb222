/* SPDX-License-Identifier: Apache-2.0 */
/* Control bytes of a window: items, counts and numbers. */
#include "stream/control.h"

void control_number(struct control_writer *writer, uint64_t number)
{
    for (; number >= 0x80; number >>= 7)
        writer->bytes[writer->size++] = (uint8_t)(number | 0x80);
    writer->bytes[writer->size++] = (uint8_t)number;
}

void control_signed(struct control_writer *writer, int64_t number)
{
    control_number(writer, (uint64_t)number << 1 ^ (number < 0 ? UINT64_MAX : 0));
}

void control_raw(struct control_writer *writer, const void *bytes, size_t size)
{
    memcpy(writer->bytes + writer->size, bytes, size);
    writer->size += size;
}

void control_end(struct control_writer *writer)
{
    if (!writer->count)
        return;
    uint8_t small = writer->count < 16 ? (uint8_t)writer->count : 0;
    writer->bytes[writer->size++] = (uint8_t)(writer->op | small << 4);
    if (!small)
        control_number(writer, writer->count);
    writer->count = 0;
}

void control_run(struct control_writer *writer, enum control_op op, uint64_t count)
{
    if (writer->count && writer->op != op)
        control_end(writer);
    writer->op = op;
    writer->count += count;
}

void control_item(struct control_writer *writer, enum control_op op, uint64_t count)
{
    control_end(writer);
    writer->op = op;
    writer->count = count;
    control_end(writer);
}

bool control_take_number(struct control_reader *reader, uint64_t *number)
{
    *number = 0;
    for (unsigned shift = 0; reader->at < reader->end; shift += 7) {
        uint8_t byte = *reader->at++;
        if (shift == 63 && byte > 1)
            return false;
        *number |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return true;
    }
    return false;
}

bool control_take_signed(struct control_reader *reader, int64_t *number)
{
    uint64_t value;
    if (!control_take_number(reader, &value))
        return false;
    *number = (int64_t)(value >> 1 ^ (value & 1 ? UINT64_MAX : 0));
    return true;
}

const uint8_t *control_take(struct control_reader *reader, uint64_t size)
{
    const uint8_t *at = reader->at;
    if (size > (uint64_t)(reader->end - at))
        return NULL;
    reader->at += size;
    return at;
}

bool control_next(struct control_reader *reader, enum control_op *op, uint64_t *count)
{
    if (reader->at >= reader->end)
        return false;
    uint8_t byte = *reader->at++;
    *op = byte & 0x0f;
    *count = byte >> 4;
    return *op < CONTROL_OPS && (*count || control_take_number(reader, count));
}
