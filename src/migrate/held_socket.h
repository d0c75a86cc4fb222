/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The duplicates of our ends of QEMU's migration sockets that QEMU keeps for us
 * (qemu_migration_socket). They stay open whatever happens to an agent, so that a new one can take
 * them back, or cut the stream that nobody else can end any more.
 */
#ifndef MIGRATE_HELD_SOCKET_H
#define MIGRATE_HELD_SOCKET_H

#include "base/error.h"
#include "qemu/process.h"
#include "qemu/qmp.h"

/* Our end of the newest pair, for the caller to close. ERROR_NOT_FOUND when QEMU holds none. */
int held_socket_take(struct qmp *qmp, const struct process_id *process, struct error **err);

/* Shuts all of them down, so that QEMU sees its stream break, and has QEMU drop them. */
int held_socket_cut(struct qmp *qmp, const struct process_id *process, struct error **err);

#endif
