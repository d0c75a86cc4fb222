/* SPDX-License-Identifier: Apache-2.0 */
/* After a restart: brings every job of the journal to its outcome. */
#include "migrate/recover.h"

#include <string.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/text.h"
#include "migrate/arrival.h"
#include "migrate/closing.h"
#include "migrate/mark.h"
#include "migrate/migration_private.h"
#include "migrate/qemu_migration.h"

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
        qemu_migration_release_all(vm->qmp, NULL);
        if (json_opt_bool(entry->options, "was_running", true) && vm_state(vm) != VM_RUNNING)
            qmp_execute(vm->qmp, "cont", NULL, NULL, err);
    }
    log_info(entry->name, "its move to %s is void; it runs on here", entry->peer_name);
    /* The destination would find out by itself, after a while, and then free what it holds. */
    if (journal_move(context->store, entry->job, true, JOURNAL_PREPARED, JOURNAL_ABORTED, err) == 0)
        closing_start(context, entry->job, NULL, err);
}

/* Nothing was decided: it never ran here. */
static void undo_arrival(struct migrate_context *context, struct vm *vm,
                         const struct journal_entry *entry, struct error **err)
{
    log_info(entry->name, "its arrival from %s is void", entry->peer_name);
    if (vm && vm->live && vm_end_unused(vm, err) < 0)
        return;
    forget(context, entry);
}

/* What needs no thread. The claim keeps the supervisor off should QEMU end meanwhile. */
static void recover_prepared(struct migrate_context *context, struct vm *vm,
                             const struct journal_entry *entry, struct error **err)
{
    if (vm && vm_claim(vm, "being recovered after a restart", err) < 0)
        return;
    if (entry->source)
        recover_source(context, vm, entry, err);
    else if (fault_point(FAULT_DESTINATION_RECOVER, err) == 0)
        undo_arrival(context, vm, entry, err);
    if (vm)
        vm_release(vm);
}

static void recover_one(struct migrate_context *context, const struct journal_entry *entry)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_VM struct vm *vm = vm_find(context->vms, entry->uuid, NULL);
    switch (entry->state) {
    case JOURNAL_PREPARED:
        recover_prepared(context, vm, entry, &err);
        break;
    case JOURNAL_COMMITTED:
        log_warning(entry->name, "its move to %s is in doubt: asking", entry->peer_name);
        if (vm)
            migration_resume_in_doubt(context, vm, entry, &err);
        else
            closing_start(context, entry->job, NULL, &err);
        break;
    case JOURNAL_ABORTED:
    case JOURNAL_DONE:
        closing_start(context, entry->job, NULL, &err);
        break;
    case JOURNAL_OWNER:
        log_info(entry->name, "its arrival from %s goes on", entry->peer_name);
        if (fault_point(FAULT_DESTINATION_RECOVER, &err) == 0)
            arrival_resume(context, entry, &err);
        break;
    case JOURNAL_STORED:
        break; /* only the source's Forget is missing */
    }
    if (err)
        log_error(entry->name, "recovering its move: %s", err->message);
}

static void sweep_mark(void *context, const char *job)
{
    const struct migrate_context *migrate = context;
    struct journal_entry entry;
    int found = journal_find(migrate->store, job, false, &entry, NULL);
    if (found == 1)
        journal_entry_clear(&entry);
    else if (found == 0)
        mark_remove(migrate->vms->run_dir, job);
}

int recover_jobs(struct migrate_context *context, struct error **err)
{
    struct journal_entry *entries;
    size_t count;
    if (mark_init(context->vms->run_dir, err) < 0)
        return -1;
    mark_each(context->vms->run_dir, sweep_mark, context);
    if (journal_list(context->store, &entries, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        recover_one(context, &entries[i]);
        journal_entry_clear(&entries[i]);
    }
    free(entries);
    return 0;
}
