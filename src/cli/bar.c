/* SPDX-License-Identifier: Apache-2.0 */
/* How a move stands, as a bar and as a sentence. */
#include "cli/bar.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/output.h"
#include "cli/table.h"

#define GAP           2 /* spaces between two fields */
#define PERCENT_WIDTH 7 /* "100.0 %" */
#define BAR_LEAST     9 /* with its brackets */
#define BAR_MOST      42

#define GREEN "\033[32m"
#define PLAIN "\033[0m"

/* A field's text for a message; empty when the message does not say. */
typedef void field_text(const json_t *progress, struct text *text);

static void phase_text(const json_t *progress, struct text *text)
{
    CLEANUP_FREE char *phase = output_clean(json_opt_string(progress, "phase", ""));
    text_append(text, "%s", phase);
}

/* Coarse on purpose: it is an estimate, and short. */
static void remaining_text(const json_t *progress, struct text *text)
{
    int64_t ms = json_opt_int(progress, "remaining_ms", -1);
    if (ms < 0)
        return;
    int64_t s = ms / 1000 + (ms % 1000 != 0);
    if (s < 100)
        text_append(text, "%" PRId64 " s left", s);
    else if (s < 6000)
        text_append(text, "%" PRId64 " min left", s / 60);
    else
        text_append(text, "%" PRId64 " h left", s / 3600);
}

static void rate_text(const json_t *progress, struct text *text)
{
    char size[TEXT_SIZE_MAX];
    int64_t rate = json_opt_int(progress, "rate", 0);
    if (rate > 0)
        text_append(text, "%s", text_size((uint64_t)rate, "/s", size));
}

static void round_text(const json_t *progress, struct text *text)
{
    int64_t round = json_opt_int(progress, "round", 0);
    if (round > 0)
        text_append(text, "round %" PRId64, round);
}

static void downtime_text(const json_t *progress, struct text *text)
{
    int64_t ms = json_opt_int(progress, "downtime_estimate_ms", -1);
    if (ms >= 0 && ms < 1000)
        text_append(text, "down ~%" PRId64 " ms", ms);
    else if (ms >= 0)
        text_append(text, "down ~%.1f s", (double)ms / 1000);
}

/* After the bar and the per cent, in the order in which they are given room: all fit in 80. */
static const struct {
    unsigned width;
    field_text *text;
} fields[] = {
    {11, remaining_text},
    {12, rate_text},
    {8, round_text},
    {12, downtime_text},
};

#define PHASE_WIDTH 8 /* "handover" */

/* Appends a text padded or cut to its field; fields hold ASCII. */
static void append_field(struct text *line, field_text *function, const json_t *progress,
                         unsigned width)
{
    CLEANUP_TEXT struct text text = {0};
    function(progress, &text);
    text_append(line, "%-*.*s", (int)width, (int)width, text.data ? text.data : "");
}

static void append_bar(struct text *line, const struct bar_view *view, unsigned width)
{
    unsigned inside = width - 2;
    unsigned full = (unsigned)(view->percent / 100 * inside);
    text_append(line, "[%s", view->colour ? GREEN : "");
    for (unsigned i = 0; i < inside; i++)
        text_append_bytes(line, i < full ? "#" : "-", 1);
    text_append(line, "%s]", view->colour ? PLAIN : "");
}

static void trim_right(struct text *line)
{
    while (line->length && line->data[line->length - 1] == ' ')
        line->data[--line->length] = '\0';
}

/* What finds room in a line of so many columns. */
struct layout {
    bool percent, phase;
    unsigned bar; /* 0: none */
    size_t fields;
};

/* Takes `width` columns of *room, if there are so many. */
static bool take(unsigned *room, unsigned width)
{
    if (width > *room)
        return false;
    *room -= width;
    return true;
}

static struct layout lay_out(unsigned room)
{
    struct layout layout = {0};
    layout.percent = take(&room, PERCENT_WIDTH);
    layout.phase = layout.percent && take(&room, PHASE_WIDTH + GAP);
    if (!layout.phase || !take(&room, BAR_LEAST + GAP))
        return layout;
    while (layout.fields < ARRAY_SIZE(fields) && take(&room, fields[layout.fields].width + GAP))
        layout.fields++;
    layout.bar = BAR_LEAST + room < BAR_MOST ? BAR_LEAST + room : BAR_MOST;
    return layout;
}

void bar_render(const json_t *progress, const struct bar_view *view, struct text *line)
{
    struct layout layout = lay_out(view->width ? view->width - 1 : 0);
    if (layout.phase) {
        append_field(line, phase_text, progress, PHASE_WIDTH);
        text_append(line, "%*s", GAP, "");
    }
    if (layout.bar) {
        append_bar(line, view, layout.bar);
        text_append(line, "%*s", GAP, "");
    }
    if (layout.percent)
        text_append(line, "%5.1f %%", view->percent);
    for (size_t i = 0; i < layout.fields; i++) {
        text_append(line, "%*s", GAP, "");
        append_field(line, fields[i].text, progress, fields[i].width);
    }
    trim_right(line);
}

void bar_sentence(const json_t *progress, double percent, struct text *line)
{
    static field_text *const parts[] = {rate_text, remaining_text, round_text, downtime_text};
    CLEANUP_FREE char *vm = output_clean(json_opt_string(progress, "vm", "?"));
    CLEANUP_FREE char *phase = output_clean(json_opt_string(progress, "phase", "?"));
    text_append(line, "%s: %s %.1f %%", vm, phase, percent);
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        CLEANUP_TEXT struct text part = {0};
        parts[i](progress, &part);
        if (part.length)
            text_append(line, ", %s", part.data);
    }
}
