/* SPDX-License-Identifier: Apache-2.0 */
/* A VM as the agent describes it, for people. */
#include "cli/vm.h"

#include <inttypes.h>
#include <string.h>

#include "cli/output.h"
#include "cli/table.h"

const char *vm_state(const json_t *vm)
{
    const char *state = json_opt_string(vm, "state", "unknown");
    if (strcmp(state, "shut_off") == 0)
        return "shut off";
    if (strcmp(state, "in_doubt") == 0)
        return "in doubt";
    return state;
}

static void add_row(struct table *table, const json_t *vm)
{
    char memory[TEXT_SIZE_MAX], vcpus[24];
    snprintf(vcpus, sizeof(vcpus), "%" PRId64, json_opt_int(vm, "vcpus", 0));
    table_add(table, json_opt_string(vm, "name", "?"));
    table_add(table, vm_state(vm));
    table_add(table, json_opt_bool(vm, "persistent", false) ? "yes" : "no");
    table_add(table, text_size((uint64_t)json_opt_int(vm, "memory", 0), "", memory));
    table_add(table, vcpus);
    table_add(table, json_opt_string(vm, "accelerator", "?"));
    table_add(table, json_opt_string(vm, "job", "-"));
}

void vm_table(const json_t *vms, struct text *out)
{
    static const char *const headings[] = {"Name",  "State", "Persistent", "Memory",
                                           "vCPUs", "Accel", "Job",        NULL};
    CLEANUP_TABLE struct table table;
    table_start(&table, headings, TABLE_RIGHT(3) | TABLE_RIGHT(4));
    size_t index;
    json_t *vm;
    json_array_foreach (vms, index, vm) {
        add_row(&table, vm);
    }
    table_render(&table, out);
}

void vm_advise(const json_t *vms)
{
    size_t index;
    json_t *vm;
    json_array_foreach (vms, index, vm) {
        if (strcmp(vm_state(vm), "in doubt") != 0)
            continue;
        CLEANUP_FREE char *name = output_clean(json_opt_string(vm, "name", "?"));
        fprintf(stderr,
                "mudanza: warning: %s is in doubt: its move was cut off when either host could "
                "have it\n"
                "  it stays stopped here until the other host answers; 'mudanza job %s' says more\n"
                "  if that host is lost: 'man mudanza-job', A move in doubt\n",
                name, name);
    }
}
