/* SPDX-License-Identifier: Apache-2.0 */
/* Cuts a stream that comes in pieces into items whose sizes follow from their first bytes. */
#include "stream/splitter.h"

#include <string.h>

/* Hands out [from, to) as one token of bytes, if there are any. */
static int splitter_pass(const uint8_t *from, const uint8_t *to, ram_token_fn *emit, void *context,
                         struct error **err)
{
    const struct ram_token token = {.kind = RAM_OTHER, .bytes = from, .size = (size_t)(to - from)};
    return from == to ? 0 : emit(context, &token, err);
}

/* Completes the item that was cut with bytes from *at on, moving it, as far as they go. */
static int splitter_complete(struct splitter *splitter, splitter_item_fn *item, void *parser,
                             const uint8_t **at, const uint8_t *end, ram_token_fn *emit,
                             void *context, struct error **err)
{
    for (;;) {
        struct ram_token token = {.kind = RAM_OTHER};
        size_t need = item(parser, splitter->held, splitter->held_size, &token);
        if (need <= splitter->held_size) {
            token.bytes = splitter->held;
            token.size = splitter->held_size;
            splitter->offset += splitter->held_size;
            splitter->held_size = 0;
            return emit(context, &token, err);
        }
        size_t more = need - splitter->held_size;
        if (more > (size_t)(end - *at))
            more = (size_t)(end - *at);
        if (more == 0)
            return 0;
        memcpy(splitter->held + splitter->held_size, *at, more);
        splitter->held_size += more;
        *at += more;
    }
}

int splitter_feed(struct splitter *splitter, splitter_item_fn *item, void *parser,
                  const uint8_t *bytes, size_t size, ram_token_fn *emit, void *context,
                  struct error **err)
{
    if (size == 0)
        return 0;
    const uint8_t *at = bytes;
    const uint8_t *const end = bytes + size;
    if (splitter->held_size > 0 &&
        splitter_complete(splitter, item, parser, &at, end, emit, context, err) < 0)
        return -1;
    const uint8_t *passing = at; /* from here to `at` nothing was handed out yet */
    while (at < end) {
        struct ram_token token = {.kind = RAM_OTHER};
        uint64_t left = (uint64_t)(end - at);
        size_t take = (size_t)(splitter->skip < left ? splitter->skip : left);
        if (take > 0)
            splitter->skip -= take;
        else
            take = item(parser, at, left, &token);
        if (take > left)
            break;
        if (token.kind != RAM_OTHER || token.mark) {
            token.bytes = at;
            token.size = take;
            if (splitter_pass(passing, at, emit, context, err) < 0 ||
                emit(context, &token, err) < 0)
                return -1;
            passing = at + take;
        }
        at += take;
        splitter->offset += take;
    }
    if (splitter_pass(passing, at, emit, context, err) < 0)
        return -1;
    memcpy(splitter->held, at, (size_t)(end - at));
    splitter->held_size += (size_t)(end - at);
    return 0;
}

int splitter_finish(struct splitter *splitter, ram_token_fn *emit, void *context,
                    struct error **err)
{
    size_t size = splitter->held_size;
    splitter->held_size = 0;
    splitter->offset += size;
    return splitter_pass(splitter->held, splitter->held + size, emit, context, err);
}
