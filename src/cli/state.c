/* SPDX-License-Identifier: Apache-2.0 */
/* mudanza state: what a VM does right now. */
#include "cli/commands.h"
#include "cli/connect.h"
#include "cli/vm.h"

static int run(const struct invocation *invocation, struct error **err)
{
    CLEANUP_JSON json_t *reply = NULL;
    json_t *parameters = json_pack("{s:s}", "vm", invocation->operands[0]);
    json_t *vm = NULL;
    if (connect_call(invocation->socket, "Get", parameters, &reply, err) < 0 ||
        json_need_object(reply, "vm", &vm, err) < 0)
        return -1;
    if (invocation->output == OUTPUT_JSON)
        output_json(output_words(reply));
    else
        output_line(invocation->output, "%s", vm_state(vm));
    return COMMAND_DONE;
}

const struct command command_state = {
    .name = "state",
    .operands = "VM",
    .summary = "Print the state of a VM",
    .details = "One of: running, paused, shut off, incoming (it is arriving here),\n"
               "in doubt (its move was cut off when either host could have it).\n",
    .run = run,
};
