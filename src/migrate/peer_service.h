/* SPDX-License-Identifier: Apache-2.0 */
/* io.mudanza.Peer: what this agent does for other agents. */
#ifndef MIGRATE_PEER_SERVICE_H
#define MIGRATE_PEER_SERVICE_H

#include "base/error.h"
#include "migrate/migration.h"
#include "varlink/varlink.h"

/* The service; calls must come with a `struct store_host *` of the peer as varlink_serve's peer. */
struct varlink_service *peer_service_new(struct migrate_context *context, struct error **err);

#endif
