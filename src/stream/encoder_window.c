/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The encoder's way from tokens to windows: what becomes of each page.
 *
 * In this order, for what costs least: one word again and again; a delta to what was sent of the
 * same page before; equal to a page that is in a slot, or that main RAM there has got already;
 * perhaps known at the destination; whole, and then it goes into a slot. A token's header is not
 * sent when it is what the decoder would make.
 */
#include <string.h>

#include "qemu/memory.h"
#include "stream/delta.h"
#include "stream/encoder_private.h"
#include "stream/fast_hash.h"

/* Pages in a window when every moment counts. */
#define PAGES_URGENT 32
/* The most control that one page needs: a bare header's bytes, a delta, items. */
#define CONTROL_RESERVE ((size_t)4096)
/* Less room than this for bytes is not worth filling. */
#define BYTES_LEAST ((size_t)512)

_Static_assert(RAM_RECORD_HEADER_MAX + DELTA_SIZE_MAX + 7 * CONTROL_ITEM_MAX + COPIES_DIGEST_SIZE <
                   CONTROL_RESERVE,
               "a page's control, and the window's digest, fit into the reserve");
_Static_assert(ENCODER_WINDOW_PAGES <= STREAM_WINDOW_PAGES_MAX, "a window holds its pages");

/* --- raw windows --- */

static size_t raw_room(const struct encoder *encoder)
{
    return RAW_SIZE - encoder->open->block->size;
}

static void raw_put(struct encoder *encoder, const uint8_t *bytes, size_t size)
{
    struct block *block = encoder->open->block;
    memcpy(block->data + block->size, bytes, size);
    block->size += (uint32_t)size;
}

static void raw_count(struct encoder *encoder, const struct ram_token *token)
{
    if (token->kind == RAM_ZERO)
        encoder->pending.zero++;
    else if (token->kind == RAM_PAGE)
        encoder->pending.plain++;
}

/* --- coded windows --- */

static bool coded_has_room(const struct encoder *encoder, size_t output)
{
    const struct stream_window_header *header = &encoder->open->header;
    unsigned pages = encoder->urgent ? PAGES_URGENT : ENCODER_WINDOW_PAGES;
    return header->payload < pages * RAM_PAGE_SIZE &&
           encoder->control.size + CONTROL_RESERVE <= STREAM_WINDOW_CONTROL_MAX &&
           header->output + output <= STREAM_WINDOW_OUTPUT_MAX;
}

static size_t coded_room(const struct encoder *encoder)
{
    const struct stream_window_header *header = &encoder->open->header;
    if (!coded_has_room(encoder, BYTES_LEAST))
        return 0;
    size_t control = STREAM_WINDOW_CONTROL_MAX - encoder->control.size - CONTROL_RESERVE / 2;
    size_t output = STREAM_WINDOW_OUTPUT_MAX - header->output;
    return control < output ? control : output;
}

static void put_bytes(struct encoder *encoder, const uint8_t *bytes, size_t size)
{
    if (!size)
        return;
    control_item(&encoder->control, CONTROL_BYTES, size);
    control_raw(&encoder->control, bytes, size);
}

/* Copies the page to where the payload goes on; it belongs to it when put_payload() follows. */
static void stage(struct encoder *encoder, const uint8_t *page)
{
    struct window *window = encoder->open;
    memcpy(window->block->data + STREAM_WINDOW_HEADER_SIZE + window->header.payload, page,
           RAM_PAGE_SIZE);
}

static void put_payload(struct encoder *encoder)
{
    encoder->open->header.payload += RAM_PAGE_SIZE;
}

/* Is the header what the decoder makes for the address? Moves the position there then. */
static bool header_is_made(struct encoder *encoder, const struct ram_token *token, uint64_t kind,
                           size_t behind)
{
    if (token->named || token->size != 8 + behind ||
        bytes_get64(token->bytes) != (token->address | kind | RAM_RECORD_CONTINUE))
        return false;
    int64_t distance = (int64_t)(token->address - encoder->address) / RAM_PAGE_SIZE;
    if (distance) {
        control_item(&encoder->control, CONTROL_SEEK, 1);
        control_signed(&encoder->control, distance);
    }
    encoder->address = token->address + RAM_PAGE_SIZE;
    return true;
}

