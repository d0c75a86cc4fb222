/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Puts pages of QEMU's stream straight into the guest's RAM.
 *
 * Pages are gathered, as long as the bytes they lie in are there, and written with one call
 * (process_vm_writev). Whatever goes to QEMU instead goes only after those before it: device state
 * finds RAM complete.
 */
#include "stream/placer.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/fd.h"
#include "qemu/memory_map.h"
#include "stream/ram_parser.h"

#define BLOCK_NONE UINT32_MAX
/* Pages that are written at once; the kernel takes at most 1024 pieces. */
#define BATCH_PAGES 512

#define SECTION_COMMAND 0x08
#define COMMAND_PING    2

struct placer {
    struct placer_ram ram;
    struct placer_sink sink;
    struct ram_parser *parser;
    uint64_t fed, pages;
    bool pinged;     /* what empties RAM is behind us, or does not happen */
    uint32_t block;  /* the one that is placed; BLOCK_NONE: not known yet, or none */
    bool has_blocks; /* the list has been looked at */
    bool placed;     /* the latest record was placed: QEMU has not seen it */
    uint64_t latest; /* its page's address */
    /* A bit for each page: it may hold something; and for each chunk: its bits are valid; all its
     * pages are there. */
    uint8_t *touched, *looked, *made;
    const uint8_t *bytes_begin, *bytes_end; /* what is being fed */
    size_t n_local, n_remote, gathered;     /* bytes */
    struct iovec local[BATCH_PAGES], remote[BATCH_PAGES];
};

static const uint8_t zero_page[RAM_PAGE_SIZE];

void placer_ram_clear(struct placer_ram *ram)
{
    if (!ram->map)
        return;
    memory_free(ram->map);
    close(ram->pidfd);
    *ram = (struct placer_ram){.pidfd = -1};
}

struct placer *placer_new(struct placer_ram *ram, struct placer_sink sink, struct error **err)
{
    const size_t chunks = memory_chunks(ram->map);
    struct placer *placer = calloc(1, sizeof(*placer));
    if (!placer) {
        placer_ram_clear(ram);
        error_set(err, ERROR_SYSTEM, "out of memory");
        return NULL;
    }
    placer->ram = *ram;
    *ram = (struct placer_ram){.pidfd = -1};
    placer->sink = sink;
    placer->pinged = !placer->ram.emptied;
    placer->block = BLOCK_NONE;
    placer->parser = ram_parser_new();
    placer->touched = calloc(chunks, MEMORY_CHUNK_PAGES / 8);
    placer->looked = calloc(chunks / 8 + 1, 1);
    placer->made = calloc(chunks / 8 + 1, 1);
    if (placer->parser && placer->touched && placer->looked && placer->made)
        return placer;
    placer_free(placer);
    error_set(err, ERROR_SYSTEM, "out of memory");
    return NULL;
}

void placer_free(struct placer *placer)
{
    if (!placer)
        return;
    placer_ram_clear(&placer->ram);
    ram_parser_free(placer->parser);
    free(placer->touched);
    free(placer->looked);
    free(placer->made);
    free(placer);
}

/* --- into RAM --- */

static int put_gathered(struct placer *placer, struct error **err)
{
    const size_t size = placer->gathered;
    if (!size)
        return 0;
    placer->gathered = 0;
    if (!process_is_alive(placer->ram.pidfd))
        return error_set(err, ERROR_QEMU, "QEMU has ended");
    return memory_map_write(placer->ram.map, placer->local, placer->n_local, placer->remote,
                            placer->n_remote, size, err);
}

/* The page goes to `address` with the next put_gathered(). */
static void gather(struct placer *placer, uint64_t address, const uint8_t *page)
{
    uint8_t *to = (uint8_t *)(uintptr_t)(placer->ram.map->address + address);
    if (!placer->gathered)
        placer->n_local = placer->n_remote = 0;
    struct iovec *before = placer->n_remote ? placer->remote + placer->n_remote - 1 : NULL;
    if (before && (uint8_t *)before->iov_base + before->iov_len == to)
        before->iov_len += RAM_PAGE_SIZE;
    else
        placer->remote[placer->n_remote++] =
            (struct iovec){.iov_base = to, .iov_len = RAM_PAGE_SIZE};
    placer->local[placer->n_local++] =
        (struct iovec){.iov_base = (void *)(uintptr_t)page, .iov_len = RAM_PAGE_SIZE};
    placer->gathered += RAM_PAGE_SIZE;
}

