/* SPDX-License-Identifier: Apache-2.0 */
/* mudanza abort: ends a move; the VM runs on where it was. */
#include <string.h>

#include "cli/commands.h"
#include "cli/connect.h"
#include "cli/report.h"

static int run(const struct invocation *invocation, struct error **err)
{
    json_t *parameters = json_pack("{s:s}", "vm", invocation->operands[0]);
    CLEANUP_JSON json_t *reply = NULL;
    json_t *report = NULL;
    if (connect_call(invocation->socket, "AbortJob", parameters, &reply, err) < 0 ||
        json_need_object(reply, "report", &report, err) < 0)
        return -1;
    bool aborted = strcmp(json_opt_string(report, "outcome", ""), "aborted") == 0;
    int status = report_status(report) == COMMAND_UNKNOWN ? COMMAND_UNKNOWN : COMMAND_FAILED;
    report_print(report, invocation->output);
    return aborted ? COMMAND_DONE : status;
}

const struct command command_abort = {
    .name = "abort",
    .operands = "VM",
    .summary = "Abort the move of a VM, so that it stays here",
    .details = "Prints the report of the move. Exit status: 0 aborted, 1 it had ended otherwise,\n"
               "3 in doubt.\n",
    .run = run,
};
