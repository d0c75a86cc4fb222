/* SPDX-License-Identifier: Apache-2.0 */
/* What both guests do between two heartbeats; see engine.h. */
#include "engine.h"

#include <stddef.h>

#define WORDS_MIN   64u
#define WORDS_MAX   16384u
#define STEP_SHORT  100u    /* us: double the step */
#define STEP_LONG   500u    /* us: halve it */
#define CREDIT_PAGE 1000u   /* credit for one page */
#define CREDIT_MAX  2000000 /* pages in arrears that are made up for: 2000 */

void engine_open(struct engine *engine, const struct options *options, void *region)
{
    *engine = (struct engine){.options = *options, .words = WORDS_MIN};
    workset_open(&engine->set, &options->work, region);
}

/* Credit for `rate` pages a second over `ms`; capped, so that a guest that was paused or is too
 * slow for its rate does not fall ever further behind. */
static uint32_t engine_credit(uint32_t credit, uint32_t rate, uint32_t ms)
{
    uint64_t sum = (uint64_t)rate * ms + credit;

    if (rate == OPTIONS_NO_LIMIT)
        return CREDIT_MAX;
    return sum < CREDIT_MAX ? (uint32_t)sum : CREDIT_MAX;
}

void engine_grant(struct engine *engine, uint32_t ms)
{
    engine->ms += ms;
    if (!engine->ready)
        return;
    engine->check_credit = engine_credit(engine->check_credit, engine->options.check, ms);
    if (!engine->held)
        engine->write_credit = engine_credit(engine->write_credit, engine->options.rate, ms);
}

/* Checks up to `words` words of what is due. */
static void engine_check(struct engine *engine, uint32_t words)
{
    while (words > 0 && engine->check_credit > 0) {
        uint32_t done = workset_check(&engine->set, words);
        uint32_t cost = (done * CREDIT_PAGE + WORKSET_WORDS - 1) / WORKSET_WORDS;

        words -= done;
        if (engine->options.check != OPTIONS_NO_LIMIT)
            engine->check_credit -= cost < engine->check_credit ? cost : engine->check_credit;
    }
}

/* Writes up to `words` words of what is due. */
static void engine_write(struct engine *engine, uint32_t words)
{
    uint32_t done = workset_write(&engine->set, words, engine->write_credit / CREDIT_PAGE);

    if (engine->options.rate != OPTIONS_NO_LIMIT)
        engine->write_credit -= done * CREDIT_PAGE;
}

bool engine_step(struct engine *engine)
{
    struct workset *set = &engine->set;
    bool writing =
        engine->write_credit >= CREDIT_PAGE && !engine->held && engine->options.work.work_pages > 0;
    bool checking = engine->check_credit > 0 && set->total > 0;
    uint32_t words = engine->words;

    if (!engine->ready) {
        workset_init(set, words);
        return true;
    }
    if (writing)
        engine_write(engine, words);
    if (checking) /* a writer that is behind goes first */
        engine_check(engine, writing ? words / 4 : words);
    return writing || checking;
}

void engine_tune(struct engine *engine, uint32_t us)
{
    if (us < STEP_SHORT && engine->words < WORDS_MAX)
        engine->words *= 2;
    else if (us > STEP_LONG && engine->words > WORDS_MIN)
        engine->words /= 2;
}

static void engine_state(const struct engine *engine, const char *kind, struct beat_line *line)
{
    const char *state = engine->held ? "hold" : "run";

    beat_begin(line, kind);
    beat_number(line, "n", engine->sequence);
    beat_number(line, "t", engine->ms);
    beat_word(line, "s", engine->ready ? state : "init");
    beat_number(line, "w", engine->set.written);
    beat_number(line, "c", engine->set.rounds);
    beat_number(line, "e", engine->set.errors);
    if (engine->synced != NULL)
        beat_number(line, "d", *engine->synced);
    beat_end(line);
}

uint32_t engine_beat(struct engine *engine, struct beat_line *line)
{
    uint32_t every = engine->options.line_ms / engine->options.heartbeat_ms;

    engine->sequence++;
    if (every < 2 || engine->sequence % every == 1) {
        engine_state(engine, "HB", line);
    } else {
        line->text[0] = (char)beat_byte(engine->sequence);
        line->length = 1;
    }
    return line->length;
}

bool engine_event(struct engine *engine, struct beat_line *line)
{
    const struct workset_error *bad = &engine->set.first;

    if (!engine->ready && engine->set.init_page == engine->set.total) {
        engine->ready = true;
        beat_begin(line, "RDY");
        beat_number(line, "n", engine->sequence);
        beat_number(line, "t", engine->ms);
        beat_end(line);
        return true;
    }
    if (engine->set.errors == 0 || engine->reported)
        return false;
    engine->reported = true;
    beat_begin(line, "BAD");
    beat_hex(line, "addr", bad->address);
    beat_hex(line, "want", bad->want);
    beat_hex(line, "got", bad->got);
    beat_number(line, "page", bad->page);
    beat_number(line, "gen", bad->generation);
    beat_number(line, "n", engine->sequence);
    beat_end(line);
    return true;
}

bool engine_command(struct engine *engine, char command, struct beat_line *line)
{
    if (command == 'b')
        workset_damage(&engine->set);
    if (command == 'p')
        engine->held = true;
    if (command == 'g')
        engine->held = false;
    if (command == 'r')
        engine_state(engine, "ST", line);
    return command == 'r';
}

void engine_hello(const struct engine *engine, const char *guest, struct beat_line *line)
{
    static const char *const patterns[] = {"counter", "random", "sweep"};
    const struct options *options = &engine->options;

    beat_begin(line, "HI");
    beat_word(line, "guest", guest);
    beat_number(line, "heartbeat", options->heartbeat_ms);
    beat_number(line, "mem", options->work.work_pages);
    beat_number(line, "fill", options->work.fill_pages);
    beat_number(line, "zero", options->work.zero_pages);
    beat_number(line, "rate", options->rate);
    beat_number(line, "check", options->check);
    beat_word(line, "pattern", patterns[options->work.pattern]);
    beat_number(line, "seed", options->work.seed);
    beat_hex(line, "at", (uintptr_t)engine->set.pages);
    beat_end(line);
}

void engine_bye(const struct engine *engine, struct beat_line *line)
{
    beat_begin(line, "BYE");
    beat_number(line, "n", engine->sequence);
    beat_end(line);
}
