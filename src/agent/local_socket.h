/* SPDX-License-Identifier: Apache-2.0 */
/* The local Varlink socket. */
#ifndef AGENT_LOCAL_SOCKET_H
#define AGENT_LOCAL_SOCKET_H

#include "agent/agent.h"
#include "agent/listener.h"
#include "varlink/varlink.h"

/* Listens at `path` (mode 0666: who may do what is decided by credentials, call by call) and serves
 * `service`. A socket left behind by a dead agent is replaced; a live one is ERROR_EXISTS. */
struct listener *local_socket_start(const char *path, struct varlink_service *service,
                                    struct error **err);

#endif
