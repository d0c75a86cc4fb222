/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A person decides a move in doubt: what the destination cannot say, somebody has gone and looked
 * at. The decision is written where the missing answer would have been, and by the same thread.
 */
#include "base/fd.h"
#include "base/log.h"
#include "migrate/migration_private.h"

int migration_decide(struct migration *m, bool runs_here, struct error **err)
{
    LOCK_SCOPE(&m->lock);
    if (!m->in_doubt || m->decision != DECISION_NONE) {
        error_set(err, ERROR_STATE, "VM %s: its move to %s is not in doubt", m->vm->name,
                  m->peer.host.name);
        return error_hint(err, "`mudanza job %s` shows how it stands", m->vm->name);
    }
    m->decision = runs_here ? DECISION_HERE : DECISION_THERE;
    fd_event_signal(m->cancel_fd);
    return 0;
}

enum decision decide_taken(struct migration *m)
{
    LOCK_SCOPE(&m->lock);
    enum decision decision = m->decision;
    if (decision != DECISION_NONE) {
        fd_event_clear(m->cancel_fd); /* it was signalled for this alone, or also for the end */
        if (m->agent_ends)
            fd_event_signal(m->cancel_fd);
    }
    return decision;
}

void decide_open(struct migration *m, bool in_doubt)
{
    LOCK_SCOPE(&m->lock);
    m->in_doubt = in_doubt;
    m->decision = DECISION_NONE;
}

int decide_here(struct migration *m, struct error **err)
{
    if (journal_delete(m->context->store, m->job, true, err) < 0)
        return -1;
    m->journalled = m->committed = false;
    log_warning(m->vm->name, "decided by hand: it runs here, not on %s", m->peer.host.name);
    error_set(err, ERROR_PEER,
              "host %s did not say what became of the VM; decided by hand that it "
              "runs here",
              m->peer.host.name);
    return 0;
}

void decide_there(struct migration *m)
{
    migration_warn(m, "host %s did not say what became of it; decided by hand that it runs there",
                   m->peer.host.name);
    if (m->options.undefine_source && m->vm->definition)
        migration_warn(m,
                       "whether host %s has stored it is not known: its definition stays here; "
                       "`mudanza undefine %s` removes it",
                       m->peer.host.name, m->vm->name);
    m->options.undefine_source = false;
    m->options.post_copy = m->post_copy_started = false; /* nothing more can be sent there */
}
