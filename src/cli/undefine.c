/* SPDX-License-Identifier: Apache-2.0 */
/* mudanza undefine: removes a definition. */
#include "cli/act.h"
#include "cli/commands.h"

static int run(const struct invocation *invocation, struct error **err)
{
    return act_on_vm(invocation, "Undefine", NULL, "undefined", err);
}

const struct command command_undefine = {
    .name = "undefine",
    .operands = "VM",
    .summary = "Forget the definition of a VM",
    .details = "Its disks stay. A running VM goes on, and is gone once it shuts down.\n",
    .run = run,
};
