/* SPDX-License-Identifier: Apache-2.0 */
/* mudanza migrate: moves a VM to another host. */
#include "cli/migrate.h"

#include "cli/commands.h"
#include "cli/connect.h"
#include "cli/input.h"
#include "cli/report.h"

enum {
    LIVE,
    NON_LIVE,
    OFFLINE,
    PERSISTENT,
    UNDEFINE_SOURCE,
    NAME,
    XML,
    BANDWIDTH,
    DOWNTIME,
    TIMEOUT,
    AUTO_CONVERGE,
    POST_COPY,
    VERIFY,
    COMPRESS,
    STREAM_MEMORY,
    CONNECTIONS,
    CHANNELS,
    QUIET,
};

static const struct option_spec options[] = {
    [LIVE] = {"live", NULL, NULL, "the guest runs on meanwhile (default if it runs)", 0, 'm'},
    [NON_LIVE] = {"non-live", NULL, NULL, "stop the guest first, let it run on there", 0, 'm'},
    [OFFLINE] = {"offline", NULL, NULL, "it is shut off: move its definition", 0, 'm'},
    [PERSISTENT] = {"persistent", NULL, NULL, "define it at the destination"},
    [UNDEFINE_SOURCE] = {"undefine-source", NULL, NULL, "remove its definition here"},
    [NAME] = {"name", "NEW", option_check_name, "its name at the destination"},
    [XML] = {"xml", "FILE", option_check_name, "its configuration at the destination"},
    [BANDWIDTH] = {"bandwidth", "RATE", option_check_rate, "at most RATE MiB/s (or 10Gbit/s)"},
    [DOWNTIME] = {"downtime", "MS", option_check_downtime, "aim at less downtime than this"},
    [TIMEOUT] = {"timeout", "SECONDS", option_check_seconds, "stop the guest if it takes longer"},
    [AUTO_CONVERGE] = {"auto-converge", NULL, NULL, "slow the guest down if it must be"},
    [POST_COPY] = {"post-copy", NULL, NULL, "start there first, fetch the rest of RAM after"},
    [VERIFY] = {"verify", NULL, NULL, "compare all RAM before it runs there"},
    [COMPRESS] = {"compress", "HOW", option_check_compress, "auto (default), zstd, lz4 or none"},
    [STREAM_MEMORY] = {"stream-memory", "SIZE", option_check_memory,
                       "MiB for the stream at each end (default 768)"},
    [CONNECTIONS] = {"connections", "N", option_check_parallel,
                     "TCP connections for the stream (default: by CPUs)"},
    [CHANNELS] = {"channels", "N", option_check_parallel,
                  "threads that send RAM in QEMU (multifd)"},
    [QUIET] = {"quiet", NULL, NULL, "no progress", 'q'},
    {NULL},
};

/* Options whose API member is a flag, and those whose value goes there as a number. */
static const struct {
    int option;
    const char *member;
} flags[] =
    {
        {PERSISTENT, "persistent"},
        {UNDEFINE_SOURCE, "undefine_source"},
        {AUTO_CONVERGE, "auto_converge"},
        {POST_COPY, "post_copy"},
        {VERIFY, "verify"},
},
  numbers[] = {
      {BANDWIDTH, "bandwidth"},         {DOWNTIME, "downtime_ms"},    {TIMEOUT, "timeout_s"},
      {STREAM_MEMORY, "stream_memory"}, {CONNECTIONS, "connections"}, {CHANNELS, "channels"},
};

/* The mode that was asked for, in the API's spelling; NULL leaves it to the agent. */
static const char *mode(const struct option_value *given)
{
    if (given[LIVE].given)
        return "live";
    if (given[NON_LIVE].given)
        return "non_live";
    return given[OFFLINE].given ? "offline" : NULL;
}

/* MigrateOptions of the command line, owned by the caller. NULL on error. */
static json_t *api_options(const struct option_value *given, struct error **err)
{
    CLEANUP_FREE char *xml = NULL;
    if (given[XML].given && !(xml = input_read(given[XML].text, err)))
        return NULL;
    json_t *object = json_pack("{s:s*, s:s*, s:s*, s:s*}", "mode", mode(given), "new_name",
                               given[NAME].text, "xml", xml, "compress", given[COMPRESS].text);
    if (!object) {
        error_set(err, ERROR_INVALID, "option '--name': is not UTF-8 text");
        return NULL;
    }
    for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
        if (given[flags[i].option].given)
            json_object_set_new(object, flags[i].member, json_true());
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
        if (given[numbers[i].option].given)
            json_object_set_new(object, numbers[i].member,
                                json_integer(given[numbers[i].option].number));
    return object;
}

enum follow_end migrate_run(struct varlink_connection *connection,
                            const struct migrate_request *request, json_t **report,
                            struct error **err)
{
    CLEANUP_PROGRESS struct progress *progress = progress_new(request->style);
    const struct follow follow = {
        .connection = connection,
        .socket = request->socket,
        .vm = request->vm,
        .abort_on_interrupt = true,
        .progress = progress,
    };
    json_t *parameters = json_pack("{s:s, s:s, s:O}", "vm", request->vm, "host", request->host,
                                   "options", request->options);
    enum follow_end end = follow_run(&follow, "io.mudanza.Migrate", parameters, report, err);
    if (end == FOLLOW_REPORT && !*report) {
        error_set(err, ERROR_PEER, "%s: the agent ended the move without a report", request->vm);
        end = FOLLOW_UNKNOWN;
    }
    return end;
}

static int run(const struct invocation *invocation, struct error **err)
{
    CLEANUP_JSON json_t *api = api_options(invocation->options, err);
    if (!api)
        return -1;
    CLEANUP_CONNECTION struct varlink_connection *connection =
        connect_agent(invocation->socket, err);
    if (!connection)
        return -1;
    const struct migrate_request request = {
        .socket = invocation->socket,
        .vm = invocation->operands[0],
        .host = invocation->operands[1],
        .options = api,
        .style = invocation->options[QUIET].given ? PROGRESS_QUIET : PROGRESS_AUTO,
    };
    CLEANUP_JSON json_t *report = NULL;
    enum follow_end end = migrate_run(connection, &request, &report, err);
    if (end != FOLLOW_REPORT)
        return end == FOLLOW_UNKNOWN ? COMMAND_UNKNOWN : COMMAND_FAILED;
    report_print(report, invocation->output);
    return (int)report_status(report);
}

const struct command command_migrate = {
    .name = "migrate",
    .operands = "VM HOST",
    .summary = "Move a VM to another host",
    .details = "Without --persistent it is gone from there once it shuts down; without\n"
               "--undefine-source it stays defined here. Ctrl-C aborts the move; a second one\n"
               "leaves it to itself. Exit status: 0 moved, 1 not moved, 3 not known (in doubt).\n",
    .options = options,
    .run = run,
};
