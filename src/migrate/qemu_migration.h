/* SPDX-License-Identifier: Apache-2.0 */
/* QEMU's migration commands, for both ends. Facts: QEMU's qapi/migration.json. */
#ifndef MIGRATE_QEMU_MIGRATION_H
#define MIGRATE_QEMU_MIGRATION_H

#include <stdint.h>

#include "base/error.h"
#include "base/json.h"
#include "qemu/qmp.h"

/* Switches on exactly the capabilities in `names` (array of strings) of those we ever use, and the
 * others off. */
int qemu_migration_set_capabilities(struct qmp *qmp, const json_t *names, struct error **err);
/* Bytes per second, in post-copy too (but for pages that the guest waits for); 0 is no limit. */
int qemu_migration_set_bandwidth(struct qmp *qmp, int64_t bytes_per_second, struct error **err);
int qemu_migration_set_downtime(struct qmp *qmp, int64_t limit_ms, struct error **err);

/*
 * A socket pair: one end goes into QEMU under the name `name` (getfd), the other is returned. QEMU
 * also keeps a duplicate of the returned end in an fd set of its own, number in *holder, so that an
 * agent that dies closes nothing: QEMU would take that for a failed stream and resume the guest.
 */
#define QEMU_MIGRATION_OPAQUE "mudanza migration" /* what the fd set says of itself */
int qemu_migration_socket(struct qmp *qmp, const char *name, int64_t *holder, struct error **err);
/* Drops that duplicate. */
int qemu_migration_release(struct qmp *qmp, int64_t holder, struct error **err);
/* The same for all that earlier agents have left in it. */
int qemu_migration_release_all(struct qmp *qmp, struct error **err);

/* Starts the outgoing or incoming migration over the descriptor of that name. */
int qemu_migration_start(struct qmp *qmp, const char *name, struct error **err);
int qemu_migration_listen(struct qmp *qmp, const char *name, struct error **err);

/* Post-copy that is paused goes on over the descriptor of that name: at the destination first. */
int qemu_migration_recover(struct qmp *qmp, const char *name, struct error **err);
int qemu_migration_resume(struct qmp *qmp, const char *name, struct error **err);

/* query-migrate. Owned by the caller. */
json_t *qemu_migration_query(struct qmp *qmp, struct error **err);

#endif
