/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtual machines of one host.
 *
 * Theory of operation. A VM is in the registry as long as it is defined or its QEMU process lives.
 * Three locks, taken in this order:
 *   vm->operation   held for the length of anything that changes the VM (start, destroy, suspend).
 *                   Whoever holds it may use vm->qmp. A job (a move) claims the VM once under this
 *                   lock (vm_claim) and owns it from then on without holding it: the others are
 *                   refused with the job's own words.
 *   host->lock      the list of VMs.
 *   vm->lock        the fields that QMP events change; never held across anything that waits.
 * QMP events arrive on the connection's reader thread, which only notes them in vm->guest and wakes
 * whoever waits on vm->changed_fd. When QEMU is gone the supervisor thread tidies up after it, or
 * the job does when there is one.
 */
#ifndef VM_VM_H
#define VM_VM_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "domain/domain.h"
#include "qemu/probe.h"
#include "qemu/process.h"
#include "qemu/qmp.h"
#include "vm/store.h"

enum vm_state {
    VM_SHUT_OFF,
    VM_RUNNING,
    VM_PAUSED,
    VM_IN_DOUBT, /* paused at the source of a move whose outcome is not known yet */
    VM_INCOMING, /* being received */
};

struct vm_host {
    struct store *store;
    char *state_dir, *run_dir;
    char *emulator;  /* the default for domains that name none */
    char *qemu_user; /* NULL: QEMU runs as the agent's own user */
    pthread_mutex_t lock;
    struct vm *first;
    pthread_t supervisor;
    int supervisor_fd;
    bool stopping;
};

/* What QMP events have told. Guarded by vm->lock. */
struct vm_guest {
    bool running;
    bool gone; /* the monitor is closed: the process ended, or is ending */
    char migration_status[32];
    int migration_pass;
    int64_t stopped_ns, resumed_ns; /* monotonic; the last of each */
};

struct vm {
    struct vm *next;
    struct vm_host *host;
    unsigned references; /* guarded by host->lock */
    pthread_mutex_t operation;
    pthread_mutex_t lock;
    char *name;
    char uuid[UUID_TEXT_SIZE];
    struct domain *definition; /* NULL: transient */
    struct domain *live;       /* NULL: shut off */
    struct process_id process;
    struct qmp *qmp;
    struct vm_guest guest;
    int changed_fd; /* eventfd: something in `guest` changed */
    bool incoming, in_doubt;
    char *claim; /* "being moved to host B", or NULL */
};

struct vm_host *vm_host_new(struct store *store, const char *state_dir, const char *run_dir,
                            const char *emulator, const char *qemu_user, struct error **err);
/* Loads definitions and adopts the QEMU processes that an earlier agent left running. */
int vm_host_load(struct vm_host *host, struct error **err);
/* Lets go of everything; QEMU processes run on. */
void vm_host_free(struct vm_host *host);
/* Has the supervisor look for QEMU processes that ended. */
void vm_host_wake(struct vm_host *host);

/* By name, else by UUID. A reference for the caller (vm_put); NULL with ERROR_NOT_FOUND. */
struct vm *vm_find(struct vm_host *host, const char *name_or_uuid, struct error **err);
struct vm *vm_get(struct vm *vm); /* one more */
void vm_put(struct vm *vm);
static inline void cleanup_vm_function(struct vm **vm)
{
    if (*vm)
        vm_put(*vm);
}
#define CLEANUP_VM CLEANUP(cleanup_vm_function)

/* Every VM, with a reference each, sorted by name. The array is the caller's. */
struct vm **vm_list(struct vm_host *host, size_t *count);

enum vm_state vm_state(struct vm *vm);
const char *vm_state_name(enum vm_state state); /* "shut_off", "running", ... as in io.mudanza */
/* A Vm object of io.mudanza. */
json_t *vm_describe(struct vm *vm);

/* Defines; ERROR_EXISTS when the name belongs to another UUID or the UUID to another name. Takes
 * `domain` over, also on error. */
struct vm *vm_define(struct vm_host *host, struct domain *domain, struct error **err);
int vm_undefine(struct vm *vm, struct error **err);

/* Fills in what a definition lacks, for the emulator it will run with. */
int vm_assign(struct vm_host *host, struct domain *domain, struct error **err);

int vm_start(struct vm *vm, bool paused, struct error **err);
int vm_shutdown(struct vm *vm, struct error **err);
int vm_destroy(struct vm *vm, struct error **err);
int vm_suspend(struct vm *vm, struct error **err);
int vm_resume(struct vm *vm, struct error **err);

/* The live XML, else the definition; with `inactive` the definition. Owned by the caller. */
char *vm_xml(struct vm *vm, bool inactive, struct error **err);

/* --- for moves --- */

/* Makes the VM the caller's; `claim` completes the sentence "VM x is ...". ERROR_STATE when another
 * has it. */
int vm_claim(struct vm *vm, const char *claim, struct error **err);
/* Another wording of the caller's claim. */
void vm_set_claim(struct vm *vm, const char *claim);
void vm_release(struct vm *vm);

/*
 * Registers a VM that is about to arrive and starts its QEMU with -incoming defer. Takes `live`
 * over. The caller has the claim. ERROR_EXISTS when the name or UUID is taken, ERROR_CANCELLED when
 * `cancel_fd` (-1: none) becomes readable before QEMU answers.
 */
struct vm *vm_receive(struct vm_host *host, struct domain *live, const char *claim, int cancel_fd,
                      struct error **err);
/* Its guest may run here from now on. */
void vm_arrived(struct vm *vm);
/* Makes that durable, with the XML of the definition it is to have here (NULL: none), and the job's
 * record "stored": all or nothing. Also for a VM whose QEMU has ended meanwhile. */
int vm_received(struct vm *vm, const char *job, const char *definition_xml, struct error **err);
/* The VM with that UUID, claimed and with a reference; an empty one, until vm_received or vm_end,
 * when its QEMU is gone and it has no definition. */
struct vm *vm_place(struct vm_host *host, const char *name, const char *uuid, const char *claim,
                    struct error **err);
/* Connects anew to the monitor of a QEMU that lives but did not answer. For the claim's owner. */
int vm_reconnect(struct vm *vm, int cancel_fd, struct error **err);
/* Ends QEMU and forgets that it ran. For the claim's owner. */
int vm_end(struct vm *vm, struct error **err);
/* The same at once, for a QEMU whose guest never ran: it has nothing to bring to an end. */
int vm_end_unused(struct vm *vm, struct error **err);
/* Removes the definition; for the claim's owner. */
int vm_drop_definition(struct vm *vm, struct error **err);
/* The store has dropped it already (journal_close). */
void vm_definition_dropped(struct vm *vm);
void vm_set_in_doubt(struct vm *vm, bool in_doubt);

/* The emulator's probe for a domain. Borrowed. */
const struct probe *vm_probe(struct vm_host *host, const struct domain *domain, struct error **err);
/* That of the host's own emulator, under TCG. Borrowed. */
const struct probe *vm_default_probe(struct vm_host *host, struct error **err);

/* What QEMU last wrote to its log, for messages. Owned by the caller. */
char *vm_log_tail(struct vm *vm);

#endif
