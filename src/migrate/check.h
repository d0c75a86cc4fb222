/* SPDX-License-Identifier: Apache-2.0 */
/* The destination's part of the plan: everything that stands in the way of a VM's arrival. */
#ifndef MIGRATE_CHECK_H
#define MIGRATE_CHECK_H

#include "base/json.h"
#include "domain/domain.h"
#include "migrate/migration.h"

/* Adds a Problem object: `why` is taken over. */
void problem_add(json_t *problems, const char *check, struct error *why);

/* Array of Problem (io.mudanza.Peer); empty when nothing does. Owned by the caller. */
json_t *check_arrival(struct migrate_context *context, const struct domain *domain,
                      const char *mode, bool post_copy, const json_t *facts);

/* Memory this host can still give to a VM, bytes: what the kernel calls available and what the
 * keeper would give back, less what VMs that are arriving will still take. */
int check_memory_available(struct migrate_context *context, uint64_t *bytes, struct error **err);

#endif
