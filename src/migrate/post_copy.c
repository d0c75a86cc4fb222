/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Post-copy: the guest changes sides first, and fetches the pages it misses. Its commit point is
 * its start: from then on each side holds a part of the VM.
 */
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "migrate/migration_private.h"

#define SAMPLE_MS 100

int post_copy_start(struct migration *m, struct error **err)
{
    if (fault_point(FAULT_SOURCE_POST_COPY_SWITCH, err) < 0)
        return -1;
    if (qmp_execute(m->vm->qmp, "migrate-start-postcopy", NULL, NULL, err) < 0)
        return error_prefix(err, "VM %s", m->vm->name);
    m->post_copy_started = true;
    migration_note(m, "post-copy: the guest changes sides");
    return 0;
}

int post_copy_finish(struct migration *m, struct error **err)
{
    char status[32];
    for (;;) {
        migration_qemu_status(m, status);
        if (strcmp(status, "completed") == 0)
            relay_commit(m->relay);
        if (relay_status(m->relay).ended)
            return 0; /* the destination has waited for that */
        if (strcmp(status, "failed") == 0 || strcmp(status, "postcopy-paused") == 0) {
            error_set(err, ERROR_UNREACHABLE,
                      "VM %s: the network was cut in post-copy: part of its memory is still here",
                      m->vm->name);
            return error_hint(err,
                              "the VM stands on both hosts and is lost unless it is recovered");
        }
        if (fault_point(FAULT_SOURCE_POST_COPY, err) < 0 ||
            migration_wait(m, clock_deadline_ns(SAMPLE_MS), err) < 0 ||
            migration_sample(m, err) < 0)
            return -1;
    }
}
