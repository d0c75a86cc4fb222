/* SPDX-License-Identifier: Apache-2.0 */
/* Memory whose every byte can be recomputed; see workset.h. */
#include "workset.h"

#define COUNTERS     8u                         /* counters in a page under WORKSET_COUNTER */
#define COUNTER_GAP  (WORKSET_WORDS / COUNTERS) /* words from one to the next */
#define COUNTER_COST 32u                        /* words that finding and writing one is worth */
#define MULTIPLIER   0x2c9277b5u                /* of Steele and Vigna's table for 32 bits */

/* A bijection of 32-bit words without visible structure: two rounds of xor-shift and multiply. */
static uint32_t workset_mix(uint32_t x)
{
    x ^= x >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15;
    x *= 0x846ca68bu;
    return x ^ (x >> 16);
}

static bool workset_is_zero(const struct workset *set, uint32_t page)
{
    return page >= set->config.work_pages + set->config.fill_pages;
}

/* The words of one page at one generation, one after the other: x -> x * MULTIPLIER + add modulo
 * 2^32. A multiplication and an addition a word, since some machines here are very slow; no
 * compressor finds anything in it. The zero part is the sequence that stays at 0. */
struct workset_stream {
    uint32_t value, add;
};

static inline void workset_advance(struct workset_stream *stream)
{
    stream->value = stream->value * MULTIPLIER + stream->add;
}

/* The stream from `word` on: the step composed with itself, bit by bit of `word`. */
static struct workset_stream workset_stream(const struct workset *set, uint32_t page,
                                            uint32_t generation, uint32_t word)
{
    uint32_t key = workset_mix(workset_mix(workset_mix(set->config.seed) + page) + generation);
    struct workset_stream stream = {key, workset_mix(key + page) | 1};
    uint32_t multiply = MULTIPLIER, add = stream.add;

    if (workset_is_zero(set, page))
        return (struct workset_stream){0, 0};
    for (; word > 0; word >>= 1) {
        if ((word & 1) != 0)
            stream.value = stream.value * multiply + add;
        add *= multiply + 1;
        multiply *= multiply;
    }
    return stream;
}

static bool workset_is_counter(const struct workset *set, uint32_t page)
{
    return set->config.pattern == WORKSET_COUNTER && page < set->config.work_pages;
}

/* The generations of a page take its counters in turn: how often it was counter `slot`'s. */
static uint32_t workset_count(uint32_t generation, uint32_t slot)
{
    return generation / COUNTERS + (generation % COUNTERS > slot);
}

/* Where in its stretch of words a page keeps its counters. */
static uint32_t workset_counter_word(uint32_t page, uint32_t slot)
{
    return slot * COUNTER_GAP + page * 37u % COUNTER_GAP;
}

static uint32_t *workset_address(const struct workset *set, uint32_t page)
{
    return set->pages + (uintptr_t)page * WORKSET_WORDS;
}

uintptr_t workset_size(const struct workset_config *config)
{
    uint64_t pages = (uint64_t)config->work_pages + config->fill_pages + config->zero_pages;
    uint64_t table = (uint64_t)config->work_pages * sizeof(uint32_t);
    uint64_t size = (table + WORKSET_PAGE_SIZE - 1) / WORKSET_PAGE_SIZE * WORKSET_PAGE_SIZE +
                    pages * WORKSET_PAGE_SIZE;

    return size > UINTPTR_MAX || pages > UINT32_MAX ? 0 : (uintptr_t)size;
}

void workset_open(struct workset *set, const struct workset_config *config, void *region)
{
    uintptr_t table = config->work_pages * (uintptr_t)sizeof(uint32_t);

    table = (table + WORKSET_PAGE_SIZE - 1) / WORKSET_PAGE_SIZE * WORKSET_PAGE_SIZE;
    *set = (struct workset){
        .config = *config,
        .generation = region,
        .pages = (uint32_t *)region + table / sizeof(uint32_t),
        .total = config->work_pages + config->fill_pages + config->zero_pages,
    };
    for (uint32_t page = 0; page < config->work_pages; page++)
        set->generation[page] = 0;
}

/* Writes words [from, to) of a page; a word that is right already stays untouched. */
static void workset_fill(struct workset *set, uint32_t page, uint32_t generation, uint32_t from,
                         uint32_t to)
{
    struct workset_stream stream = workset_stream(set, page, generation, from);
    volatile uint32_t *memory = workset_address(set, page) + from;
    volatile uint32_t *end = memory + (to - from);

    for (; memory < end; memory++) {
        if (*memory != stream.value)
            *memory = stream.value;
        workset_advance(&stream);
    }
}

void workset_contents(uint32_t seed, uint32_t page, uint32_t *words)
{
    const struct workset set = {.config = {.seed = seed, .fill_pages = UINT32_MAX}};
    struct workset_stream stream = workset_stream(&set, page, 0, 0);

    for (uint32_t word = 0; word < WORKSET_WORDS; word++) {
        words[word] = stream.value;
        workset_advance(&stream);
    }
}

/* The end of a step of at most `words` words from `word` on, within the page. */
static uint32_t workset_end(uint32_t word, uint32_t words)
{
    return words < WORKSET_WORDS - word ? word + words : WORKSET_WORDS;
}

bool workset_init(struct workset *set, uint32_t words)
{
    while (words > 0 && set->init_page < set->total) {
        uint32_t from = set->init_word, to = workset_end(from, words);

        workset_fill(set, set->init_page, 0, from, to);
        words -= to - from;
        set->init_word = to % WORKSET_WORDS;
        set->init_page += to == WORKSET_WORDS;
    }
    return set->init_page == set->total;
}

