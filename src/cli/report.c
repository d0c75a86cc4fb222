/* SPDX-License-Identifier: Apache-2.0 */
/* How moves ended. */
#include "cli/report.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/table.h"
#include "cli/units.h"

/* A word of the API in one spelling, whichever the agent used. Owned by the caller. */
static char *word(const json_t *report, const char *key)
{
    char *text = text_copy(json_opt_string(report, key, "?"));
    for (char *c = text; *c; c++)
        if (*c == '_')
            *c = '-';
    return text;
}

static void add_duration(struct table *table, const json_t *report, const char *key)
{
    char buffer[UNITS_DURATION_MAX];
    table_add(table, units_duration(json_opt_int(report, key, 0), buffer));
}

static void add_size(struct table *table, const json_t *report, const char *key)
{
    char buffer[TEXT_SIZE_MAX];
    table_add(table, text_size((uint64_t)json_opt_int(report, key, 0), "", buffer));
}

static void add_count(struct table *table, const json_t *report, const char *key)
{
    char buffer[24];
    snprintf(buffer, sizeof(buffer), "%" PRId64, json_opt_int(report, key, 0));
    table_add(table, buffer);
}

static void add_row(struct table *table, const json_t *report)
{
    CLEANUP_FREE char *mode = word(report, "mode"), *outcome = word(report, "outcome");
    /* A guest that was shut off, or never left, was not down; and no RAM of it went anywhere. */
    bool ran = strcmp(mode, "offline") != 0;
    bool moved = strcmp(outcome, "completed") == 0;
    table_add(table, json_opt_string(report, "vm", "?"));
    table_add(table, mode);
    table_add(table, outcome);
    table_add(table, json_opt_string(report, "source", "?"));
    table_add(table, json_opt_string(report, "destination", "?"));
    add_duration(table, report, "total_ms");
    if (ran && moved)
        add_duration(table, report, "downtime_ms");
    else
        table_add(table, "-");
    if (ran)
        add_size(table, report, "ram_bytes");
    else
        table_add(table, "-");
    add_size(table, report, "wire_bytes");
    if (ran)
        add_count(table, report, "rounds");
    else
        table_add(table, "-");
    if (ran)
        table_add(table, json_opt_bool(report, "verified", false) ? "yes" : "no");
    else
        table_add(table, "-");
}

void report_table(const json_t *reports, struct text *out)
{
    static const char *const headings[] = {"VM",   "Mode",   "Outcome",  "From",
                                           "To",   "Time",   "Downtime", "RAM",
                                           "Wire", "Rounds", "Verified", NULL};
    CLEANUP_TABLE struct table table;
    table_start(&table, headings,
                TABLE_RIGHT(5) | TABLE_RIGHT(6) | TABLE_RIGHT(7) | TABLE_RIGHT(8) | TABLE_RIGHT(9));
    size_t index;
    json_t *report;
    json_array_foreach (reports, index, report) {
        add_row(&table, report);
    }
    table_render(&table, out);
}

/* The last codec in use. */
static const char *last_codec(const json_t *stream)
{
    const json_t *codecs = json_object_get(stream, "codecs");
    size_t n = json_array_size(codecs);
    return n ? json_opt_string(json_array_get(codecs, n - 1), "codec", "none") : "none";
}

/* What the agents needed for it, and what became of its connections. */
static void append_means(const json_t *stream, struct text *out)
{
    char here[TEXT_SIZE_MAX], there[TEXT_SIZE_MAX];
    int64_t cuts = json_opt_int(stream, "cuts", 0);
    text_append(out, "; memory: %s at the source, %s at the destination",
                text_size((uint64_t)json_opt_int(stream, "memory", 0), "", here),
                text_size((uint64_t)json_opt_int(stream, "destination_memory", 0), "", there));
    if (cuts)
        text_append(out, "; connections cut: %" PRId64 ", blocks sent again: %" PRId64, cuts,
                    json_opt_int(stream, "resent", 0));
}

