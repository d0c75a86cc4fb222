/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows on standard error how a move stands: one line drawn again and again on a terminal, plain
 * lines elsewhere (one for each change of phase, else at most one a second). The cursor stays
 * visible and every drawing begins at column one, so that a killed program leaves a usable
 * terminal.
 */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include "base/cleanup.h"
#include "base/json.h"

enum progress_style {
    PROGRESS_AUTO,  /* a bar on a terminal, else lines */
    PROGRESS_LINES, /* always lines */
    PROGRESS_QUIET, /* only notes */
};

struct progress;

/* Never NULL. */
struct progress *progress_new(enum progress_style style);
/* Takes the bar away and frees. */
void progress_free(struct progress *progress);

/* Shows one Progress of io.mudanza. The per cent never go back, whatever the agent says. */
void progress_show(struct progress *progress, const json_t *message);

/* One line of its own, above the bar. */
void progress_note(struct progress *progress, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static inline void cleanup_progress_function(struct progress **progress)
{
    progress_free(*progress);
}
#define CLEANUP_PROGRESS CLEANUP(cleanup_progress_function)

#endif
