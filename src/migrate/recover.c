/* SPDX-License-Identifier: Apache-2.0 */
/* After a restart: brings every job of the journal to its outcome. */
#include "migrate/recover.h"

#include <string.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/text.h"
#include "migrate/migration_private.h"

static void forget(struct migrate_context *context, const struct journal_entry *entry)
{
    CLEANUP_ERROR struct error *err = NULL;
    if (journal_delete(context->store, entry->job, entry->source, &err) < 0)
        log_error(entry->name, "%s", err->message);
}

static void recover_source(struct migrate_context *context, struct vm *vm,
                           const struct journal_entry *entry, struct error **err)
{
    if (fault_point(FAULT_SOURCE_RECOVER, err) < 0)
        return;
    if (vm && vm->qmp) {
        /* The agent died in the middle: QEMU's stream has nobody to read it any more. */
        qmp_execute(vm->qmp, "migrate_cancel", NULL, NULL, NULL);
        if (json_opt_bool(entry->options, "was_running", true) && vm_state(vm) != VM_RUNNING)
            qmp_execute(vm->qmp, "cont", NULL, NULL, err);
    }
    log_info(entry->name, "its move to %s is void; it runs on here", entry->peer_name);
    forget(context, entry);
}

/* Has QEMU loaded everything, so that it can run? */
static bool loaded(struct vm *vm)
{
    CLEANUP_JSON json_t *state = NULL;
    if (qmp_execute(vm->qmp, "query-status", NULL, &state, NULL) < 0)
        return false;
    const char *status = json_opt_string(state, "status", "");
    return strcmp(status, "inmigrate") != 0 && strcmp(status, "internal-error") != 0;
}

static void recover_destination(struct migrate_context *context, struct vm *vm,
                                const struct journal_entry *entry, struct error **err)
{
    if (fault_point(FAULT_DESTINATION_RECOVER, err) < 0)
        return;
    bool ours = entry->state == JOURNAL_OWNER && vm && vm->qmp && loaded(vm);
    if (!ours) {
        /* An owner whose QEMU is gone cannot be told from one that ran and crashed: it stays one.
         */
        if (entry->state == JOURNAL_OWNER && (!vm || !vm->live))
            return;
        log_info(entry->name, "its arrival from %s is void", entry->peer_name);
        if (vm && vm->live && vm_end(vm, err) < 0)
            return;
        forget(context, entry);
        return;
    }
    if (!vm->incoming)
        return; /* settled before; only the source's Forget is missing */
    if (json_opt_bool(entry->options, "running", true) && vm_state(vm) != VM_RUNNING &&
        qmp_execute(vm->qmp, "cont", NULL, NULL, err) < 0)
        return;
    if (vm_received(vm, json_opt_bool(entry->options, "persistent", false), err) == 0)
        log_info(entry->name, "taken over from %s after a restart", entry->peer_name);
}

static void recover_one(struct migrate_context *context, const struct journal_entry *entry)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_VM struct vm *vm = vm_find(context->vms, entry->uuid, NULL);
    if (entry->source && entry->state == JOURNAL_COMMITTED) {
        log_warning(entry->name, "its move to %s is in doubt: asking", entry->peer_name);
        migration_resume_in_doubt(context, vm, entry, &err);
    } else if (!vm || vm_claim(vm, "being recovered after a restart", &err) == 0) {
        /* Claimed, so that the supervisor keeps off it should QEMU end meanwhile. */
        if (entry->source)
            recover_source(context, vm, entry, &err);
        else
            recover_destination(context, vm, entry, &err);
        if (vm)
            vm_release(vm);
    }
    if (err)
        log_error(entry->name, "recovering its move: %s", err->message);
}

int recover_jobs(struct migrate_context *context, struct error **err)
{
    struct journal_entry *entries;
    size_t count;
    if (journal_list(context->store, &entries, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        recover_one(context, &entries[i]);
        journal_entry_clear(&entries[i]);
    }
    free(entries);
    return 0;
}
