/* SPDX-License-Identifier: Apache-2.0 */
/* mudanza suspend: pauses a VM. */
#include "cli/act.h"
#include "cli/commands.h"

static int run(const struct invocation *invocation, struct error **err)
{
    return act_on_vm(invocation, "Suspend", NULL, "suspended", err);
}

const struct command command_suspend = {
    .name = "suspend",
    .operands = "VM",
    .summary = "Stop the virtual CPUs of a running VM",
    .run = run,
};
