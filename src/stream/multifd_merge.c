/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes one stream of QEMU's main and multifd channels.
 *
 * Theory of operation. The channels' pages become records in a section of RAM of the main channel.
 * QEMU fills its buffer for the main channel with a section's head and does not write it while it
 * waits for the channels to take pages, so the sections of the main channel are not those of the
 * stream. What ends one is held back until the next thing is seen, and both are dropped when that
 * is one more part: the first section goes on through all of pre-copy. Behind something else
 * (QEMU 10.0 says that the switchover begins) the next page has a part of its own.
 *
 * Of two versions of a page the later one must come later. QEMU sends a page once between two
 * points at which it waits for all channels; there it writes a packet with a mark into each, waits
 * until these have been written, and then says so in the main channel: in a record of its own, or
 * (7.2, and machine types of that age) with the end of each section. So no channel is read beyond
 * its mark before the main one says so, and when it does all of them are read up to it, which QEMU
 * is not waited for.
 */
#include "stream/multifd_merge.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "stream/multifd_parser.h"
#include "stream/ram_parser.h"

/* One read from a channel. */
#define PIECE ((size_t)256 * 1024)
/* A section's last record and its footer. */
#define HELD_MAX (8 + RAM_SECTION_EDGE)
#define NO_BLOCK UINT32_MAX

struct channel {
    struct multifd_parser *parser;
    uint32_t its_block, block; /* the latest one: its number there, and in the main channel */
};

struct multifd_merge {
    struct multifd_merge_ends ends;
    struct ram_parser *main;
    bool open;       /* the stream is in a section of RAM */
    bool flushes;    /* a record of its own says where QEMU has waited */
    uint64_t passed; /* of these points */
    uint32_t block;  /* of the last record; NO_BLOCK: none yet */
    size_t held_size;
    uint8_t held[HELD_MAX]; /* what ends the section, if it ends */
    unsigned channels;
    struct channel list[MULTIFD_CHANNELS_MAX];
    uint8_t record[RAM_RECORD_HEADER_MAX + RAM_PAGE_SIZE];
    uint8_t buffer[PIECE];
};

/* A channel's tokens, with their way back. */
struct channel_of {
    struct multifd_merge *merge;
    struct channel *channel;
};

struct multifd_merge *multifd_merge_new(unsigned channels, struct multifd_merge_ends ends,
                                        struct error **err)
{
    struct multifd_merge *merge = calloc(1, sizeof(*merge));
    bool made = merge && (merge->main = ram_parser_new());
    for (unsigned i = 0; made && i < channels; i++)
        made = (merge->list[i].parser = multifd_parser_new());
    if (!made) {
        multifd_merge_free(merge);
        error_set(err, ERROR_SYSTEM, "out of memory");
        return NULL;
    }
    merge->ends = ends;
    merge->channels = channels;
    merge->block = NO_BLOCK;
    for (unsigned i = 0; i < channels; i++)
        merge->list[i].its_block = NO_BLOCK;
    return merge;
}

void multifd_merge_free(struct multifd_merge *merge)
{
    if (!merge)
        return;
    ram_parser_free(merge->main);
    for (unsigned i = 0; i < MULTIFD_CHANNELS_MAX; i++)
        multifd_parser_free(merge->list[i].parser);
    free(merge);
}

static int put(struct multifd_merge *merge, const uint8_t *bytes, size_t size, struct error **err)
{
    return size ? merge->ends.put(merge->ends.context, bytes, size, err) : 0;
}

static int broken(struct error **err, const char *what)
{
    error_set(err, ERROR_QEMU, "QEMU's multifd channels: %s", what);
    return error_hint(err, "move it with --channels 1");
}

/* A part of RAM begins that the main channel has not; it ends like any other. */
static int open_part(struct multifd_merge *merge, struct error **err)
{
    const uint32_t section = ram_parser_section(merge->main);
    uint8_t head[RAM_SECTION_EDGE];
    if (ram_parser_phase(merge->main) != RAM_PHASE_COPY ||
        ram_parser_place(merge->main) != RAM_PLACE_SECTIONS)
        return broken(err, "a page where none can be");
    ram_section_edge(head, RAM_SECTION_PART, section);
    bytes_put64(merge->held, RAM_RECORD_EOS);
    merge->held_size = 8;
    if (ram_parser_has_footers(merge->main)) {
        ram_section_edge(merge->held + 8, RAM_SECTION_FOOTER, section);
        merge->held_size = HELD_MAX;
    }
    merge->open = true;
    return put(merge, head, sizeof(head), err);
}

/* A record about the page in `block`, of the main channel's list, that the token is about. */
static int put_record(struct multifd_merge *merge, uint32_t block, const struct ram_token *token,
                      struct error **err)
{
    const struct ram_block *of = ram_parser_block(merge->main, block);
    if (!merge->open && open_part(merge, err) < 0)
        return -1;
    if (of->size < RAM_PAGE_SIZE || token->address > of->size - RAM_PAGE_SIZE)
        return broken(err, "a page beyond its block");
    const bool whole = token->kind == RAM_PAGE;
    size_t size = ram_record_header(merge->record, whole ? RAM_RECORD_PAGE : RAM_RECORD_ZERO,
                                    token->address, block == merge->block ? NULL : of->name);
    if (whole)
        memcpy(merge->record + size, token->page, RAM_PAGE_SIZE);
    else
        merge->record[size] = token->fill;
    merge->block = block;
    return put(merge, merge->record, size + (whole ? RAM_PAGE_SIZE : 1), err);
}

