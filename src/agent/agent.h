/* SPDX-License-Identifier: Apache-2.0 */
/* One agent: everything that lives as long as mudanzad does. */
#ifndef AGENT_AGENT_H
#define AGENT_AGENT_H

#include "agent/config.h"
#include "migrate/migration.h"
#include "vm/vm.h"
#include "wire/identity.h"

struct agent {
    const struct config *config;
    struct store *store;
    struct identity *identity;
    struct tls_context *tls;
    struct vm_host *vms;
    struct migrate_context migrate;
};

#endif