/* Marks the page as one that holds something; returns whether it may have done so before. */
static bool touch(struct placer *placer, uint64_t address, bool mark)
{
    const uint64_t page = address / RAM_PAGE_SIZE, chunk = page / MEMORY_CHUNK_PAGES;
    const uint8_t bit = (uint8_t)(1u << page % 8);
    if (!(placer->looked[chunk / 8] & 1u << chunk % 8)) {
        bool present[MEMORY_CHUNK_PAGES] = {false};
        memory_map_presence(placer->ram.map, chunk, present);
        for (size_t i = 0; i < MEMORY_CHUNK_PAGES; i++)
            placer->touched[(chunk * MEMORY_CHUNK_PAGES + i) / 8] |= (uint8_t)(present[i] << i % 8);
        placer->looked[chunk / 8] |= (uint8_t)(1u << chunk % 8);
    }
    const bool was = placer->touched[page / 8] & bit;
    if (mark)
        placer->touched[page / 8] |= bit;
    return was;
}

/* Post-copy takes a page that the process has not got for one that is still to come, and would wait
 * for it: so the kernel makes it, as QEMU's own look at it would, and its neighbours, which come
 * next or are emptied again when post-copy begins.
 */
static int make_present(struct placer *placer, uint64_t address, struct error **err)
{
    const size_t chunk = address / MEMORY_CHUNK_SIZE;
    const uint8_t bit = (uint8_t)(1u << chunk % 8);
    if (!placer->ram.emptied || (placer->made[chunk / 8] & bit))
        return 0;
    placer->made[chunk / 8] |= bit;
    return memory_map_make(placer->ram.map, chunk, err);
}

static int place(struct placer *placer, const struct ram_token *token, struct error **err)
{
    uint8_t filled[RAM_PAGE_SIZE];
    const uint8_t *page = token->kind == RAM_PAGE ? token->page : token->fill ? filled : zero_page;
    const bool lasts =
        page == zero_page || (page >= placer->bytes_begin && page < placer->bytes_end);
    placer->placed = true;
    placer->latest = token->address;
    placer->pages++;
    if (!touch(placer, token->address, page != zero_page) && page == zero_page)
        return make_present(placer, token->address, err);
    if (page == filled)
        memset(filled, token->fill, sizeof(filled));
    gather(placer, token->address, page);
    return lasts && placer->n_local < BATCH_PAGES ? 0 : put_gathered(placer, err);
}

/* --- to QEMU --- */

static int say(struct placer *placer, const void *bytes, size_t size, struct error **err)
{
    return placer->sink.write(placer->sink.context, bytes, size, err);
}

/* Once QEMU answers, it has done everything that it was told before. */
static int ping(struct placer *placer, struct error **err)
{
    uint8_t command[9] = {SECTION_COMMAND};
    bytes_put16(command + 1, COMMAND_PING);
    bytes_put16(command + 3, 4);
    bytes_put32(command + 5, PLACER_PING);
    placer->pinged = true;
    return say(placer, command, sizeof(command), err) < 0
               ? -1
               : placer->sink.await_pong(placer->sink.context, err);
}

/* QEMU hears of the page that was placed last, as it is, so that its next record, without a name,
 * means the same block as for the one who wrote it. */
