/* SPDX-License-Identifier: Apache-2.0 */
/* mudanza start: starts a defined VM. */
#include "cli/act.h"
#include "cli/commands.h"

enum {
    PAUSED,
};

static const struct option_spec options[] = {
    [PAUSED] = {"paused", NULL, NULL, "leave its virtual CPUs stopped"},
    {NULL},
};

static int run(const struct invocation *invocation, struct error **err)
{
    bool paused = invocation->options[PAUSED].given;
    return act_on_vm(invocation, "Start", json_pack("{s:b}", "paused", paused),
                     paused ? "started, paused" : "started", err);
}

const struct command command_start = {
    .name = "start",
    .operands = "VM",
    .summary = "Start a defined VM",
    .options = options,
    .run = run,
};
