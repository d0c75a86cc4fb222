/* SPDX-License-Identifier: Apache-2.0 */
/* The confirm phase: the VM is the destination's; this side lets go of it. */
#include "base/fault.h"
#include "base/log.h"
#include "migrate/migration_private.h"

/* The destination keeps its journal entry until it hears this; it costs nothing if it never does.
 */
static void forget_there(struct migration *m)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct varlink_connection *control =
        m->control ? m->control : peer_connect_control(&m->peer, m->cancel_fd, &err);
    m->control = control;
    if (!control || peer_call(control, &m->peer, "Forget", json_pack("{s:s}", "job", m->job), NULL,
                              m->cancel_fd, &err) < 0)
        log_warning(m->vm->name, "host %s keeps the job's record: %s", m->peer.host.name,
                    err->message);
}

int confirm_run(struct migration *m, struct error **err)
{
    m->wire_bytes = m->relay ? relay_status(m->relay).wire_bytes : 0;
    relay_stop(STEAL(m->relay));
    if (fault_point(FAULT_SOURCE_QEMU_END_BEFORE, err) < 0 || vm_end(m->vm, err) < 0 ||
        fault_point(FAULT_SOURCE_QEMU_END_AFTER, err) < 0)
        return -1;
    if (m->options.undefine_source && m->vm->definition &&
        (fault_point(FAULT_SOURCE_DEFINITION_DROP, err) < 0 || vm_drop_definition(m->vm, err) < 0))
        return -1;
    if (fault_point(FAULT_SOURCE_DONE_BEFORE, err) < 0 ||
        journal_delete(m->context->store, m->job, true, err) < 0)
        return -1;
    m->journalled = false;
    fault_pass(FAULT_SOURCE_DONE_AFTER);
    forget_there(m);
    fault_pass(FAULT_SOURCE_FORGOTTEN);
    return 0;
}
