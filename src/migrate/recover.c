/* SPDX-License-Identifier: Apache-2.0 */
/* After a restart: brings every job of the journal to its outcome. */
#include "migrate/recover.h"

#include <string.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/text.h"
#include "migrate/arrival.h"
#include "migrate/channel_port.h"
#include "migrate/closing.h"
#include "migrate/mark.h"
#include "migrate/migration_private.h"

/* Nothing was decided: it is not the destination's, nor will it be. */
static void recover_prepared(struct migrate_context *context, struct vm *vm,
                             const struct journal_entry *entry, struct error **err)
{
    enum fault_point point = entry->source ? FAULT_SOURCE_RECOVER : FAULT_DESTINATION_RECOVER;
    if (fault_point(point, err) < 0)
        return;
    log_info(entry->name, "its %s %s is void", entry->source ? "move to" : "arrival from",
             entry->peer_name);
    if (!entry->source && vm && vm->live && !vm->incoming) /* started here since, not by this job */
        journal_delete(context->store, entry->job, false, err);
    else if (!entry->source)
        arrival_resume(context, entry, err);
    else if (vm)
        migration_resume_void(context, vm, entry, err);
    else
        closing_start(context, entry->job, NULL, err);
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
        log_error(entry->name, "recovering its move: %s; restart mudanzad to try again",
                  err->message);
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
    if (mark_init(context->vms->run_dir, err) < 0 ||
        channel_port_init(context->vms->run_dir, err) < 0)
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
