/* SPDX-License-Identifier: Apache-2.0 */
/* mudanza define: defines a VM from domain XML. */
#include "cli/commands.h"
#include "cli/connect.h"
#include "cli/input.h"

static int run(const struct invocation *invocation, struct error **err)
{
    CLEANUP_FREE char *xml = input_read(invocation->operands[0], err);
    if (!xml)
        return -1;
    CLEANUP_JSON json_t *reply = NULL;
    json_t *vm = NULL, *warning;
    if (connect_call(invocation->socket, "Define", json_pack("{s:s}", "xml", xml), &reply, err) <
            0 ||
        json_need_object(reply, "vm", &vm, err) < 0)
        return -1;
    size_t index;
    json_array_foreach (json_object_get(reply, "warnings"), index, warning)
        if (json_is_string(warning))
            output_warning(json_string_value(warning));
    if (invocation->output == OUTPUT_JSON)
        output_json(output_words(reply));
    else
        output_line(invocation->output, "%s: defined", json_opt_string(vm, "name", "?"));
    return COMMAND_DONE;
}

const struct command command_define = {
    .name = "define",
    .operands = "FILE",
    .summary = "Define a VM from domain XML, or change its definition",
    .details = "FILE may be - for standard input. A running VM keeps its present configuration\n"
               "until it is started again.\n",
    .run = run,
};