static uint32_t workset_next_page(struct workset *set)
{
    uint32_t turn = set->write_turn++;

    if (set->config.pattern == WORKSET_SWEEP)
        return turn % set->config.work_pages;
    return workset_mix(turn ^ set->config.seed) % set->config.work_pages;
}

static void workset_write_counter(struct workset *set)
{
    uint32_t page = workset_next_page(set), slot = set->generation[page] % COUNTERS;
    uint32_t word = workset_counter_word(page, slot);

    set->generation[page]++;
    *(volatile uint32_t *)(workset_address(set, page) + word) = workset_expected(set, page, word);
}

/* Writes on in the page in flight, or begins the next; returns the words written. */
static uint32_t workset_write_words(struct workset *set, uint32_t words)
{
    uint32_t from = set->write_word, to = workset_end(from, words);

    if (from == 0)
        set->write_page = workset_next_page(set);
    workset_fill(set, set->write_page, set->generation[set->write_page] + 1, from, to);
    set->write_word = to % WORKSET_WORDS;
    if (to == WORKSET_WORDS)
        set->generation[set->write_page]++;
    return to - from;
}

uint32_t workset_write(struct workset *set, uint32_t words, uint32_t pages)
{
    uint32_t done = 0;

    if (set->config.work_pages == 0)
        return 0;
    while (words > 0 && done < pages) {
        uint32_t cost = COUNTER_COST;

        if (set->config.pattern == WORKSET_COUNTER)
            workset_write_counter(set);
        else
            cost = workset_write_words(set, words);
        done += set->write_word == 0;
        words -= cost < words ? cost : words;
    }
    set->written += done;
    return done;
}

/* The generation of one word: the page in flight has two. */
static uint32_t workset_generation(const struct workset *set, uint32_t page, uint32_t word)
{
    bool ahead = set->write_word != 0 && page == set->write_page && word < set->write_word;

    return page < set->config.work_pages ? set->generation[page] + ahead : 0;
}

uint32_t workset_expected(const struct workset *set, uint32_t page, uint32_t word)
{
    uint32_t generation = workset_generation(set, page, word), slot = word / COUNTER_GAP;

    if (!workset_is_counter(set, page))
        return workset_stream(set, page, generation, word).value;
    return workset_stream(set, page, 0, word).value +
           (word == workset_counter_word(page, slot) ? workset_count(generation, slot) : 0);
}

static void workset_report(struct workset *set, uint32_t page, uint32_t word, uint32_t want,
                           uint32_t got)
{
    uintptr_t address = (uintptr_t)(workset_address(set, page) + word);
    uint32_t shift = 0;

    if (set->errors++ > 0)
        return;
    while (((want ^ got) >> shift & 0xff) == 0)
        shift += 8;
    set->first = (struct workset_error){
        .address = address + shift / 8,
        .want = (uint8_t)(want >> shift),
        .got = (uint8_t)(got >> shift),
        .page = page,
        .generation = workset_generation(set, page, word),
    };
}

/* A word that differs from its page's stream: wrong unless it is a counter. */
static void workset_differs(struct workset *set, uint32_t page, uint32_t word, uint32_t want,
                            uint32_t got)
{
    if (!workset_is_counter(set, page) || word != workset_counter_word(page, word / COUNTER_GAP))
        workset_report(set, page, word, want, got);
}

static void workset_check_counters(struct workset *set, uint32_t page, uint32_t from, uint32_t to)
{
    for (uint32_t slot = from / COUNTER_GAP; slot < COUNTERS; slot++) {
        uint32_t word = workset_counter_word(page, slot), got, want;

        if (word < from || word >= to)
            continue;
        got = *(volatile uint32_t *)(workset_address(set, page) + word);
        want = workset_expected(set, page, word);
        if (got != want)
            workset_report(set, page, word, want, got);
    }
}

/* Words [from, to) of one page, all of one generation. */
static void workset_check_words(struct workset *set, uint32_t page, uint32_t from, uint32_t to)
{
    const volatile uint32_t *start = workset_address(set, page), *memory = start + from;
    bool counters = workset_is_counter(set, page);
    struct workset_stream stream =
        workset_stream(set, page, counters ? 0 : workset_generation(set, page, from), from);

    for (; memory < start + to; memory++) {
        uint32_t got = *memory;

        if (got != stream.value)
            workset_differs(set, page, (uint32_t)(memory - start), stream.value, got);
        workset_advance(&stream);
    }
    if (counters)
        workset_check_counters(set, page, from, to);
}

uint32_t workset_check(struct workset *set, uint32_t words)
{
    uint32_t page = set->check_page, from = set->check_word, split = set->write_word;
    uint32_t to = workset_end(from, words);

    if (set->total == 0)
        return 0;
    if (page == set->write_page && from < split && split < to)
        to = split; /* two generations: the rest of the page in flight is the next step's */
    workset_check_words(set, page, from, to);
    set->check_word = to % WORKSET_WORDS;
    if (to == WORKSET_WORDS && ++set->check_page == set->total) {
        set->check_page = 0;
        set->rounds++;
    }
    return to - from;
}

void workset_damage(struct workset *set)
{
    const struct workset_config *config = &set->config;
    uint32_t page = config->work_pages / 2;

    if (set->total == 0)
        return;
    if (config->fill_pages + config->zero_pages > 0)
        page = config->work_pages + (config->fill_pages + config->zero_pages) / 2;
    *(volatile uint32_t *)(workset_address(set, page) + (workset_counter_word(page, 4) ^ 1)) ^=
        0x00100000;
}
