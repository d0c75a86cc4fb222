/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A main channel and two multifd channels from anywhere: what comes of them is a stream in which
 * all pages that the channels gave are found, or an error.
 *
 * Input: the size of the main channel's bytes and of the first channel's, 16 bits each; how the
 * main one is cut; the bytes of the three.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "stream/multifd_merge.h"
#include "stream/ram_parser.h"

#define CHANNELS 2

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct part {
    const uint8_t *bytes;
    size_t size, at;
};

struct merging {
    struct part in[CHANNELS];
    struct ram_parser *parser; /* of what comes out */
    bool reading;              /* a channel, not the main one */
    bool found;                /* a page or zero page in what was put last */
};

static void check(bool holds)
{
    if (!holds)
        abort();
}

static int see(void *context, const struct ram_token *token, struct error **err)
{
    struct merging *merging = context;
    (void)err;
    if (token->kind == RAM_OTHER)
        return 0;
    merging->found = true;
    return 0;
}

static int put(void *context, const uint8_t *bytes, size_t size, struct error **err)
{
    struct merging *merging = context;
    const bool was_opaque = ram_parser_is_opaque(merging->parser);
    check(size > 0);
    merging->found = false;
    check(ram_parser_feed(merging->parser, bytes, size, see, merging, err) == 0);
    /* So large is only a page with its header, which is put as a whole. */
    if (size > RAM_PAGE_SIZE && merging->reading)
        check(merging->found && !was_opaque);
    return 0;
}

static ssize_t read_channel(void *context, unsigned channel, uint8_t *buffer, size_t size,
                            struct error **err)
{
    struct merging *merging = context;
    struct part *in = &merging->in[channel];
    const size_t left = in->size - in->at;
    (void)err;
    check(channel < CHANNELS && size > 0);
    size = size < left ? size : left;
    memcpy(buffer, in->bytes + in->at, size);
    in->at += size;
    return (ssize_t)size;
}

/* Reads all there is of the channels that do not wait. */
static int turn(struct multifd_merge *merge, struct merging *merging)
{
    int more = 1;
    merging->reading = true;
    for (unsigned i = 0; i < CHANNELS && more >= 0; i++)
        for (more = 1; more > 0 && !multifd_merge_waits(merge, i);)
            more = multifd_merge_channel(merge, i, NULL);
    merging->reading = false;
    return more < 0 ? -1 : 0;
}

static void merge_all(const struct part *main, const struct part in[CHANNELS], size_t piece)
{
    struct merging merging = {.parser = ram_parser_new()};
    memcpy(merging.in, in, sizeof(merging.in));
    struct multifd_merge *merge =
        multifd_merge_new(CHANNELS, (struct multifd_merge_ends){put, read_channel, &merging}, NULL);
    int status = 0;
    for (size_t at = 0; status == 0 && at < main->size; at += piece) {
        const size_t length = main->size - at < piece ? main->size - at : piece;
        uint8_t *copy = malloc(length); /* so that the first byte past it is noticed */
        memcpy(copy, main->bytes + at, length);
        status = multifd_merge_main(merge, copy, length, NULL);
        free(copy);
        if (status == 0)
            status = turn(merge, &merging);
    }
    if (status == 0)
        multifd_merge_finish(merge, NULL);
    multifd_merge_free(merge);
    ram_parser_free(merging.parser);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 5)
        return 0;
    size_t left = size - 5, main_size = bytes_get16(data), first = bytes_get16(data + 2);
    main_size = main_size < left ? main_size : left;
    left -= main_size;
    first = first < left ? first : left;
    const struct part main = {.bytes = data + 5, .size = main_size};
    const struct part in[CHANNELS] = {
        {.bytes = main.bytes + main_size, .size = first},
        {.bytes = main.bytes + main_size + first, .size = left - first},
    };
    merge_all(&main, in, main_size ? main_size : 1);
    merge_all(&main, in, 1 + data[4]);
    return 0;
}
