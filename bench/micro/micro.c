/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Micro-benchmarks: what one core does with a captured stream in a second.
 *
 *   bench_micro [--rounds N] [--only TEXT] STREAM
 *
 * Each round does every row once, so that whatever disturbs the machine disturbs all of them, and
 * each row is given beside memcpy (or another row) in the same round. Time is the thread's own CPU
 * time. Prints JSON: for each row the samples in GB/s (10^9 bytes) and their median.
 */
#include "micro.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"
#include "stream/ram_parser.h"
#include "wire/block.h"

#define ROWS_MAX   64
#define ROUNDS_MAX 100
/* More than a run takes from the system, bytes. */
#define MEMORY ((size_t)256 * 1024 * 1024)
#define PAGE   4096

struct result {
    const struct micro_row *row;
    uint64_t in, out;
    long faults;              /* pages the kernel had to provide in the last round */
    double rates[ROUNDS_MAX]; /* bytes in a nanosecond, which is GB/s */
};

static int64_t cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int add_page(void *context, const struct ram_token *token, struct error **err)
{
    struct micro_stream *stream = context;
    (void)err;
    if (token->kind == RAM_PAGE)
        stream->pages[stream->n_pages++] = token->page;
    return 0;
}

/* Reads a stream and finds its pages. */
static int stream_load(const char *path, struct micro_stream *stream, struct error **err)
{
    FILE *file = fopen(path, "rb");
    struct stat info;
    if (!file || fstat(fileno(file), &info) < 0) {
        error_errno(err, errno, "%s", path);
        if (file)
            fclose(file);
        return -1;
    }
    stream->size = (size_t)info.st_size;
    uint8_t *bytes = malloc(stream->size + 1);
    stream->pages = calloc(stream->size / RAM_PAGE_SIZE + 1, sizeof(stream->pages[0]));
    stream->packed = malloc(stream->size + 1);
    stream->room = malloc(stream->size + 2 * MICRO_PIECE);
    if (!bytes || !stream->pages || !stream->packed || !stream->room) {
        fclose(file);
        return error_errno(err, ENOMEM, "%s", path);
    }
    size_t got = fread(bytes, 1, stream->size, file);
    fclose(file);
    stream->bytes = bytes;
    CLEANUP_RAM_PARSER struct ram_parser *parser = ram_parser_new();
    if (got != stream->size || ram_parser_feed(parser, bytes, got, add_page, stream, err) < 0)
        return error_set(err, ERROR_CORRUPT, "%s: cannot be read whole", path);
    if (stream->n_pages == 0)
        return error_set(err, ERROR_INVALID, "%s: no migration stream with pages", path);
    for (size_t i = 0; i < stream->n_pages; i++)
        memcpy(stream->packed + i * RAM_PAGE_SIZE, stream->pages[i], RAM_PAGE_SIZE);
    memset(stream->room, 1, stream->size + 2 * MICRO_PIECE); /* so that the memory is there */
    return 0;
}

/*
 * Where this machine is itself a VM, its host may take back memory that nobody used for seconds,
 * and give it again page by page: a cost of that host, ten times that of memory which is there. So
 * there is some, used a moment ago, for each run. That the kernel clears it remains in what is
 * measured.
 */
static void have_memory(void)
{
    uint8_t *memory =
        mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return;
    madvise(memory, MEMORY, MADV_HUGEPAGE);
    for (size_t at = 0; at < MEMORY; at += PAGE)
        memory[at] = 1;
    munmap(memory, MEMORY);
}

static int run_once(struct result *result, const struct micro_stream *stream, unsigned round,
                    struct error **err)
{
    struct rusage before;
    struct rusage after;
    have_memory();
    getrusage(RUSAGE_THREAD, &before);
    int64_t start = cpu_ns();
    result->in = result->row->run(stream, &result->out);
    int64_t took = cpu_ns() - start;
    getrusage(RUSAGE_THREAD, &after);
    result->faults = after.ru_minflt - before.ru_minflt;
    if (result->in == 0)
        return error_set(err, ERROR_INTERNAL, "%s: failed", result->row->name);
    result->rates[round] = (double)result->in / (double)(took > 0 ? took : 1);
    return 0;
}

static int compare(const void *one, const void *other)
{
    double a = *(const double *)one;
    double b = *(const double *)other;
    return (a > b) - (a < b);
}

static double median(const double *values, unsigned count)
{
    double sorted[ROUNDS_MAX];
    memcpy(sorted, values, count * sizeof(values[0]));
    qsort(sorted, count, sizeof(sorted[0]), compare);
    return count % 2 ? sorted[count / 2] : (sorted[count / 2 - 1] + sorted[count / 2]) / 2;
}

