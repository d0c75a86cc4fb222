/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A move, seen from its source: one thread that reads from top to bottom (migration.c):
 * plan, prepare, copy, handover, confirm. Each phase is a function in a file of its name.
 *
 * What the thread learns it publishes as progress and, at the end, as a report; any number of
 * callers may follow. Cancellation is one eventfd that every wait includes.
 */
#ifndef MIGRATE_MIGRATION_H
#define MIGRATE_MIGRATION_H

#include <stdbool.h>

#include "base/error.h"
#include "base/json.h"
#include "migrate/known_pages.h"
#include "migrate/options.h"
#include "vm/vm.h"
#include "wire/tls.h"

struct arrival;
struct migrate_thread;
struct migration;

/* What all moves of an agent share. */
struct migrate_context {
    struct vm_host *vms;
    struct store *store;
    struct tls_context *tls;
    const char *host_name;   /* this host's */
    const char *fingerprint; /* this host's */
    struct keeper *keeper;   /* RAM of VMs that left */
    struct known_pages_options known_pages;
    int64_t peer_silence_ms; /* a connection on which nothing came for so long is dropped */
    int64_t peer_lost_ms;    /* a host that is away is waited for so long */
    int end_fd;              /* eventfd: the agent ends */
    pthread_mutex_t lock;    /* guards what follows */
    pthread_cond_t idle;     /* an arrival is over */
    struct migrate_thread *threads;
    bool ending;                  /* no job begins any more */
    struct migration *migrations; /* running, from here */
    struct arrival *arrivals;     /* running, to here */
    /* Jobs that were ended before they came: the youngest ones. */
    char barred[64][37];
    unsigned barred_next;
};

int migrate_context_init(struct migrate_context *context, struct error **err);
/* Ends every job as a killed agent would: nothing is decided, QEMUs run on. No other begins. When
 * it returns, the jobs' threads are gone; whoever follows one may still ask how it ended. */
void migrate_context_end(struct migrate_context *context);
/* Frees what init made; nobody may use the context any more. */
void migrate_context_clear(struct migrate_context *context);

/* Starts a job's thread, which migrate_context_end waits for. ERROR_STATE once the agent ends. */
int migrate_thread_start(struct migrate_context *context, void (*run)(void *), void *argument,
                         struct error **err);

/*
 * Starts moving `vm` to the host of that name. Takes `options` over. ERROR_* when it cannot even
 * begin (VM busy, host unknown, options that contradict); anything later is in the report.
 * Returns a reference (migration_put).
 */
struct migration *migration_start(struct migrate_context *context, struct vm *vm, const char *host,
                                  struct migrate_options *options, struct error **err);

/* Takes up a committed move after a restart: keeps asking for its outcome. */
int migration_resume_in_doubt(struct migrate_context *context, struct vm *vm,
                              const struct journal_entry *entry, struct error **err);

/* Undoes a move that was prepared, and not committed, before a restart; its report says so. */
int migration_resume_void(struct migrate_context *context, struct vm *vm,
                          const struct journal_entry *entry, struct error **err);

/* The host with that key has another address now: moves to it connect there, at once. */
void migration_host_moved(struct migrate_context *context, const char *fingerprint);

/* The running move of a VM, with a reference, or NULL. */
struct migration *migration_find(struct migrate_context *context, const char *vm_name);
void migration_put(struct migration *migration);

/*
 * Waits for something newer than *sequence (0 at first), at most wait_ms, and tells it: *progress
 * or, once it is over, *report; owned by the caller, NULL when there is nothing newer.
 */
void migration_follow(struct migration *migration, unsigned *sequence, int wait_ms,
                      json_t **progress, json_t **report);

/* Decides a move in doubt, in the destination's place. ERROR_STATE when it is not in doubt. */
int migration_decide(struct migration *migration, bool runs_here, struct error **err);

/* Asks it to end. Refused (ERROR_STATE) once the handover is past the point of return. */
int migration_cancel(struct migration *migration, struct error **err);

#endif
