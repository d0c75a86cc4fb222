/* SPDX-License-Identifier: Apache-2.0 */
/* The one TCP port: control and data connections of other agents. */
#ifndef AGENT_PEER_PORT_H
#define AGENT_PEER_PORT_H

#include "agent/agent.h"
#include "agent/listener.h"
#include "varlink/varlink.h"

struct peer_port;

/* Listens at ADDRESS[:PORT] and serves `service` to the hosts that this agent knows. */
struct peer_port *peer_port_start(struct agent *agent, struct varlink_service *service,
                                  struct error **err);
void peer_port_stop(struct peer_port *port);

#endif
