/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QEMU has its big lock while it writes the last bytes of a migration. If the agent that read them
 * has died, they fill the socket (QEMU itself keeps the agent's end open), and its monitor answers
 * nobody: not even whoever wants to tell it to give up.
 */
#ifndef QEMU_UNBLOCK_H
#define QEMU_UNBLOCK_H

#include <stdbool.h>

#include "qemu/process.h"

/*
 * Reads and drops what lies in socketpairs of QEMU, until nothing more comes for a moment. For a
 * source's QEMU that does not answer, and whose stream nobody will ever want: never for one that
 * receives, which may have all of a guest there and be busy loading it. From the commit point of
 * post-copy on, the stream is spooled (migrate/spool.h), and the only copy of a part of the guest:
 * nothing of it is touched, unless `spooled_too`, which is for a guest that never ran elsewhere.
 * True when there was something.
 */
bool qemu_unblock(const struct process_id *process, bool spooled_too);

#endif
