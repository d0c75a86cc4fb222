/* SPDX-License-Identifier: Apache-2.0 */
/* mudanza resume: ends a pause. */
#include "cli/act.h"
#include "cli/commands.h"

static int run(const struct invocation *invocation, struct error **err)
{
    return act_on_vm(invocation, "Resume", NULL, "resumed", err);
}

const struct command command_resume = {
    .name = "resume",
    .operands = "VM",
    .summary = "Let a suspended VM run on",
    .run = run,
};
