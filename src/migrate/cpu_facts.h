/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CPU features a guest relies on, and whether a host can give them, as QEMU itself says.
 *
 * host-passthrough and host-model give the guest whatever the host has (under TCG: whatever QEMU
 * can emulate), so the names of the features travel with the plan. A custom model is checked by its
 * name, plus the features the XML adds.
 */
#ifndef MIGRATE_CPU_FACTS_H
#define MIGRATE_CPU_FACTS_H

#include "base/error.h"
#include "base/json.h"
#include "vm/vm.h"

/* The features of a guest with this domain on this host: array of names, or NULL without an error
 * when the model's name says it all. Owned by the caller. */
json_t *cpu_facts_source(struct vm_host *host, const struct domain *domain, struct error **err);

/* What this host cannot give of the model that the domain names: array of names, owned by the
 * caller. A guest that runs here runs without it, and does not miss it elsewhere. */
json_t *cpu_facts_missing(struct vm_host *host, const struct domain *domain, struct error **err);

/* Can this host give the guest what it has at the source? ERROR_UNSUPPORTED names what is missing.
 * `features` and `missing` are the source's, from the two functions above; NULL for none. */
int cpu_facts_check(struct vm_host *host, const struct domain *domain, const json_t *features,
                    const json_t *missing, struct error **err);

#endif
