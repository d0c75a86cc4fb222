/* SPDX-License-Identifier: Apache-2.0 */
/* mudanza list: the VMs of this host. */
#include "cli/commands.h"
#include "cli/connect.h"
#include "cli/vm.h"

enum {
    ALL,
    NAME,
};

static const struct option_spec options[] = {
    [ALL] = {"all", NULL, NULL, "also those that are shut off", 'a'},
    [NAME] = {"name", NULL, NULL, "only their names, one a line"},
    {NULL},
};

static void print_names(const json_t *vms)
{
    size_t index;
    json_t *vm;
    json_array_foreach (vms, index, vm) {
        output_line(OUTPUT_TEXT, "%s", json_opt_string(vm, "name", "?"));
    }
}

static void print_table(const json_t *vms)
{
    CLEANUP_TEXT struct text text = {0};
    vm_table(vms, &text);
    fputs(text.data, stdout);
    vm_advise(vms);
}

static int run(const struct invocation *invocation, struct error **err)
{
    CLEANUP_JSON json_t *reply = NULL;
    json_t *parameters = json_pack("{s:b}", "all", invocation->options[ALL].given);
    json_t *vms = NULL;
    if (connect_call(invocation->socket, "List", parameters, &reply, err) < 0 ||
        json_need_array(reply, "vms", &vms, err) < 0)
        return -1;
    if (invocation->output == OUTPUT_JSON)
        output_json(output_words(reply));
    else if (invocation->options[NAME].given)
        print_names(vms);
    else
        print_table(vms);
    return COMMAND_DONE;
}

const struct command command_list = {
    .name = "list",
    .operands = "",
    .summary = "List the VMs of this host that are not shut off",
    .options = options,
    .run = run,
};
