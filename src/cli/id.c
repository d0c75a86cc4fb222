/* SPDX-License-Identifier: Apache-2.0 */
/* mudanza id: who this host is to its peers. */
#include <inttypes.h>

#include "base/text.h"
#include "cli/commands.h"
#include "cli/connect.h"

enum {
    ALL,
};

static const struct option_spec options[] = {
    [ALL] = {"all", NULL, NULL, "also name, version, address, QEMU, kept RAM", 'a'},
    {NULL},
};

/* What the agent keeps of VMs that left. */
static void print_kept(const json_t *list)
{
    size_t i;
    const json_t *kept;
    json_array_foreach (list, i, kept) {
        char size[TEXT_SIZE_MAX];
        output_line(OUTPUT_TEXT, "Kept RAM     %s of %s, which left %" PRId64 " s ago",
                    text_size((uint64_t)json_opt_int(kept, "bytes", 0), "", size),
                    json_opt_string(kept, "vm", "?"), json_opt_int(kept, "age_ms", 0) / 1000);
    }
}

static void print_all(const json_t *agent)
{
    output_line(OUTPUT_TEXT, "Name         %s", json_opt_string(agent, "name", "?"));
    output_line(OUTPUT_TEXT, "Fingerprint  %s", json_opt_string(agent, "fingerprint", "?"));
    output_line(OUTPUT_TEXT, "Listens on   %s",
                json_opt_string(agent, "listen", "nothing: no VM can arrive here"));
    output_line(OUTPUT_TEXT, "Version      %s", json_opt_string(agent, "version", "?"));
    output_line(OUTPUT_TEXT, "Protocol     %" PRId64, json_opt_int(agent, "protocol", 0));
    output_line(OUTPUT_TEXT, "QEMU         %s (%s)", json_opt_string(agent, "emulator", "?"),
                json_opt_string(agent, "emulator_version", "does not start"));
    print_kept(json_object_get(agent, "kept_ram"));
}

static int run(const struct invocation *invocation, struct error **err)
{
    CLEANUP_JSON json_t *reply = NULL;
    const char *fingerprint = NULL;
    if (connect_call(invocation->socket, "GetAgent", json_object(), &reply, err) < 0 ||
        json_need_string(reply, "fingerprint", &fingerprint, err) < 0)
        return -1;
    if (invocation->output == OUTPUT_JSON)
        output_json(reply);
    else if (invocation->options[ALL].given)
        print_all(reply);
    else
        output_line(invocation->output, "%s", fingerprint);
    return COMMAND_DONE;
}

const struct command command_id = {
    .name = "id",
    .operands = "",
    .summary = "Print the fingerprint by which other hosts know this one",
    .details = "On the other host: mudanza host add NAME ADDRESS FINGERPRINT.\n",
    .options = options,
    .run = run,
};
