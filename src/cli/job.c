/* SPDX-License-Identifier: Apache-2.0 */
/* mudanza job: how a VM's move stands, or how its last one ended. */
#include <stdio.h>

#include "cli/bar.h"
#include "cli/commands.h"
#include "cli/connect.h"
#include "cli/follow.h"
#include "cli/report.h"

enum {
    WATCH,
    QUIET,
};

static const struct option_spec options[] = {
    [WATCH] = {"watch", NULL, NULL, "follow the move to its end", 'w'},
    [QUIET] = {"quiet", NULL, NULL, "with --watch: no progress", 'q'},
    {NULL},
};

static int no_job(const char *vm, struct error **err)
{
    error_set(err, ERROR_NOT_FOUND, "%s: no move of it is known here", vm);
    return error_hint(err, "moves are kept by the host they start from");
}

static int show(const struct invocation *invocation, struct error **err)
{
    const char *vm = invocation->operands[0];
    CLEANUP_JSON json_t *reply = NULL;
    if (connect_call(invocation->socket, "GetJob", json_pack("{s:s}", "vm", vm), &reply, err) < 0)
        return -1;
    json_t *progress = json_object_get(reply, "progress");
    json_t *report = json_object_get(reply, "report");
    if (!json_is_object(progress) && !json_is_object(report))
        return no_job(vm, err);
    if (invocation->output == OUTPUT_JSON) {
        output_json(output_words(reply));
    } else if (json_is_object(report)) {
        report_print(report, OUTPUT_TEXT);
    } else {
        CLEANUP_TEXT struct text line = {0};
        bar_sentence(progress, json_number_value(json_object_get(progress, "percent")), &line);
        puts(line.data);
        if (json_object_get(progress, "note"))
            output_line(OUTPUT_TEXT, "%s", json_opt_string(progress, "note", ""));
    }
    return COMMAND_DONE;
}

static int watch(const struct invocation *invocation, struct error **err)
{
    const char *vm = invocation->operands[0];
    CLEANUP_CONNECTION struct varlink_connection *connection =
        connect_agent(invocation->socket, err);
    if (!connection)
        return -1;
    CLEANUP_PROGRESS struct progress *progress =
        progress_new(invocation->options[QUIET].given ? PROGRESS_QUIET : PROGRESS_AUTO);
    const struct follow follow = {
        .connection = connection,
        .socket = invocation->socket,
        .vm = vm,
        .progress = progress,
    };
    CLEANUP_JSON json_t *report = NULL;
    enum follow_end end =
        follow_run(&follow, "io.mudanza.GetJob", json_pack("{s:s}", "vm", vm), &report, err);
    progress_free(STEAL(progress));
    if (end != FOLLOW_REPORT)
        return end == FOLLOW_UNKNOWN ? COMMAND_UNKNOWN : COMMAND_FAILED;
    if (!report)
        return no_job(vm, err);
    if (invocation->output == OUTPUT_JSON) {
        CLEANUP_JSON json_t *outer = json_pack("{s:O}", "report", report_normalize(report));
        output_json(outer);
    } else {
        report_print(report, OUTPUT_TEXT);
    }
    return (int)report_status(report);
}

static int run(const struct invocation *invocation, struct error **err)
{
    return invocation->options[WATCH].given ? watch(invocation, err) : show(invocation, err);
}

const struct command command_job = {
    .name = "job",
    .operands = "VM",
    .summary = "Print how the move of a VM stands, or how its last one ended",
    .details = "With --watch the exit status is that of the move, as with migrate; leaving with\n"
               "Ctrl-C does not touch it.\n",
    .options = options,
    .run = run,
};
