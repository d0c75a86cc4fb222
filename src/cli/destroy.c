/* SPDX-License-Identifier: Apache-2.0 */
/* mudanza destroy: cuts a VM's power. */
#include "cli/act.h"
#include "cli/commands.h"

static int run(const struct invocation *invocation, struct error **err)
{
    return act_on_vm(invocation, "Destroy", NULL, "destroyed", err);
}

const struct command command_destroy = {
    .name = "destroy",
    .operands = "VM",
    .summary = "End a VM at once, as if its power was cut",
    .details = "What the guest has not written to its disks is lost.\n",
    .run = run,
};
