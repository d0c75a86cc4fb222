/* SPDX-License-Identifier: Apache-2.0 */
/* Shows on standard error how a move stands. */
#include "cli/progress.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/clock.h"
#include "base/text.h"
#include "cli/bar.h"
#include "cli/output.h"

#define WIDTH_DEFAULT 80
#define ERASE_LINE    "\r\033[K"

struct progress {
    bool quiet, bar, colour;
    bool drawn;          /* a bar stands on the cursor's line */
    double percent;      /* the highest so far */
    char *phase;         /* of the last line; owned */
    char *note;          /* the last one shown; owned */
    int64_t line_due_ns; /* no line of the same phase before this */
};

struct progress *progress_new(enum progress_style style)
{
    struct progress *progress = calloc(1, sizeof(*progress));
    if (!progress)
        abort();
    const char *terminal = getenv("TERM"), *no_colour = getenv("NO_COLOR");
    progress->quiet = style == PROGRESS_QUIET;
    progress->bar = style == PROGRESS_AUTO && isatty(STDERR_FILENO) && terminal &&
                    strcmp(terminal, "dumb") != 0;
    progress->colour = !no_colour || !*no_colour;
    return progress;
}

static void erase(struct progress *progress)
{
    if (progress->drawn)
        fputs(ERASE_LINE, stderr);
    progress->drawn = false;
}

void progress_free(struct progress *progress)
{
    if (!progress)
        return;
    erase(progress);
    free(progress->phase);
    free(progress->note);
    free(progress);
}

static unsigned terminal_width(void)
{
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0)
        return WIDTH_DEFAULT;
    return size.ws_col;
}

/* In one write, so that the terminal never shows half a line. */
static void draw_bar(struct progress *progress, const json_t *message)
{
    struct bar_view view = {progress->percent, terminal_width(), progress->colour};
    CLEANUP_TEXT struct text line = {0};
    text_append(&line, ERASE_LINE);
    bar_render(message, &view, &line);
    fputs(line.data, stderr);
    progress->drawn = true;
}

static void print_line(struct progress *progress, const json_t *message, bool new_phase)
{
    if (!new_phase && clock_now_ns() < progress->line_due_ns)
        return;
    CLEANUP_TEXT struct text line = {0};
    bar_sentence(message, progress->percent, &line);
    fprintf(stderr, "%s\n", line.data);
    progress->line_due_ns = clock_deadline_ns(1000);
}

/* Keeps a copy of `text` in *kept. Returns true when it differs from what was there. */
static bool changes(char **kept, const char *text)
{
    if (text_equal(*kept, text))
        return false;
    free(*kept);
    *kept = text_copy(text);
    return true;
}

static void keep_percent(struct progress *progress, const json_t *message)
{
    double percent = json_number_value(json_object_get(message, "percent"));
    if (isfinite(percent) && percent > progress->percent)
        progress->percent = percent < 100 ? percent : 100;
}

void progress_show(struct progress *progress, const json_t *message)
{
    if (progress->quiet)
        return;
    keep_percent(progress, message);
    bool new_phase = changes(&progress->phase, json_opt_string(message, "phase", ""));
    const char *note = json_opt_string(message, "note", NULL);
    if (changes(&progress->note, note) && note)
        progress_note(progress, "%s: %s", json_opt_string(message, "vm", "?"), note);
    if (progress->bar)
        draw_bar(progress, message);
    else
        print_line(progress, message, new_phase);
}

void progress_note(struct progress *progress, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    CLEANUP_FREE char *raw = NULL;
    int length = vasprintf(&raw, format, args);
    va_end(args);
    if (length < 0)
        raw = NULL;
    CLEANUP_FREE char *text = output_clean(raw ? raw : "out of memory");
    erase(progress);
    fprintf(stderr, "%s\n", text);
}
