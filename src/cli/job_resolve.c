/* SPDX-License-Identifier: Apache-2.0 */
/* mudanza job resolve: a person decides a move in doubt, and is told before what that risks. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/connect.h"
#include "cli/report.h"

enum {
    RUNS_HERE,
    RUNS_THERE,
    YES,
};

static const struct option_spec options[] = {
    [RUNS_HERE] = {"runs-here", NULL, NULL, "it runs on here; the other host will never run it",
                   .group = 'd'},
    [RUNS_THERE] = {"runs-there", NULL, NULL, "the other host has it; what is here goes",
                    .group = 'd'},
    [YES] = {"yes", NULL, NULL, "ask nothing", 'y'},
    {NULL},
};

/* The host that does not answer. Owned by the caller; NULL when the move is not in doubt. */
static char *silent_host(const struct invocation *invocation, struct error **err)
{
    const char *vm = invocation->operands[0];
    CLEANUP_JSON json_t *reply = NULL;
    if (connect_call(invocation->socket, "GetJob", json_pack("{s:s}", "vm", vm), &reply, err) < 0)
        return NULL;
    const json_t *progress = json_object_get(reply, "progress");
    if (json_opt_bool(progress, "in_doubt", false))
        return output_clean(json_opt_string(progress, "destination", "?"));
    error_set(err, ERROR_STATE, "%s: its move is not in doubt", vm);
    error_hint(err, "`mudanza job %s` shows how it stands", vm);
    return NULL;
}

static void explain(const char *vm, const char *host, bool here)
{
    fprintf(
        stderr,
        "%s stands still here: host %s had all of it when the connection was lost, and has not\n"
        "said since whether it runs there. Nothing but its answer, or yours, ends that.\n\n",
        vm, host);
    if (here)
        fprintf(
            stderr,
            "--runs-here: %s runs on here at once. If it also runs on %s, or ever starts there\n"
            "again, it runs twice, and both write to its disks. Say this only if that host is\n"
            "off, or its QEMU of this VM has ended, and it cannot come back with it.\n",
            vm, host);
    else
        fprintf(
            stderr,
            "--runs-there: what is here of %s ends. If %s does not have it, its memory is\n"
            "lost, and it can only be started anew from its disks. Say this only if you see it\n"
            "running there.\n",
            vm, host);
}

/* Whether the user types the VM's name. */
static bool confirmed(const char *vm)
{
    char line[512];
    fprintf(stderr, "\nType the name of the VM to go on: ");
    fflush(stderr);
    if (!fgets(line, sizeof(line), stdin))
        return false;
    line[strcspn(line, "\n")] = '\0';
    return strcmp(line, vm) == 0;
}

static int ask(const struct invocation *invocation, bool here, struct error **err)
{
    const char *vm = invocation->operands[0];
    CLEANUP_FREE char *host = silent_host(invocation, err);
    if (!host)
        return -1;
    CLEANUP_FREE char *name = output_clean(vm);
    explain(name, host, here);
    if (!isatty(STDIN_FILENO)) {
        error_set(err, ERROR_INVALID, "%s: nobody is there to confirm that", vm);
        return error_hint(err, "give --yes if a program has made sure of it");
    }
    return confirmed(vm) ? 0 : error_set(err, ERROR_CANCELLED, "%s: left in doubt", vm);
}

static int run(const struct invocation *invocation, struct error **err)
{
    bool here = invocation->options[RUNS_HERE].given;
    if (!here && !invocation->options[RUNS_THERE].given) {
        error_set(err, ERROR_INVALID, "say where it runs");
        error_hint(err, "--runs-here or --runs-there; `man mudanza-job` says what that risks");
        return COMMAND_USAGE;
    }
    if (!invocation->options[YES].given && ask(invocation, here, err) < 0)
        return -1;
    CLEANUP_JSON json_t *reply = NULL;
    json_t *report = NULL;
    json_t *parameters =
        json_pack("{s:s, s:b}", "vm", invocation->operands[0], "runs_here", (int)here);
    if (connect_call(invocation->socket, "ResolveJob", parameters, &reply, err) < 0 ||
        json_need_object(reply, "report", &report, err) < 0)
        return -1;
    /* The destination may have answered in the last moment: then that is what counts. */
    bool there = strcmp(json_opt_string(report, "outcome", ""), "completed") == 0;
    enum command_status status = report_status(report);
    report_print(report, invocation->output);
    if (status == COMMAND_UNKNOWN)
        return COMMAND_UNKNOWN;
    return there == here ? COMMAND_FAILED : COMMAND_DONE;
}

const struct command command_job_resolve = {
    .name = "job resolve",
    .operands = "VM",
    .summary = "Decide a move that is in doubt, in place of a host that is lost",
    .details =
        "Asks before, and says what it risks. Exit status: 0 decided, 1 not, or the other host\n"
        "answered otherwise.\n",
    .options = options,
    .run = run,
};
