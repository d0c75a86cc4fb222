/* SPDX-License-Identifier: Apache-2.0 */
/* mudanza shutdown: asks a guest to shut down, and waits for it if told to. */
#include <inttypes.h>
#include <poll.h>
#include <string.h>

#include "base/clock.h"
#include "cli/act.h"
#include "cli/commands.h"
#include "cli/connect.h"
#include "cli/vm.h"

#define ASK_EVERY_MS 200

enum {
    WAIT,
};

static const struct option_spec options[] = {
    [WAIT] = {"wait", "SECONDS", option_check_seconds, "wait until it is shut off, so long"},
    {NULL},
};

/* Is it shut off? A transient VM is gone then. Returns 1, 0, or -1 on error. */
static int is_off(struct varlink_connection *agent, const char *vm, struct error **err)
{
    CLEANUP_JSON json_t *reply = NULL;
    struct error *why = NULL;
    json_t *found = NULL;
    if (varlink_call(agent, "io.mudanza.Get", json_pack("{s:s}", "vm", vm), &reply, -1,
                     DEADLINE_NEVER, &why) < 0) {
        if (why->kind != ERROR_NOT_FOUND)
            return error_move(err, why);
        error_free(why);
        return 1;
    }
    if (json_need_object(reply, "vm", &found, err) < 0)
        return -1;
    return strcmp(vm_state(found), "shut off") == 0;
}

/* The API has no event for a change of state, so this asks again and again. */
static int wait_until_off(const struct invocation *invocation, struct error **err)
{
    const char *vm = invocation->operands[0];
    int64_t seconds = invocation->options[WAIT].number;
    int64_t deadline_ns = clock_deadline_ns(seconds * 1000);
    CLEANUP_CONNECTION struct varlink_connection *agent = connect_agent(invocation->socket, err);
    if (!agent)
        return -1;
    for (;;) {
        int off = is_off(agent, vm, err);
        if (off != 0)
            return off < 0 ? -1 : 0;
        if (clock_now_ns() >= deadline_ns) {
            error_set(err, ERROR_TIMEOUT, "%s: did not shut down within %" PRId64 " s", vm,
                      seconds);
            return error_hint(err, "its guest may not listen to ACPI: 'mudanza destroy %s' ends it",
                              vm);
        }
        poll(NULL, 0, ASK_EVERY_MS);
    }
}

static int run(const struct invocation *invocation, struct error **err)
{
    if (!invocation->options[WAIT].given)
        return act_on_vm(invocation, "Shutdown", NULL, "was asked to shut down", err);
    json_t *parameters = json_pack("{s:s}", "vm", invocation->operands[0]);
    CLEANUP_JSON json_t *reply = NULL;
    if (connect_call(invocation->socket, "Shutdown", parameters, &reply, err) < 0 ||
        wait_until_off(invocation, err) < 0)
        return -1;
    if (invocation->output == OUTPUT_JSON)
        output_json(reply);
    output_line(invocation->output, "%s: shut off", invocation->operands[0]);
    return COMMAND_DONE;
}

const struct command command_shutdown = {
    .name = "shutdown",
    .operands = "VM",
    .summary = "Ask the guest to shut down",
    .details = "Without --wait it is done once the guest was asked, as by its power button.\n",
    .options = options,
    .run = run,
};
