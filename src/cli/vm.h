/* SPDX-License-Identifier: Apache-2.0 */
/* A VM as the agent describes it (type Vm of io.mudanza), for people. */
#ifndef CLI_VM_H
#define CLI_VM_H

#include "base/json.h"
#include "base/text.h"

/* Its state in virsh's words: "shut off", "in doubt", ... Borrowed, or from `vm`. */
const char *vm_state(const json_t *vm);

/* Appends a table with one row for each. */
void vm_table(const json_t *vms, struct text *out);

/* Says on standard error what to do about VMs in doubt. Prints nothing when there are none. */
void vm_advise(const json_t *vms);

#endif