static void put_zero(struct encoder *encoder, const struct ram_token *token)
{
    encoder->pending.zero++;
    if (token->fill == 0 && header_is_made(encoder, token, RAM_RECORD_ZERO, 1))
        control_run(&encoder->control, CONTROL_ZERO, 1);
    else
        put_bytes(encoder, token->bytes, token->size);
}

static bool is_repeated(const uint8_t *page)
{
    return memcmp(page, page + 8, RAM_PAGE_SIZE - 8) == 0;
}

/* Moves the position to the slot, and leaves it behind. */
static void use_slot(struct encoder *encoder, uint32_t slot)
{
    if (slot != encoder->slot) {
        control_item(&encoder->control, CONTROL_SLOT, 1);
        control_signed(&encoder->control, (int64_t)slot - (int64_t)encoder->slot);
    }
    encoder->slot = slot + 1;
}

/* The staged page travels, and is in the slot from then on. */
static void keep(struct encoder *encoder, uint32_t slot, uint64_t hash, const uint8_t *page)
{
    use_slot(encoder, slot);
    control_run(&encoder->control, CONTROL_KEEP, 1);
    put_payload(encoder);
    slots_put(&encoder->slots, slot, page);
    slot_map_filled(encoder->map, slot, hash);
}

static void check_slot_page(struct encoder *encoder, uint64_t hash)
{
    struct stream_window_header *header = &encoder->open->header;
    header->check = stream_check_add(header->check, hash);
}

/* The page was sent before, and is in a slot. */
static void put_again(struct encoder *encoder, uint32_t slot, const uint8_t *page)
{
    uint8_t delta[DELTA_SIZE_MAX];
    uint64_t hash = fast_hash(page);
    size_t size = delta_make(slots_page(&encoder->slots, slot), page, delta);
    if (!size) {
        stage(encoder, page);
        keep(encoder, slot, hash, page);
        return;
    }
    use_slot(encoder, slot);
    control_item(&encoder->control, CONTROL_DELTA, 1);
    control_raw(&encoder->control, delta, size);
    memcpy(slots_page(&encoder->slots, slot), page, RAM_PAGE_SIZE); /* it is in the caches now */
    slot_map_filled(encoder->map, slot, hash);
    check_slot_page(encoder, hash);
    encoder->pending.delta++;
}

/* The destination may have the staged page: it is asked when the window is full. */
static bool put_offered(struct encoder *encoder, const uint8_t *page)
{
    struct window *window = encoder->open;
    if (!encoder->hasher || page_filter_empty(encoder->filter) || encoder->urgent ||
        window->offered == STREAM_WINDOW_PAGES_MAX)
        return false;
    uint8_t *hash = window->hashes[window->offered];
    encoder->hashed++;
    if (!page_hash(encoder->hasher, page, hash) || !page_filter_has(encoder->filter, hash))
        return false;
    encoder->passed++;
    window->offered_at[window->offered++] = (uint16_t)(window->header.payload / RAM_PAGE_SIZE);
    control_run(&encoder->control, CONTROL_OFFERED, 1);
    put_payload(encoder);
    return true;
}

/* The destination has got the same for another address. `made`: the decoder makes its header. */
static bool put_copy(struct encoder *encoder, const struct ram_token *token, bool made)
{
    uint64_t from;
    if (!encoder->copies || token->block != encoder->main_block ||
        !copies_find(encoder->copies, token->address, token->page, &from) || !made ||
        !copies_digest_add(&encoder->digest, token->page))
        return false;
    control_item(&encoder->control, CONTROL_COPY, 1);
    control_number(&encoder->control, (token->address - from) / RAM_PAGE_SIZE);
    encoder->pending.repeated++;
    return true;
}

int encoder_end_copies(struct encoder *encoder, struct error **err)
{
    uint8_t digest[COPIES_DIGEST_SIZE];
    if (!encoder->digest.pages)
        return 0;
    if (!copies_digest_end(&encoder->digest, digest))
        return error_set(err, ERROR_INTERNAL, "OpenSSL has no SHA-256");
    control_item(&encoder->control, CONTROL_DIGEST, 1);
    control_raw(&encoder->control, digest, sizeof(digest));
    return 0;
}

