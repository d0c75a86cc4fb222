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

/* For the capability "multifd": so many channels beside the main one. */
int qemu_migration_set_channels(struct qmp *qmp, unsigned channels, struct error **err);

/* Starts the outgoing or incoming migration over the descriptor of that name. */
int qemu_migration_start(struct qmp *qmp, const char *name, struct error **err);
int qemu_migration_listen(struct qmp *qmp, const char *name, struct error **err);

/* Starts the outgoing migration over connections that QEMU makes to the socket of that path. */
int qemu_migration_start_at(struct qmp *qmp, const char *path, struct error **err);

/* query-migrate. Owned by the caller. */
json_t *qemu_migration_query(struct qmp *qmp, struct error **err);

#endif
