/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of an arrival share: arrival.c (from outside), arrival_prepare.c (its start),
 * arrival_run.c (its thread), arrival_guest.c (the guest's first step), arrival_post_copy.c (the
 * pages that come after it). */
#ifndef MIGRATE_ARRIVAL_PRIVATE_H
#define MIGRATE_ARRIVAL_PRIVATE_H

#include "migrate/arrival.h"
#include "migrate/job_id.h"
#include "migrate/mark.h"
#include "migrate/relay.h"
#include "migrate/verify.h"
#include "qemu/memory.h"

struct arrival {
    struct arrival *next;
    struct migrate_context *context;
    unsigned references; /* guarded by context->lock */
    char job[JOB_ID_SIZE];
    char *peer_name, *fingerprint;
    struct vm *vm;
    uint64_t memory;
    bool running_wanted, post_copy;
    char *definition; /* XML that is to be defined here; NULL: the VM stays transient */
    char boot_id[MARK_BOOT_ID_SIZE];
    unsigned connections;          /* of the stream */
    uint32_t slots;                /* of the stream engine */
    struct verify_key *key;        /* NULL: no verification */
    struct dictionary *dictionary; /* NULL: nothing here knows its pages */
    int wake_fd;                   /* something below changed, or an abort is asked for */

    /* The thread's own. */
    struct memory_map *ram;
    uint64_t placed; /* pages, see placer.h */

    /* Guarded by lock. */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct relay *relay;      /* signals wake_fd */
    char stream[JOB_ID_SIZE]; /* whose data connection is expected: the job's own, or Recover's */
    /* In post-copy: the source's QEMU has ended; ours was ended, as one of them had; the source
     * knows that nothing more is to come. */
    bool source_gone, lost, source_knows;
    bool abort_asked, ending, owner, running, finished; /* ending: the agent is */
    bool stored;               /* the VM is, with its definition if it is to have one */
    struct error *store_error; /* why it is not yet */
    json_t *events;
    unsigned followers; /* so many have asked for the events; the last one gets them */
};

/* An abort that was asked for, or the agent's end. The caller holds the lock. */
int arrival_refuse_stopped(const struct arrival *a, struct error **err);

/* Adds it to those under way, for others to find. ERROR_CANCELLED when its end has come before it.
 */
int arrival_enter(struct arrival *a, struct error **err);
/* Nothing of the job is left to do; drops the reference of whoever did it. */
void arrival_finish(struct arrival *a);

/* arrival_guest.c: what became of the guest once this host is its owner. */
enum arrival_guest {
    GUEST_OURS,      /* it runs, or is paused as asked, or may have run: OWNER */
    GUEST_NEVER_RAN, /* certainly: OWNER may be taken back; *err says why */
    GUEST_UNKNOWN,   /* and the agent ends */
};
/* QEMU has loaded everything: mark, `cont`. */
enum arrival_guest arrival_start_guest(struct arrival *a, struct error **err);
/* The same for an owner that an earlier agent has left, in whatever state. */
enum arrival_guest arrival_take_up_guest(struct arrival *a, struct error **err);

/* arrival_post_copy.c: what became of the pages that the guest, which runs here, misses. */
enum arrival_rest {
    REST_COMPLETE,
    REST_LOST,       /* a QEMU ended before they were here; ours is gone, and the source knows */
    REST_AGENT_ENDS, /* the next agent goes on */
};
enum arrival_rest arrival_await_rest(struct arrival *a);
/* Post-copy has switched: waits until QEMU has loaded the devices, so that its guest can run. */
int arrival_await_devices(struct arrival *a, struct error **err);

/* arrival_run.c: waits for QEMU, the relay, or an abort. 0: look again. */
int arrival_wait(struct arrival *a, int64_t deadline_ns, struct error **err);

/* The stream's state; all zero when there is none. */
struct relay_status arrival_stream(struct arrival *a);
/* Ends the stream; nobody can attach to it from here on. */
void arrival_stop_relay(struct arrival *a);

/* The thread: from the data connection to the VM that runs here, or to nothing. */
void arrival_thread(void *argument);
/* The thread of an owner that an earlier agent has left. */
void arrival_resumed_thread(void *argument);

#endif
