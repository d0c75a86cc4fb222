/* SPDX-License-Identifier: Apache-2.0 */
/* What changed in a page, word by word. */
#include "stream/delta.h"

#define WORDS (RAM_PAGE_SIZE / 8)
/* Equal words are skipped so many at a time. */
#define STRIDE 8

static uint64_t word_at(const uint8_t *page, size_t word)
{
    uint64_t value;
    memcpy(&value, page + 8 * word, sizeof(value));
    return value;
}

static bool stride_equal(const uint8_t *one, const uint8_t *other, size_t word)
{
    uint64_t difference = 0;
    for (size_t i = word; i < word + STRIDE; i++)
        difference |= word_at(one, i) ^ word_at(other, i);
    return !difference;
}

/* The first word from `word` on that differs, WORDS if none does. */
static size_t next_change(const uint8_t *one, const uint8_t *other, size_t word)
{
    while (word < WORDS) {
        if (word % STRIDE == 0 && stride_equal(one, other, word))
            word += STRIDE;
        else if (word_at(one, word) == word_at(other, word))
            word++;
        else
            break;
    }
    return word;
}

static void put_word(struct control_writer *writer, const uint8_t *old, const uint8_t *new)
{
    uint8_t *mask = writer->bytes + writer->size++;
    *mask = 0;
    for (unsigned i = 0; i < 8; i++)
        if (old[i] != new[i]) {
            *mask |= (uint8_t)(1u << i);
            writer->bytes[writer->size++] = new[i];
        }
}

size_t delta_make(const uint8_t old[RAM_PAGE_SIZE], const uint8_t new[RAM_PAGE_SIZE],
                  uint8_t out[DELTA_SIZE_MAX])
{
    struct control_writer writer = {.bytes = out};
    size_t done = 0, word;
    while ((word = next_change(old, new, done)) < WORDS) {
        size_t end = word + 1;
        while (end < WORDS && word_at(old, end) != word_at(new, end))
            end++;
        /* Three numbers of at most two bytes, and the end's two. */
        if (writer.size + 9 * (end - word) + 8 > DELTA_SIZE_MAX)
            return 0;
        control_number(&writer, word - done);
        control_number(&writer, end - word);
        for (; word < end; word++)
            put_word(&writer, old + 8 * word, new + 8 * word);
        done = end;
    }
    control_number(&writer, 0);
    control_number(&writer, 0);
    return writer.size;
}

static bool apply_word(struct control_reader *reader, uint8_t *word)
{
    const uint8_t *mask = control_take(reader, 1);
    if (!mask)
        return false;
    const uint8_t *bytes = control_take(reader, (uint64_t)__builtin_popcount(*mask));
    if (!bytes)
        return false;
    for (unsigned i = 0; i < 8; i++)
        if (*mask & 1u << i)
            word[i] = *bytes++;
    return true;
}

bool delta_apply(struct control_reader *reader, uint8_t page[RAM_PAGE_SIZE])
{
    uint64_t word = 0;
    for (;;) {
        uint64_t skip, count;
        if (!control_take_number(reader, &skip) || !control_take_number(reader, &count))
            return false;
        if (skip > WORDS - word || count > WORDS - word - skip)
            return false;
        if (!count)
            return skip == 0;
        word += skip;
        for (uint64_t end = word + count; word < end; word++)
            if (!apply_word(reader, page + 8 * word))
                return false;
    }
}
