/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What must survive a crash of the agent, in one SQLite database with synchronous=FULL:
 * definitions, the VMs that run, known hosts, the handover journal, the last report of each VM.
 *
 * Every call is one transaction, durable when it returns. What a job of the journal writes does not
 * fail for want of space (store_room.c). Thread-safe. Strings in results are owned
 * by the caller.
 */
#ifndef VM_STORE_H
#define VM_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/json.h"
#include "qemu/process.h"

struct store;

/* Opens or makes DIRECTORY/mudanza.db, and takes it for this process alone: ERROR_STATE when
 * another agent has it. */
struct store *store_open(const char *directory, struct error **err);
void store_close(struct store *store);

/* Definitions: libvirt domain XML by UUID; names are unique. */
int store_define(struct store *store, const char *uuid, const char *name, const char *xml,
                 struct error **err);
int store_undefine(struct store *store, const char *uuid, struct error **err);
typedef void store_definition_visit(void *context, const char *uuid, const char *name,
                                    const char *xml);
int store_each_definition(struct store *store, store_definition_visit *visit, void *context,
                          struct error **err);

/* A VM whose QEMU process was started and not yet seen to end. */
struct store_running {
    const char *uuid, *name, *xml;
    struct process_id process;
    /* The VM is not to run before a handover says so (migration destination). */
    bool incoming;
};
int store_running_put(struct store *store, const struct store_running *running, struct error **err);
int store_running_delete(struct store *store, const char *uuid, struct error **err);
typedef void store_running_visit(void *context, const struct store_running *running);
int store_each_running(struct store *store, store_running_visit *visit, void *context,
                       struct error **err);

/* Hosts that may talk to this agent, by their key. */
struct store_host {
    char *name, *address, *fingerprint;
    uint16_t port;
};
int store_host_put(struct store *store, const struct store_host *host, struct error **err);
/* ERROR_NOT_FOUND when there is none of that name. */
int store_host_delete(struct store *store, const char *name, struct error **err);
/* 1 found, 0 not, -1 error; either key may be NULL. */
int store_host_find(struct store *store, const char *name, const char *fingerprint,
                    struct store_host *host, struct error **err);
int store_host_list(struct store *store, struct store_host **hosts, size_t *count,
                    struct error **err);
void store_host_clear(struct store_host *host);

/*
 * The handover journal: one row a job and role. See docs/handover.md for the states. At a
 * destination no row means that the job never ran there and never will: jobs' UUIDs do not come
 * again.
 */
enum journal_state {
    JOURNAL_PREPARED,  /* source, destination: the job exists; nothing is decided */
    JOURNAL_COMMITTED, /* source: resumes only with the destination's word that it never ran */
    JOURNAL_ABORTED,   /* source: it runs on here, which the destination has yet to hear */
    JOURNAL_DONE,      /* source: the VM is the destination's, which has yet to forget the job */
    JOURNAL_OWNER,     /* destination: has every byte and may run the VM */
    JOURNAL_STORED, /* destination: the VM is an ordinary one; the source has yet to say Forget */
};

struct journal_entry {
    char *job;  /* UUID of the job */
    char *uuid; /* of the VM */
    char *name; /* the VM's, on this host */
    bool source;
    char *peer_fingerprint;
    char *peer_name;
    enum journal_state state;
    json_t *options; /* what is needed to finish the job without the other side */
};

/* Also makes sure that whatever the job will write has its place on the disk: ERROR_SYSTEM when it
 * has not. */
int journal_put(struct store *store, const struct journal_entry *entry, struct error **err);
/* Moves one job on. ERROR_STATE when it is not in `from`. */
int journal_move(struct store *store, const char *job, bool source, enum journal_state from,
                 enum journal_state to, struct error **err);
/* Source: from committed to done, and, unless `undefined` is NULL, drops the definition of the VM
 * with that UUID: both or none. ERROR_STATE when it is not committed. */
int journal_close(struct store *store, const char *job, const char *undefined, struct error **err);
/* Destination: from owner to stored, with the VM as one that runs here (`runs`), and with this XML
 * as its definition (NULL: it gets none): all or nothing. */
int journal_settle(struct store *store, const char *job, const struct store_running *vm, bool runs,
                   const char *definition, struct error **err);
int journal_delete(struct store *store, const char *job, bool source, struct error **err);
/* 1 found, 0 not, -1 error. */
int journal_find(struct store *store, const char *job, bool source, struct journal_entry *entry,
                 struct error **err);
int journal_list(struct store *store, struct journal_entry **entries, size_t *count,
                 struct error **err);
void journal_entry_clear(struct journal_entry *entry);

/* The last move's report of a VM (by name). *report is NULL when there is none. */
int store_report_put(struct store *store, const char *name, const json_t *report,
                     struct error **err);
int store_report_get(struct store *store, const char *name, json_t **report, struct error **err);

#endif
