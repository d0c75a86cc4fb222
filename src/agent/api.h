/* SPDX-License-Identifier: Apache-2.0 */
/* io.mudanza: what the agent does for the people and programs of its own host. */
#ifndef AGENT_API_H
#define AGENT_API_H

#include "agent/agent.h"
#include "varlink/varlink.h"

/* Who calls, from SO_PEERCRED. */
struct api_caller {
    bool may_change; /* root, or the agent's own user */
    unsigned uid;
};

/* Calls must come with a `struct api_caller *` as varlink_serve's peer. */
struct varlink_service *api_new(struct agent *agent, struct error **err);

/* For methods that change something: ERROR_DENIED when the caller may only look. */
int api_need_change(const struct varlink_call *call, struct error **err);

/* api_migrate.c */
varlink_method api_migrate, api_get_job, api_abort_job, api_resolve_job;

#endif
