/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream from anywhere into a guest's RAM: however it is cut, RAM holds the pages that the parser
 * finds in it, nothing is written beside RAM, and QEMU gets everything else.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "qemu/memory_map.h"
#include "stream/placer.h"
#include "stream/ram_parser.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define RAM_SIZE ((size_t)64 * RAM_PAGE_SIZE)

struct seen {
    struct ram_parser *parser;
    uint8_t ram[RAM_SIZE];
    size_t rest; /* bytes that are no pages of it */
};

static void check(bool holds)
{
    if (!holds)
        abort();
}

/* What the placer is to do with a token. */
static int see(void *context, const struct ram_token *token, struct error **err)
{
    struct seen *seen = context;
    const enum ram_phase phase = ram_parser_phase(seen->parser);
    (void)err;
    if (token->kind == RAM_OTHER || (phase != RAM_PHASE_COPY && phase != RAM_PHASE_FINAL) ||
        strcmp(ram_parser_block(seen->parser, token->block)->name, "pc.ram") != 0 ||
        ram_parser_block(seen->parser, token->block)->size != RAM_SIZE) {
        seen->rest += token->size;
    } else if (token->kind == RAM_PAGE) {
        memcpy(seen->ram + token->address, token->page, RAM_PAGE_SIZE);
    } else {
        memset(seen->ram + token->address, token->fill, RAM_PAGE_SIZE);
    }
    return 0;
}

static int count(void *context, const uint8_t *bytes, size_t size, struct error **err)
{
    (void)bytes;
    (void)err;
    *(size_t *)context += size;
    return 0;
}

static int pong(void *context, struct error **err)
{
    (void)context;
    (void)err;
    return 0;
}

/* RAM with nothing around it. */
static uint8_t *make_ram(void)
{
    uint8_t *around = mmap(NULL, RAM_SIZE + (size_t)2 * RAM_PAGE_SIZE, PROT_NONE,
                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check(around != MAP_FAILED);
    check(mprotect(around + RAM_PAGE_SIZE, RAM_SIZE, PROT_READ | PROT_WRITE) == 0);
    return around + RAM_PAGE_SIZE;
}

static struct placer *begin(uint8_t *memory, bool emptied, size_t *said)
{
    struct memory_map *map = malloc(sizeof(*map));
    *map = (struct memory_map){.pid = getpid(),
                               .address = (uint64_t)(uintptr_t)memory,
                               .size = RAM_SIZE,
                               .pagemap_fd = -1};
    struct placer_ram ram = {
        .map = map, .pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0), .emptied = emptied};
    check(ram.pidfd >= 0);
    return placer_new(&ram, (struct placer_sink){count, pong, said}, NULL);
}

/* The first byte says how the rest is cut, and whether RAM is emptied first. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t *memory;
    static struct seen seen;
    size_t said = 0;
    if (size == 0)
        return 0;
    const bool emptied = data[0] & 1;
    const size_t piece = 1 + (size_t)data[0] * 41;
    data++;
    size--;
    if (!memory)
        memory = make_ram();
    memset(memory, 0, RAM_SIZE);
    memset(seen.ram, 0, RAM_SIZE);
    seen.rest = 0;
    seen.parser = ram_parser_new();
    struct placer *placer = begin(memory, emptied, &said);
    check(placer && seen.parser);
    CLEANUP_ERROR struct error *err = NULL;
    int fed = 0;
    size_t at = 0;
    while (at < size && fed == 0) {
        const size_t length = size - at < piece ? size - at : piece;
        uint8_t *copy = malloc(length); /* so that what is used too late is noticed */
        memcpy(copy, data + at, length);
        fed = placer_feed(placer, copy, length, &err);
        free(copy);
        at += length;
    }
    if (fed == 0 && ram_parser_feed(seen.parser, data, size, see, &seen, NULL) == 0) {
        size_t held;
        ram_parser_held(seen.parser, &held);
        check(memcmp(memory, seen.ram, RAM_SIZE) == 0);
        check(placer_position(placer) == size - held && said >= seen.rest);
        placer_end(placer, NULL);
    } else {
        check(err && err->kind == ERROR_CORRUPT);
    }
    placer_free(placer);
    ram_parser_free(seen.parser);
    return 0;
}
