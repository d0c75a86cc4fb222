/* SPDX-License-Identifier: Apache-2.0 */
/* What vm.c, launch.c and registry.c share. */
#ifndef VM_VM_PRIVATE_H
#define VM_VM_PRIVATE_H

#include "vm/vm.h"

#define VM_MONITOR_DEADLINE_MS 30000

/* Starts QEMU for `live` (borrowed) and connects its monitor. */
int vm_launch(struct vm *vm, const struct domain *live, bool incoming, int cancel_fd,
              struct error **err);
/* Connects to the monitor of a QEMU that runs already. */
int vm_connect_monitor(struct vm *vm, int cancel_fd, int64_t deadline_ns, struct error **err);
char *vm_run_directory(const struct vm_host *host, const char *uuid);
/* After QEMU ended: closes the monitor, forgets the process, drops a transient VM. The caller holds
 * the operation lock or the claim. */
void vm_ended(struct vm *vm);
/* A reparsed copy. */
struct domain *vm_copy_domain(const struct domain *domain, struct error **err);

/* Registry. Both need host->lock held. */
struct vm *vm_lookup(struct vm_host *host, const char *name, const char *uuid);
struct vm *vm_add(struct vm_host *host, const char *name, const char *uuid);
/* Takes a VM without definition and process out of the list. */
void vm_forget_if_empty(struct vm *vm);

#endif