static void put_new(struct encoder *encoder, const struct ram_token *token, bool made)
{
    if (!encoder->map || !encoder->keeps) {
        if (put_copy(encoder, token, made))
            return;
        stage(encoder, token->page);
        if (put_offered(encoder, token->page))
            return;
        control_run(&encoder->control, CONTROL_PLAIN, 1);
        put_payload(encoder);
        return;
    }
    uint64_t hash = fast_hash(token->page);
    slot_map_fetch_content(encoder->map, hash);
    stage(encoder, token->page); /* most pages are new, and it takes as long as to fetch */
    uint32_t same = slot_map_find_content(encoder->map, hash, token->page);
    if (same != SLOT_NONE) {
        use_slot(encoder, same);
        control_run(&encoder->control, CONTROL_SAME, 1);
        check_slot_page(encoder, hash);
        encoder->pending.repeated++;
    } else if (!put_offered(encoder, token->page)) {
        uint32_t slot = slot_map_take(encoder->map, token->block, token->address);
        keep(encoder, slot, hash, token->page);
    }
}

static void put_page(struct encoder *encoder, const struct ram_token *token)
{
    const bool made = header_is_made(encoder, token, RAM_RECORD_PAGE, RAM_PAGE_SIZE);
    if (!made) {
        put_bytes(encoder, token->bytes, token->size - RAM_PAGE_SIZE);
        control_item(&encoder->control, CONTROL_BARE, 1);
    }
    uint32_t slot = SLOT_NONE;
    if (is_repeated(token->page)) {
        control_item(&encoder->control, CONTROL_REPEAT, 1);
        control_raw(&encoder->control, token->page, 8);
        encoder->pending.repeated++;
        return;
    }
    if (encoder->map)
        slot = slot_map_find(encoder->map, token->block, token->address);
    if (slot != SLOT_NONE)
        put_again(encoder, slot, token->page);
    else
        put_new(encoder, token, made);
}

/* --- both --- */

/* Takes what fits of bytes that may be cut anywhere. */
static size_t take_bytes(struct encoder *encoder, const uint8_t *bytes, size_t size)
{
    bool raw = encoder->open->raw;
    size_t room = raw ? raw_room(encoder) : coded_room(encoder);
    size_t piece = size < room ? size : room;
    if (raw) {
        raw_put(encoder, bytes, piece);
    } else {
        put_bytes(encoder, bytes, piece);
        encoder->open->header.output += (uint32_t)piece;
    }
    return piece;
}

static bool take_record(struct encoder *encoder, const struct ram_token *token)
{
    if (encoder->open->raw) {
        if (raw_room(encoder) < token->size)
            return false;
        raw_put(encoder, token->bytes, token->size);
        raw_count(encoder, token);
        return true;
    }
    if (!coded_has_room(encoder, token->size))
        return false;
    if (token->kind == RAM_ZERO)
        put_zero(encoder, token);
    else
        put_page(encoder, token);
    encoder->open->header.output += (uint32_t)token->size;
    return true;
}

/* Copies are of pages that were sent once. */
static void pass_main_ram(struct encoder *encoder, const struct ram_token *token)
{
    if (encoder->main_block == NO_BLOCK && token->named &&
        strcmp(ram_parser_block(encoder->parser, token->block)->name, MEMORY_BLOCK) == 0)
        encoder->main_block = token->block;
    if (token->block == encoder->main_block)
        copies_pass(encoder->copies, token->address);
}

int encoder_window_token(void *context, const struct ram_token *token, struct error **err)
{
    struct encoder *encoder = context;
    if (encoder->copies && token->kind != RAM_OTHER)
        pass_main_ram(encoder, token);
    for (size_t done = 0; done < token->size;) {
        if (!encoder->open && encoder_open(encoder, err) < 0)
            return -1;
        if (token->kind == RAM_OTHER)
            done += take_bytes(encoder, token->bytes + done, token->size - done);
        else if (take_record(encoder, token))
            done = token->size;
        if (done < token->size && encoder_close(encoder, err) < 0)
            return -1;
    }
    encoder->pending.bytes_in += token->size;
    return 0;
}