/* The row of this name; memcpy when there is none. */
static const struct result *find(const struct result *results, size_t count, const char *name)
{
    for (size_t i = 0; name && i < count; i++)
        if (text_equal(results[i].row->name, name))
            return &results[i];
    return &results[0];
}

/* One comparison: the median of each round's ratio. */
static void print_beside(const struct result *result, const struct result *other, unsigned rounds)
{
    double ratios[ROUNDS_MAX] = {0};
    for (unsigned i = 0; i < rounds; i++)
        ratios[i] = result->rates[i] / other->rates[i];
    printf("{\"name\": \"%s\", \"ratio\": %.4f}", other->row->name, median(ratios, rounds));
}

static void print_result(const struct result *results, size_t count, size_t index, unsigned rounds)
{
    const struct result *result = &results[index];
    printf("  {\"name\": \"%s\", \"in\": %" PRIu64 ", \"out\": %" PRIu64
           ", \"page_faults\": %ld, \"gb_per_s\": %.3f,\n   \"samples\": [",
           result->row->name, result->in, result->out, result->faults,
           median(result->rates, rounds));
    for (unsigned i = 0; i < rounds; i++)
        printf("%s%.3f", i ? ", " : "", result->rates[i]);
    printf("],\n   \"beside\": [");
    for (size_t i = 0; i < MICRO_BESIDE && (i == 0 || result->row->beside[i]); i++) {
        printf("%s", i ? ", " : "");
        print_beside(result, find(results, count, result->row->beside[i]), rounds);
    }
    printf("]}%s\n", index + 1 < count ? "," : "");
}

static const struct micro_row *const tables[] = {micro_basic_rows, micro_codec_rows,
                                                 micro_engine_rows};

/* Whether one of the rows that `only` asks for is compared with a row of this name. */
static bool is_beside(const char *name, const char *only)
{
    for (size_t i = 0; i < ARRAY_SIZE(tables); i++)
        for (const struct micro_row *row = tables[i]; row->name; row++)
            for (size_t k = 0; k < MICRO_BESIDE && row->beside[k]; k++)
                if (strstr(row->name, only) && text_equal(row->beside[k], name))
                    return true;
    return false;
}

/* Those rows whose name contains `only`, and what they are compared with; memcpy always. */
static size_t choose_rows(struct result *results, const char *only)
{
    size_t count = 0;
    for (size_t i = 0; i < ARRAY_SIZE(tables); i++)
        for (const struct micro_row *row = tables[i]; row->name && count < ROWS_MAX; row++)
            if (!only || row == micro_basic_rows || strstr(row->name, only) ||
                is_beside(row->name, only))
                results[count++].row = row;
    return count;
}

static int measure(const struct micro_stream *stream, const char *only, unsigned rounds,
                   struct error **err)
{
    static struct result results[ROWS_MAX];
    size_t count = choose_rows(results, only);
    for (size_t i = 0; i < count; i++)
        if (results[i].row->prepare && results[i].row->prepare(stream) < 0)
            return error_set(err, ERROR_INTERNAL, "%s: cannot be prepared", results[i].row->name);
    for (size_t i = 0; i < count; i++) /* once unmeasured: caches and memory warm up */
        if (run_once(&results[i], stream, 0, err) < 0)
            return -1;
    for (unsigned round = 0; round < rounds; round++)
        for (size_t i = 0; i < count; i++)
            if (run_once(&results[i], stream, round, err) < 0)
                return -1;
    printf("{\"bytes\": %zu, \"pages\": %zu, \"rounds\": %u, \"rows\": [\n", stream->size,
           stream->n_pages, rounds);
    for (size_t i = 0; i < count; i++)
        print_result(results, count, i, rounds);
    printf("]}\n");
    return 0;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"rounds", required_argument, NULL, 'r'}, {"only", required_argument, NULL, 'o'}, {0}};
    CLEANUP_ERROR struct error *err = NULL;
    const char *only = NULL;
    int64_t rounds = 7;
    struct micro_stream stream = {.n_pages = 0};
    int status = 0;
    block_memory_keep(); /* as the agent does */
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) >= 0 && status == 0;) {
        if (option == 'o')
            only = optarg;
        else if (option != 'r')
            status = -1;
        else
            status = text_parse_int(optarg, 1, ROUNDS_MAX, &rounds, &err);
    }
    if (status < 0 || argc - optind != 1) {
        fprintf(stderr, "usage: bench_micro [--rounds N] [--only TEXT] STREAM\n");
        return 2;
    }
    if (stream_load(argv[optind], &stream, &err) < 0 ||
        measure(&stream, only, (unsigned)rounds, &err) < 0) {
        fprintf(stderr, "bench_micro: %s\n", err ? err->message : "no error set");
        return 1;
    }
    return 0; /* the memory goes with the process */
}
