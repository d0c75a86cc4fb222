/* SPDX-License-Identifier: Apache-2.0 */
/* mudanza shutdown: asks a guest to shut down, and waits for it if told to. */
#include "cli/shutdown.h"

#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/fd.h"
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
static int is_off(struct varlink_connection *agent, const char *vm, int cancel_fd,
                  struct error **err)
{
    CLEANUP_JSON json_t *reply = NULL;
    struct error *why = NULL;
    json_t *found = NULL;
    if (varlink_call(agent, "io.mudanza.Get", json_pack("{s:s}", "vm", vm), &reply, cancel_fd,
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

/* Lets some time pass. Returns -1 when it was cancelled meanwhile. */
static int pause_ms(int64_t ms, int cancel_fd, struct error **err)
{
    struct error *why = NULL;
    fd_wait(-1, 0, cancel_fd, clock_deadline_ns(ms), &why);
    if (why->kind != ERROR_TIMEOUT)
        return error_move(err, why);
    error_free(why);
    return 0;
}

/* The API has no event for a change of state, so this asks again and again. */
int shutdown_wait(struct varlink_connection *agent, const char *vm, int64_t seconds, int cancel_fd,
                  struct error **err)
{
    int64_t deadline_ns = clock_deadline_ns(seconds * 1000);
    for (;;) {
        int off = is_off(agent, vm, cancel_fd, err);
        if (off != 0)
            return off < 0 ? -1 : 0;
        if (clock_now_ns() >= deadline_ns) {
            error_set(err, ERROR_TIMEOUT, "%s: did not shut down within %" PRId64 " s", vm,
                      seconds);
            return error_hint(err, "its guest may not listen to ACPI: 'mudanza destroy %s' ends it",
                              vm);
        }
        if (pause_ms(ASK_EVERY_MS, cancel_fd, err) < 0)
            return -1;
    }
}

/* Asks, and waits for what comes of it. */
static int ask_and_wait(const struct invocation *invocation, json_t **reply, struct error **err)
{
    const char *vm = invocation->operands[0];
    CLEANUP_CONNECTION struct varlink_connection *agent = connect_agent(invocation->socket, err);
    if (!agent)
        return -1;
    json_t *parameters = json_pack("{s:s}", "vm", vm);
    if (!parameters)
        return error_set(err, ERROR_INVALID, "an argument is not UTF-8 text");
    if (varlink_call(agent, "io.mudanza.Shutdown", parameters, reply, -1, DEADLINE_NEVER, err) < 0)
        return -1;
    return shutdown_wait(agent, vm, invocation->options[WAIT].number, -1, err);
}

static int run(const struct invocation *invocation, struct error **err)
{
    if (!invocation->options[WAIT].given)
        return act_on_vm(invocation, "Shutdown", NULL, "was asked to shut down", err);
    CLEANUP_JSON json_t *reply = NULL;
    if (ask_and_wait(invocation, &reply, err) < 0)
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
