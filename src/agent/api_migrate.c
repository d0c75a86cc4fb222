/* SPDX-License-Identifier: Apache-2.0 */
/* io.mudanza: moves, how they stand, and ending them. */
#include "agent/api.h"
#include "base/fault.h"
#include "base/text.h"

/* A caller that went away is noticed this late at the most. */
#define FOLLOW_MS 1000

/* Sends progress until the report, which becomes the last reply. */
static int follow(struct migration *m, struct varlink_call *call, json_t **reply,
                  struct error **err)
{
    unsigned sequence = 0;
    for (;;) {
        json_t *progress = NULL, *report = NULL;
        migration_follow(m, &sequence, FOLLOW_MS, &progress, &report);
        if (report) {
            *reply = json_pack("{s:o}", "report", report);
            return 0;
        }
        if (progress && call->more) {
            if (varlink_reply_more(call, json_pack("{s:o}", "progress", progress), err) < 0)
                return -1;
        } else {
            json_decref(progress);
        }
    }
}

int api_migrate(void *context, struct varlink_call *call, json_t **reply, struct error **err)
{
    struct agent *agent = context;
    struct migrate_options options;
    if (api_need_change(call, err) < 0)
        return -1;
    CLEANUP_VM struct vm *vm =
        vm_find(agent->vms, json_opt_string(call->parameters, "vm", ""), err);
    if (!vm ||
        migrate_options_parse(json_object_get(call->parameters, "options"), &options, err) < 0)
        return -1;
    struct migration *m = migration_start(
        &agent->migrate, vm, json_opt_string(call->parameters, "host", ""), &options, err);
    migrate_options_clear(&options);
    if (!m)
        return -1;
    int result = follow(m, call, reply, err);
    migration_put(m);
    return result;
}

static int last_report(struct agent *agent, const char *vm, json_t **reply, struct error **err)
{
    json_t *report = NULL;
    if (store_report_get(agent->store, vm, &report, err) < 0)
        return -1;
    if (!report) {
        error_set(err, ERROR_NOT_FOUND, "VM %s: it was never moved from here", vm);
        return error_hint(err, "`mudanza migrate %s HOST` moves it", vm);
    }
    *reply = json_pack("{s:o}", "report", report);
    return 0;
}

int api_get_job(void *context, struct varlink_call *call, json_t **reply, struct error **err)
{
    struct agent *agent = context;
    const char *vm = json_opt_string(call->parameters, "vm", "");
    struct migration *m = migration_find(&agent->migrate, vm);
    if (!m)
        return last_report(agent, vm, reply, err);
    int result = 0;
    if (call->more) {
        result = follow(m, call, reply, err);
    } else {
        unsigned sequence = 0;
        json_t *progress = NULL, *report = NULL;
        migration_follow(m, &sequence, FOLLOW_MS, &progress, &report);
        *reply = report     ? json_pack("{s:o}", "report", report)
                 : progress ? json_pack("{s:o}", "progress", progress)
                            : json_object();
    }
    migration_put(m);
    return result;
}

/* Waits for the report of a move that was told how to end. Puts `m`. */
static int await_report(struct migration *m, json_t **reply)
{
    unsigned sequence = 0;
    json_t *report = NULL;
    while (!report) {
        json_t *progress = NULL;
        migration_follow(m, &sequence, FOLLOW_MS, &progress, &report);
        json_decref(progress);
    }
    migration_put(m);
    *reply = json_pack("{s:o}", "report", report);
    return 0;
}

int api_resolve_job(void *context, struct varlink_call *call, json_t **reply, struct error **err)
{
    struct agent *agent = context;
    const char *vm = json_opt_string(call->parameters, "vm", "");
    if (api_need_change(call, err) < 0)
        return -1;
    struct migration *m = migration_find(&agent->migrate, vm);
    if (!m) {
        error_set(err, ERROR_STATE, "VM %s: no move of it is in doubt here", vm);
        return error_hint(err, "the host it was moved from decides");
    }
    if (migration_decide(m, json_opt_bool(call->parameters, "runs_here", false), err) == 0)
        return await_report(m, reply);
    migration_put(m);
    return -1;
}

int api_abort_job(void *context, struct varlink_call *call, json_t **reply, struct error **err)
{
    struct agent *agent = context;
    const char *vm = json_opt_string(call->parameters, "vm", "");
    if (api_need_change(call, err) < 0)
        return -1;
    struct migration *m = migration_find(&agent->migrate, vm);
    if (!m) {
        error_set(err, ERROR_STATE, "VM %s: it is not being moved", vm);
        return error_hint(err, "`mudanza job %s` shows how its last move ended", vm);
    }
    int result = migration_cancel(m, err);
    fault_pass(FAULT_SOURCE_CANCEL);
    if (result == 0)
        return await_report(m, reply);
    migration_put(m);
    return -1;
}