void report_stream(const json_t *reports, struct text *out)
{
    size_t index;
    json_t *report;
    json_array_foreach (reports, index, report) {
        const json_t *stream = json_object_get(report, "stream");
        char in[TEXT_SIZE_MAX], sent[TEXT_SIZE_MAX];
        if (!json_is_object(stream))
            continue;
        CLEANUP_FREE char *vm = output_clean(json_opt_string(report, "vm", "?"));
        CLEANUP_FREE char *codec = output_clean(last_codec(stream));
        text_append(out, "%s: %s sent for %s (%s); pages:", vm,
                    text_size((uint64_t)json_opt_int(stream, "bytes_out", 0), "", sent),
                    text_size((uint64_t)json_opt_int(stream, "bytes_in", 0), "", in), codec);
        static const char *const kinds[] = {"zero",  "repeated",   "known",
                                            "delta", "compressed", "plain"};
        for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
            text_append(out, "%s %" PRId64 " %s", i ? "," : "", json_opt_int(stream, kinds[i], 0),
                        kinds[i]);
        append_means(stream, out);
        text_append(out, "\n");
    }
}

/* "INDENT" and the text of a member, cleaned; nothing when it is not there. */
static void append_line(struct text *out, const char *indent, const json_t *object, const char *key)
{
    const char *raw = json_opt_string(object, key, NULL);
    if (!raw)
        return;
    CLEANUP_FREE char *text = output_clean(raw);
    text_append(out, "%s%s\n", indent, text);
}

static void append_problems(const json_t *problems, struct text *out)
{
    size_t index;
    json_t *problem;
    json_array_foreach (problems, index, problem) {
        CLEANUP_FREE char *check = output_clean(json_opt_string(problem, "check", "plan"));
        CLEANUP_FREE char *message = output_clean(json_opt_string(problem, "message", "?"));
        text_append(out, "  %s: %s\n", check, message);
        append_line(out, "    ", problem, "hint");
    }
}

static void append_warnings(const json_t *report, struct text *out)
{
    CLEANUP_FREE char *vm = output_clean(json_opt_string(report, "vm", "?"));
    size_t index;
    json_t *warning;
    json_array_foreach (json_object_get(report, "warnings"), index, warning) {
        CLEANUP_FREE char *text = output_clean(json_string_value(warning));
        text_append(out, "mudanza: warning: %s: %s\n", vm, text);
    }
}

void report_reason(const json_t *report, struct text *out)
{
    append_warnings(report, out);
    CLEANUP_FREE char *outcome = word(report, "outcome");
    if (strcmp(outcome, "completed") == 0)
        return;
    const json_t *problems = json_object_get(report, "problems");
    CLEANUP_FREE char *vm = output_clean(json_opt_string(report, "vm", "?"));
    CLEANUP_FREE char *reason = output_clean(json_opt_string(report, "reason", ""));
    CLEANUP_FREE char *shown = output_clean(outcome);
    text_append(out, "mudanza: %s: move %s%s%s\n", vm, shown, *reason ? ": " : "", reason);
    append_line(out, "  ", report, "hint");
    append_problems(problems, out);
}

json_t *report_normalize(json_t *report)
{
    static const char *const optional[] = {"reason", "hint"};
    for (size_t i = 0; i < ARRAY_SIZE(optional); i++)
        if (!json_object_get(report, optional[i]))
            json_object_set_new(report, optional[i], json_null());
    if (!json_object_get(report, "stream"))
        json_object_set_new(report, "stream", json_null());
    return output_words(report);
}

enum command_status report_status(const json_t *report)
{
    CLEANUP_FREE char *outcome = word(report, "outcome");
    if (strcmp(outcome, "completed") == 0)
        return COMMAND_DONE;
    return strcmp(outcome, "in-doubt") == 0 ? COMMAND_UNKNOWN : COMMAND_FAILED;
}

void report_print(json_t *report, enum output output)
{
    CLEANUP_TEXT struct text reason = {0};
    report_reason(report, &reason);
    if (output == OUTPUT_JSON) {
        output_json(report_normalize(report));
    } else {
        CLEANUP_JSON json_t *reports = json_pack("[O]", report);
        CLEANUP_TEXT struct text text = {0};
        report_table(reports, &text);
        report_stream(reports, &text);
        fputs(text.data, stdout);
    }
    if (reason.length) {
        fflush(stdout); /* on a terminal: the table first, then why */
        fputs(reason.data, stderr);
    }
}
