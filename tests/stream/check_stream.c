/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Puts a captured stream through its parser, whole and in pieces, and says what it saw as JSON.
 *
 *   check_stream [--seed N] [--image FILE] (ram | multifd) STREAM...
 *
 * The tokens put together must be the stream, in the order and of the kind that the whole gave; a
 * difference ends the program with status 1. --image: the memory of block "ram" as it must be once
 * all pages of all streams are in place; only pages that came are compared.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"
#include "stream/multifd_parser.h"
#include "stream/ram_parser.h"

#define BLOCK           "ram"
#define EXHAUSTIVE_SIZE 16384      /* from the start: cut at each byte of its first half */
#define SINGLE_BYTES    (1u << 20) /* from the start: byte by byte */
#define RANDOM_ROUNDS   4

/* One of the two parsers. */
struct parser {
    struct ram_parser *ram;
    struct multifd_parser *multifd;
};

struct walk {
    struct parser parser;
    const uint8_t *expected; /* the next byte that must come out */
    const uint8_t *end;
    uint64_t pages, zeros;
    uint64_t digest; /* of all pages' places, in order */
    uint8_t *memory; /* where pages go; NULL for nowhere */
    bool *came;      /* which of its pages did */
    size_t memory_pages;
};

static uint64_t random_state;

