/* SPDX-License-Identifier: Apache-2.0 */
/* Commands that are one call about one VM. */
#ifndef CLI_ACT_H
#define CLI_ACT_H

#include "cli/command.h"

/*
 * Calls io.mudanza.METHOD with the first operand as `vm` and the members of `more` (taken over;
 * may be NULL), then prints "VM: DONE", or with --json the reply. Returns 0 or -1.
 */
int act_on_vm(const struct invocation *invocation, const char *method, json_t *more,
              const char *done, struct error **err);

#endif
