/* SPDX-License-Identifier: Apache-2.0 */
/* Commands that are one call about one VM. */
#include "cli/act.h"

#include "cli/connect.h"

int act_on_vm(const struct invocation *invocation, const char *method, json_t *more,
              const char *done, struct error **err)
{
    CLEANUP_JSON json_t *parameters = more ? more : json_object();
    CLEANUP_JSON json_t *reply = NULL;
    const char *vm = invocation->operands[0];
    if (json_object_set_new(parameters, "vm", json_string(vm)) < 0)
        return error_set(err, ERROR_INVALID, "the name of the VM is not UTF-8 text");
    if (connect_call(invocation->socket, method, STEAL(parameters), &reply, err) < 0)
        return -1;
    if (invocation->output == OUTPUT_JSON)
        output_json(output_words(reply));
    else
        output_line(invocation->output, "%s: %s", vm, done);
    return COMMAND_DONE;
}