static int catch_up(struct placer *placer, struct error **err)
{
    uint8_t page[RAM_PAGE_SIZE], header[RAM_RECORD_HEADER_MAX], end[8];
    uint8_t head[RAM_SECTION_EDGE], footer[RAM_SECTION_EDGE];
    const uint32_t section = ram_parser_section(placer->parser);
    const bool footers = ram_parser_has_footers(placer->parser);
    const enum ram_place at = ram_parser_place(placer->parser);
    const enum ram_phase phase = ram_parser_phase(placer->parser);
    if (put_gathered(placer, err) < 0)
        return -1;
    if (!placer->placed || phase == RAM_PHASE_DEVICES) /* no record comes after those */
        return 0;
    placer->placed = false;
    if (at == RAM_PLACE_OTHER)
        return error_set(err, ERROR_CORRUPT, "pages end in the middle of something");
    ram_section_edge(head, RAM_SECTION_PART, section);
    ram_section_edge(footer, RAM_SECTION_FOOTER, section);
    bytes_put64(end, RAM_RECORD_EOS);
    const size_t size = ram_record_header(header, RAM_RECORD_PAGE, placer->latest, MEMORY_BLOCK);
    if (memory_read(placer->ram.map, placer->latest, page, sizeof(page), err) < 0)
        return -1;
    /* In a section, a record does; else it needs one of its own: before what follows, or behind the
     * section whose footer is awaited, and with that one for its own. */
    if ((at == RAM_PLACE_FOOTER && footers && say(placer, footer, sizeof(footer), err) < 0) ||
        (at != RAM_PLACE_RECORDS && say(placer, head, sizeof(head), err) < 0) ||
        say(placer, header, size, err) < 0 || say(placer, page, sizeof(page), err) < 0 ||
        (at != RAM_PLACE_RECORDS && say(placer, end, sizeof(end), err) < 0) ||
        (at == RAM_PLACE_SECTIONS && footers && say(placer, footer, sizeof(footer), err) < 0))
        return -1;
    return 0;
}

static int pass_bytes(struct placer *placer, const struct ram_token *token, struct error **err)
{
    if (put_gathered(placer, err) < 0)
        return -1;
    if (token->mark == RAM_MARK_SECTION && !placer->pinged &&
        !ram_parser_is_opaque(placer->parser) && ping(placer, err) < 0)
        return -1;
    if (token->mark == RAM_MARK_SECTION && ram_parser_phase(placer->parser) == RAM_PHASE_UNKNOWN &&
        catch_up(placer, err) < 0)
        return -1;
    return say(placer, token->bytes, token->size, err);
}

/* A page of another block. Such a record has its block's name when the one before was placed, as
 * that was of another block; but for a stream that is none of QEMU's. */
static int pass_record(struct placer *placer, const struct ram_token *token, struct error **err)
{
    if (placer->placed && !token->named)
        return error_set(err, ERROR_CORRUPT, "pages of RAM after its end");
    placer->placed = false;
    if (put_gathered(placer, err) < 0)
        return -1;
    return say(placer, token->bytes, token->size, err);
}

static bool is_placed(struct placer *placer, const struct ram_token *token)
{
    const enum ram_phase phase = ram_parser_phase(placer->parser);
    if (!placer->has_blocks) {
        placer->has_blocks = true;
        for (uint32_t i = 0; i < ram_parser_blocks(placer->parser); i++) {
            const struct ram_block *block = ram_parser_block(placer->parser, i);
            if (strcmp(block->name, MEMORY_BLOCK) == 0 &&
                block->size == memory_size(placer->ram.map))
                placer->block = i;
        }
    }
    return token->block == placer->block && placer->pinged &&
           (phase == RAM_PHASE_COPY || phase == RAM_PHASE_FINAL);
}

static int take_token(void *context, const struct ram_token *token, struct error **err)
{
    struct placer *placer = context;
    if (token->kind == RAM_OTHER)
        return pass_bytes(placer, token, err);
    return is_placed(placer, token) ? place(placer, token, err) : pass_record(placer, token, err);
}

/* --- what the caller does --- */

int placer_feed(struct placer *placer, const uint8_t *bytes, size_t size, struct error **err)
{
    placer->bytes_begin = bytes;
    placer->bytes_end = bytes + size;
    placer->fed += size;
    if (ram_parser_feed(placer->parser, bytes, size, take_token, placer, err) < 0)
        return -1;
    return put_gathered(placer, err);
}

uint64_t placer_position(const struct placer *placer)
{
    size_t held;
    ram_parser_held(placer->parser, &held);
    return placer->fed - held;
}

uint64_t placer_pages(const struct placer *placer)
{
    return placer->pages;
}

int placer_read(struct placer *placer, uint64_t address, uint8_t *page, struct error **err)
{
    if (put_gathered(placer, err) < 0)
        return -1;
    return memory_read(placer->ram.map, address, page, RAM_PAGE_SIZE, err);
}

int placer_end(struct placer *placer, struct error **err)
{
    if (catch_up(placer, err) < 0)
        return -1;
    return ram_parser_finish(placer->parser, take_token, placer, err);
}