/* --- the channels --- */

static bool find_block(struct multifd_merge *merge, struct channel *channel, uint32_t its_block)
{
    const char *name = multifd_parser_block(channel->parser, its_block)->name;
    for (uint32_t i = 0; i < ram_parser_blocks(merge->main); i++)
        if (strcmp(ram_parser_block(merge->main, i)->name, name) == 0) {
            channel->its_block = its_block;
            channel->block = i;
            return true;
        }
    return false;
}

static int channel_token(void *context, const struct ram_token *token, struct error **err)
{
    const struct channel_of *of = context;
    if (token->kind == RAM_OTHER)
        return 0;
    if (token->block != of->channel->its_block && !find_block(of->merge, of->channel, token->block))
        return broken(err, "a page of an unknown block");
    return put_record(of->merge, of->channel->block, token, err);
}

bool multifd_merge_waits(const struct multifd_merge *merge, unsigned channel)
{
    const struct multifd_parser *parser = merge->list[channel].parser;
    if (!multifd_parser_between(parser))
        return ram_parser_blocks(merge->main) == 0 ||
               ram_parser_place(merge->main) == RAM_PLACE_OTHER;
    return multifd_parser_status(parser).syncs > merge->passed;
}

int multifd_merge_channel(struct multifd_merge *merge, unsigned channel, struct error **err)
{
    struct channel_of of = {merge, &merge->list[channel]};
    struct multifd_parser *parser = of.channel->parser;
    const size_t rest = multifd_parser_rest(parser);
    const ssize_t got = merge->ends.read(merge->ends.context, channel, merge->buffer,
                                         rest < PIECE ? rest : PIECE, err);
    if (got < 0)
        return -1;
    if (got == 0)
        return multifd_parser_between(parser) ? 0 : broken(err, "one ended in a packet");
    if (multifd_parser_feed(parser, merge->buffer, (size_t)got, channel_token, &of, err) < 0)
        return -1;
    const struct multifd_status status = multifd_parser_status(parser);
    if (status.opaque)
        return broken(err, status.reason);
    return status.packed ? broken(err, "pages that QEMU compressed, or state of devices") : 1;
}

/* QEMU has waited for all channels: what they had to say before that comes first. */
static int drain(struct multifd_merge *merge, struct error **err)
{
    for (unsigned i = 0; i < merge->channels; i++)
        while (!multifd_merge_waits(merge, i)) {
            const int more = multifd_merge_channel(merge, i, err);
            if (more <= 0)
                return more < 0 ? -1 : broken(err, "one ended too early");
        }
    merge->passed++;
    return 0;
}

/* --- the main one --- */

static int hold(struct multifd_merge *merge, const struct ram_token *token, struct error **err)
{
    if (token->size > HELD_MAX - merge->held_size)
        return broken(err, "a section that ends twice");
    memcpy(merge->held + merge->held_size, token->bytes, token->size);
    merge->held_size += token->size;
    return 0;
}

/* The section ends, if its end is held. */
static int release(struct multifd_merge *merge, struct error **err)
{
    const size_t size = merge->held_size;
    merge->held_size = 0;
    if (size)
        merge->open = false;
    return put(merge, merge->held, size, err);
}

static int take_section(struct multifd_merge *merge, const struct ram_token *token,
                        struct error **err)
{
    if (merge->held_size && token->bytes[0] == RAM_SECTION_PART &&
        !ram_parser_is_opaque(merge->main)) {
        merge->held_size = 0;
        return 0;
    }
    if (release(merge, err) < 0)
        return -1;
    merge->open = !ram_parser_is_opaque(merge->main);
    return put(merge, token->bytes, token->size, err);
}

static int main_other(struct multifd_merge *merge, const struct ram_token *token,
                      struct error **err)
{
    switch (token->mark) {
    case RAM_MARK_FLUSH:
        merge->flushes = true;
        return drain(merge, err);
    case RAM_MARK_END:
        if (!merge->flushes && drain(merge, err) < 0)
            return -1;
        return hold(merge, token, err);
    case RAM_MARK_FOOTER:
        return hold(merge, token, err);
    case RAM_MARK_SECTION:
        return take_section(merge, token, err);
    case RAM_MARK_NONE:
        break;
    }
    return release(merge, err) < 0 ? -1 : put(merge, token->bytes, token->size, err);
}

static int main_token(void *context, const struct ram_token *token, struct error **err)
{
    struct multifd_merge *merge = context;
    if (ram_parser_reason(merge->main))
        return broken(err, ram_parser_reason(merge->main));
    return token->kind == RAM_OTHER ? main_other(merge, token, err)
                                    : put_record(merge, token->block, token, err);
}

int multifd_merge_main(struct multifd_merge *merge, const uint8_t *bytes, size_t size,
                       struct error **err)
{
    return ram_parser_feed(merge->main, bytes, size, main_token, merge, err);
}

int multifd_merge_finish(struct multifd_merge *merge, struct error **err)
{
    if (ram_parser_finish(merge->main, main_token, merge, err) < 0)
        return -1;
    return release(merge, err);
}
