/* SPDX-License-Identifier: Apache-2.0 */
/* How a move stands, as text: pure functions from a Progress of io.mudanza. */
#ifndef CLI_BAR_H
#define CLI_BAR_H

#include <stdbool.h>

#include "base/json.h"
#include "base/text.h"

/* What one line shows. */
struct bar_view {
    double percent; /* shown in place of the message's own */
    unsigned width; /* columns of the terminal; the line keeps one free, so that it never wraps */
    bool colour;
};

/*
 * Appends one line without its end: phase, bar, per cent, remaining time, rate, round, expected
 * downtime. What does not fit is left out from the right; where things stand depends on the width
 * alone, so that nothing jumps from one message to the next.
 */
void bar_render(const json_t *progress, const struct bar_view *view, struct text *line);

/* The same as a plain sentence for logs: "vm1: copy 43.2 %, 1.1 GiB/s, 3 s left, round 2". */
void bar_sentence(const json_t *progress, double percent, struct text *line);

#endif
