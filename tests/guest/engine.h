/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What both guests do between two heartbeats: initialise, then write and check the working set at
 * the rates asked for, in steps short enough to be on time for the next heartbeat. Freestanding.
 *
 * The caller has the clock and the serial port; it grants time, takes steps, and sends the lines
 * the engine makes.
 */
#ifndef ENGINE_H
#define ENGINE_H

#include "beat.h"
#include "options.h"
#include "workset.h"

struct engine {
    struct options options;
    struct workset set;
    uint32_t words; /* size of a step */
    uint32_t ms;    /* granted since the start */
    bool ready, held, reported;
    uint32_t write_credit, check_credit; /* thousandths of a page */
    uint32_t sequence;                   /* of the last heartbeat */
    const _Atomic uint32_t *synced; /* the d= of a line, or NULL; another thread may count it */
};

/* Takes a region of workset_size(&options->work) bytes. */
void engine_open(struct engine *engine, const struct options *options, void *region);

/* `ms` milliseconds have passed: what the rates allow grows. */
void engine_grant(struct engine *engine, uint32_t ms);

/* One step of what is due; false when nothing is, until more time is granted. */
bool engine_step(struct engine *engine);

/* The last step took `us` microseconds: makes the next ones as long as is good. */
void engine_tune(struct engine *engine, uint32_t us);

/* The next heartbeat. Returns its length: 1 for a beat, which is then text[0]. */
uint32_t engine_beat(struct engine *engine, struct beat_line *line);

/* A line there is reason to send now (RDY, BAD); false when there is none. */
bool engine_event(struct engine *engine, struct beat_line *line);

/*
 * A command byte of the serial port: r report, p hold the writer, g let it go on, b flip a bit.
 * Others are ignored. True when `line` is the answer.
 */
bool engine_command(struct engine *engine, char command, struct beat_line *line);

/* The lines for the start and the end. `guest` is "bare" or "linux". */
void engine_hello(const struct engine *engine, const char *guest, struct beat_line *line);
void engine_bye(const struct engine *engine, struct beat_line *line);

#endif
