/* SPDX-License-Identifier: Apache-2.0 */
/* After a restart: brings every job of the journal to its outcome. */
#ifndef MIGRATE_RECOVER_H
#define MIGRATE_RECOVER_H

#include "base/error.h"
#include "migrate/migration.h"

/*
 * To be called once, after vm_host_load and before any connection is served. For each entry:
 *   source, prepared       the destination never owned the VM: a thread resumes it here
 *   source, committed      stays paused, in doubt; a thread keeps asking the destination
 *   source, aborted, done  a thread tells the destination that it may forget the job
 *   destination, prepared  a thread ends its QEMU, the job never ran here
 *   destination, owner     a thread finds out whether the guest ran, or has it run now
 *   destination, stored    nothing: an ordinary VM, until the source says Forget
 */
int recover_jobs(struct migrate_context *context, struct error **err);

#endif