/* SplitMix64: the next pseudo-random number. */
static uint64_t random_next(void)
{
    uint64_t x = random_state += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static struct parser parser_new(bool multifd)
{
    struct parser parser = {.ram = multifd ? NULL : ram_parser_new(),
                            .multifd = multifd ? multifd_parser_new() : NULL};
    return parser;
}

static void parser_free(struct parser *parser)
{
    ram_parser_free(parser->ram);
    multifd_parser_free(parser->multifd);
}

static const struct ram_block *parser_block(const struct parser *parser, uint32_t index)
{
    return parser->ram ? ram_parser_block(parser->ram, index)
                       : multifd_parser_block(parser->multifd, index);
}

static void walk_keep(struct walk *walk, const struct ram_token *token)
{
    size_t index = token->address / RAM_PAGE_SIZE;
    if (!walk->memory || strcmp(parser_block(&walk->parser, token->block)->name, BLOCK) != 0 ||
        index >= walk->memory_pages)
        return;
    uint8_t *target = walk->memory + token->address;
    if (token->kind == RAM_PAGE)
        memcpy(target, token->page, RAM_PAGE_SIZE);
    else
        memset(target, token->fill, RAM_PAGE_SIZE);
    walk->came[index] = true;
}

static int walk_token(void *context, const struct ram_token *token, struct error **err)
{
    struct walk *walk = context;
    if (token->size == 0 || token->size > (size_t)(walk->end - walk->expected) ||
        memcmp(token->bytes, walk->expected, token->size) != 0)
        return error_set(err, ERROR_CORRUPT,
                         "the output is not the input, %td bytes before its end",
                         walk->end - walk->expected);
    walk->expected += token->size;
    if (token->kind == RAM_OTHER)
        return 0;
    *(token->kind == RAM_PAGE ? &walk->pages : &walk->zeros) += 1;
    const uint64_t place[] = {token->kind, token->block, token->address, token->named};
    for (size_t i = 0; i < ARRAY_SIZE(place); i++)
        walk->digest = (walk->digest ^ place[i]) * 0x100000001b3u + 1;
    walk_keep(walk, token);
    return 0;
}

static int walk_feed(struct walk *walk, const uint8_t *bytes, size_t size, struct error **err)
{
    return walk->parser.ram
               ? ram_parser_feed(walk->parser.ram, bytes, size, walk_token, walk, err)
               : multifd_parser_feed(walk->parser.multifd, bytes, size, walk_token, walk, err);
}

static int walk_finish(struct walk *walk, struct error **err)
{
    int status = walk->parser.ram
                     ? ram_parser_finish(walk->parser.ram, walk_token, walk, err)
                     : multifd_parser_finish(walk->parser.multifd, walk_token, walk, err);
    if (status == 0 && walk->expected != walk->end)
        return error_set(err, ERROR_CORRUPT, "%td bytes are missing", walk->end - walk->expected);
    return status;
}

/* How the next piece is cut: first byte by byte, then at random, ... */
struct cutter {
    size_t first;  /* of this size */
    size_t second; /* then one of this size, then the rest */
    size_t single; /* or: single bytes as far as this */
    bool random;   /* or: random sizes */
};

static size_t cutter_next(const struct cutter *cutter, size_t at, size_t left)
{
    size_t size = left;
    if (cutter->random) {
        size_t limit = (size_t)1 << random_next() % 18;
        size = 1 + random_next() % limit;
    } else if (at < cutter->single)
        size = 1;
    else if (at < cutter->first)
        size = cutter->first - at;
    else if (at == cutter->first && cutter->second > 0)
        size = cutter->second;
    return size < left ? size : left;
}

/* The stream once more, in pieces; what comes out must be what `whole` saw. */
static int check_pieces(const uint8_t *bytes, size_t size, const struct walk *whole,
                        const struct cutter *cutter, struct error **err)
{
    struct walk walk = {.parser = parser_new(whole->parser.multifd != NULL),
                        .expected = bytes,
                        .end = bytes + size};
    int status = 0;
    for (size_t at = 0; status == 0 && at < size;) {
        size_t piece = cutter_next(cutter, at, size - at);
        /* A copy of its own, so that a sanitizer sees a step beyond it. */
        CLEANUP_FREE uint8_t *copy = malloc(piece);
        memcpy(copy, bytes + at, piece);
        status = walk_feed(&walk, copy, piece, err);
        at += piece;
    }
    if (status == 0)
        status = walk_finish(&walk, err);
    if (status == 0 && whole->digest != walk.digest && size == (size_t)(whole->end - bytes))
        status = error_set(err, ERROR_CORRUPT, "other pages come out when the input is cut");
    parser_free(&walk.parser);
    return status;
}

static int check_cuts(const uint8_t *bytes, size_t size, const struct walk *whole,
                      struct error **err)
{
    size_t start = size < EXHAUSTIVE_SIZE ? size : EXHAUSTIVE_SIZE;
    for (size_t cut = 0; cut < EXHAUSTIVE_SIZE / 2 && cut < size; cut++) {
        struct cutter cutter = {.first = cut, .second = cut % 3};
        if (check_pieces(bytes, start, whole, &cutter, err) < 0)
            return error_prefix(err, "cut at byte %zu", cut);
    }
    struct cutter single = {.single = SINGLE_BYTES};
    if (check_pieces(bytes, size, whole, &single, err) < 0)
        return error_prefix(err, "byte by byte");
    for (unsigned round = 0; round < RANDOM_ROUNDS; round++) {
        struct cutter cutter = {.random = true};
        uint64_t seed = random_state;
        if (check_pieces(bytes, size, whole, &cutter, err) < 0)
            return error_prefix(err, "--seed %" PRIu64, seed);
    }
    return 0;
}

static void print_facts(const struct walk *walk, size_t size)
{
    if (walk->parser.ram) {
        const char *reason = ram_parser_reason(walk->parser.ram);
        printf("{\"bytes\": %zu, \"pages\": %" PRIu64 ", \"zeros\": %" PRIu64
               ", \"phase\": %d, \"blocks\": %u, \"reason\": \"%s\"}\n",
               size, walk->pages, walk->zeros, ram_parser_phase(walk->parser.ram),
               ram_parser_blocks(walk->parser.ram), reason ? reason : "");
        return;
    }
    struct multifd_status status = multifd_parser_status(walk->parser.multifd);
    printf("{\"bytes\": %zu, \"pages\": %" PRIu64 ", \"zeros\": %" PRIu64 ", \"packets\": %" PRIu64
           ", \"syncs\": %" PRIu64 ", \"channel\": %u, \"reason\": \"%s\"}\n",
           size, walk->pages, walk->zeros, status.packets, status.syncs, status.channel,
           status.reason ? status.reason : "");
}

/* A file's bytes, mapped for the program's lifetime. */
static uint8_t *map_file(const char *path, size_t *size, struct error **err)
{
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat info;
    if (fd < 0 || fstat(fd, &info) < 0) {
        error_errno(err, errno, "%s", path);
        return NULL;
    }
    *size = (size_t)info.st_size;
    void *bytes = mmap(NULL, *size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (bytes == MAP_FAILED) {
        error_errno(err, errno, "%s", path);
        return NULL;
    }
    return bytes;
}

/* Every page of the block that came must be what the guest had in the end. */
static int check_image(const struct walk *walk, const uint8_t *image, struct error **err)
{
    size_t came = 0;
    for (size_t i = 0; i < walk->memory_pages; i++) {
        if (!walk->came[i])
            continue;
        came++;
        if (memcmp(walk->memory + i * RAM_PAGE_SIZE, image + i * RAM_PAGE_SIZE, RAM_PAGE_SIZE) != 0)
            return error_set(err, ERROR_CORRUPT, "the page at 0x%zx is not what the guest has",
                             i * RAM_PAGE_SIZE);
    }
    printf("{\"compared\": %zu, \"of\": %zu}\n", came, walk->memory_pages);
    return 0;
}

/* One stream: whole, for its facts and its pages, then in pieces. */
static int check_stream(const char *path, bool multifd, struct walk *image, struct error **err)
{
    size_t size = 0;
    const uint8_t *bytes = map_file(path, &size, err);
    if (!bytes)
        return -1;
    struct walk walk = {.parser = parser_new(multifd),
                        .expected = bytes,
                        .end = bytes + size,
                        .memory = image->memory,
                        .came = image->came,
                        .memory_pages = image->memory_pages};
    int status = walk_feed(&walk, bytes, size, err);
    if (status == 0)
        status = walk_finish(&walk, err);
    if (status == 0) {
        print_facts(&walk, size);
        status = check_cuts(bytes, size, &walk, err);
    }
    parser_free(&walk.parser);
    return status < 0 ? error_prefix(err, "%s", path) : 0;
}

static int check_all(char **paths, bool multifd, const char *image_path, struct error **err)
{
    struct walk image = {.memory = NULL};
    CLEANUP_FREE uint8_t *memory = NULL;
    CLEANUP_FREE bool *came = NULL;
    const uint8_t *expected = NULL;
    if (image_path) {
        size_t size = 0;
        expected = map_file(image_path, &size, err);
        if (!expected)
            return -1;
        image.memory_pages = size / RAM_PAGE_SIZE;
        image.memory = memory = malloc(size);
        image.came = came = calloc(image.memory_pages, sizeof(*came));
        if (!memory || !came)
            return error_errno(err, ENOMEM, "%s", image_path);
    }
    for (; *paths; paths++)
        if (check_stream(*paths, multifd, &image, err) < 0)
            return -1;
    return expected ? check_image(&image, expected, err) : 0;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"seed", required_argument, NULL, 's'}, {"image", required_argument, NULL, 'i'}, {0}};
    const char *image = NULL;
    random_state = (uint64_t)time(NULL);
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) >= 0;) {
        if (option == 's')
            random_state = strtoull(optarg, NULL, 0);
        else if (option == 'i')
            image = optarg;
        else
            return 2;
    }
    bool multifd = optind < argc && text_equal(argv[optind], "multifd");
    if (argc - optind < 2 || (!multifd && !text_equal(argv[optind], "ram"))) {
        fprintf(stderr, "usage: check_stream [--seed N] [--image FILE] ram|multifd STREAM...\n");
        return 2;
    }
    CLEANUP_ERROR struct error *err = NULL;
    if (check_all(argv + optind + 1, multifd, image, &err) < 0) {
        fprintf(stderr, "check_stream: %s\n", err ? err->message : "no error set");
        return 1;
    }
    return 0;
}
