/* SPDX-License-Identifier: Apache-2.0 */
/* mudanza dumpxml: a VM's domain XML. */
#include <stdio.h>

#include "cli/commands.h"
#include "cli/connect.h"

enum {
    INACTIVE,
};

static const struct option_spec options[] = {
    [INACTIVE] = {"inactive", NULL, NULL, "its definition, not what runs now"},
    {NULL},
};

static int run(const struct invocation *invocation, struct error **err)
{
    CLEANUP_JSON json_t *reply = NULL;
    json_t *parameters = json_pack("{s:s, s:b}", "vm", invocation->operands[0], "inactive",
                                   invocation->options[INACTIVE].given);
    const char *xml = NULL;
    if (connect_call(invocation->socket, "DumpXml", parameters, &reply, err) < 0 ||
        json_need_string(reply, "xml", &xml, err) < 0)
        return -1;
    if (invocation->output == OUTPUT_JSON)
        output_json(reply);
    else
        fputs(xml, stdout); /* as it is: it may be read back by define */
    return COMMAND_DONE;
}

const struct command command_dumpxml = {
    .name = "dumpxml",
    .operands = "VM",
    .summary = "Print the domain XML of a VM",
    .options = options,
    .run = run,
};
