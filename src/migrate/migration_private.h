/* SPDX-License-Identifier: Apache-2.0 */
/* What the phases of a move share. */
#ifndef MIGRATE_MIGRATION_PRIVATE_H
#define MIGRATE_MIGRATION_PRIVATE_H

#include <stdatomic.h>

#include "migrate/data_link.h"
#include "migrate/follower.h"
#include "migrate/job_id.h"
#include "migrate/migration.h"
#include "migrate/peer.h"
#include "migrate/policy.h"
#include "migrate/relay.h"
#include "migrate/write_rate.h"

enum migrate_phase { PHASE_PLAN, PHASE_PREPARE, PHASE_COPY, PHASE_HANDOVER, PHASE_CONFIRM };
#define PHASE_COUNT (PHASE_CONFIRM + 1)

/* The largest NVRAM file that travels with an offline move; OVMF's have at most 4 MiB. */
#define NVRAM_MAX ((size_t)6 * 1024 * 1024)

enum migrate_outcome { OUTCOME_COMPLETED, OUTCOME_ABORTED, OUTCOME_FAILED, OUTCOME_IN_DOUBT };

/* What a person decided about a move in doubt. */
enum decision { DECISION_NONE, DECISION_HERE, DECISION_THERE };

/* What the destination has told through Receive. */
struct remote_view {
    bool loaded, running, failed;
    char *digests;       /* hex, with verification */
    struct error *error; /* when failed */
    int64_t running_ns;  /* when we heard it */
};

struct migration {
    struct migration *next;
    struct migrate_context *context;
    unsigned references; /* guarded by context->lock */
    char job[JOB_ID_SIZE];
    struct vm *vm;
    struct peer peer;
    struct migrate_options options;
    int cancel_fd;

    /* The thread's own. */
    struct domain *target; /* what arrives at the destination */
    bool was_running;      /* the guest ran when the move began */
    bool stopped_by_us;    /* we stopped it and must resume it when the move fails */
    bool prepared;         /* the destination has something to undo */
    bool journalled;       /* our journal has an entry */
    bool found;            /* and it was an earlier agent that wrote it */
    bool committed;        /* our journal says COMMIT: no way back without the destination's word */
    bool closing;          /* done, but for what closing.c goes on trying */
    struct varlink_connection *control; /* calls */
    struct follower *follower;          /* the pending Receive */
    struct relay *relay;
    struct data_link_target target_host; /* relay's */
    unsigned connections;                /* of the stream; agreed on in Prepare */
    unsigned channels;                   /* that QEMU writes it into; 1: no multifd */
    unsigned cuts;                       /* of its, that are known */
    bool was_lost;                       /* it had no connection when last looked at */
    int64_t back_ns;                     /* since when it has one again */
    uint32_t slots;                      /* of the stream engine; agreed on in Prepare */
    bool copies;                         /* the destination reads its guest's RAM while it fills */
    struct ram_source *sampled;          /* our guest's RAM, between two looks at it */
    struct write_rate *written;          /* NULL: not looked at yet */
    int stream_fd;                       /* the relay's news */
    atomic_bool peer_moved;              /* it has another address; from any thread */
    char stream[JOB_ID_SIZE];            /* of the newest one begun by a recovery */
    int qemu_end; /* a duplicate of the relay's, for the way back from post-copy; -1: none */
    uint8_t verify_key[16];
    bool shares;                   /* pages may be named by hashes under page_key */
    bool keeps;                    /* its RAM was to be kept here; `kept` is what came of it */
    struct page_hash_key page_key; /* of this job */
    struct kept_ram *kept;         /* being made; NULL: none */
    bool mends;            /* our QEMU loses writes of its guest: compare RAM and put it right */
    uint64_t mended_pages; /* so far */
    bool post_copy_started;
    struct policy policy;
    struct remote_view remote;
    json_t *problems; /* found by plan */
    json_t *warnings; /* texts: what is not as asked, though it completed */
    bool verified;
    int64_t started_ns, phase_ns[PHASE_COUNT + 1]; /* when each phase began */
    int64_t stopped_ns;                            /* when the guest stopped for the handover */
    uint64_t ram_bytes, ram_total, ram_remaining, dirty_rate, rate;
    struct relay_status relayed; /* once the relay is gone */
    int64_t last_sample_ns;
    int rounds;
    int64_t downtime_estimate_ms;
    double percent;

    /* Published; guarded by lock. */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    enum migrate_phase phase;
    unsigned sequence;
    json_t *progress, *report;
    char *note;
    bool past_return; /* cancelling is refused */
    bool in_doubt;    /* a decision is taken */
    enum decision decision;
    bool cancelled;
    bool agent_ends; /* that is why */
};

/* The phases. Each returns 0, or -1 with the reason; undoing is migration_rollback's. */
int plan_run(struct migration *m, struct error **err);
int prepare_run(struct migration *m, struct error **err);
int copy_run(struct migration *m, struct error **err);
int handover_run(struct migration *m, struct error **err);
int confirm_run(struct migration *m, struct error **err);
int offline_run(struct migration *m, struct error **err);

/* Brings the VM back to where it was, and the destination too. */
void migration_rollback(struct migration *m);

/*
 * Waits for whatever comes next: a QEMU event, a word of the destination, the relay, the deadline.
 * Returns 0 to look again (also when the deadline passed); -1 when the move cannot go on:
 * ERROR_CANCELLED, source QEMU gone, destination failed or unreachable, stream broken.
 */
int migration_wait(struct migration *m, int64_t deadline_ns, struct error **err);

/* Waits once for an answer that may take `ms` from `since_ns` on, or from when the stream had a
 * connection again: ERROR_TIMEOUT, with `late` as message, after that. */
int migration_wait_answer(struct migration *m, int64_t since_ns, int64_t ms, const char *late,
                          struct error **err);
/* One call of a method that may be called twice: again when the connection breaks, until the
 * destination has been lost for too long. `parameters` is taken over. */
int migration_call(struct migration *m, const char *method, json_t *parameters, json_t **reply,
                   struct error **err);

/* Asks QEMU how far it is and publishes it. */
int migration_sample(struct migration *m, struct error **err);
void migration_publish(struct migration *m);
void migration_enter(struct migration *m, enum migrate_phase phase);
void migration_note(struct migration *m, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* For the report: what is not as asked, though the move completes. */
void migration_warn(struct migration *m, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The status QEMU's last MIGRATION event gave, copied into `status`. */
void migration_qemu_status(struct migration *m, char status[32]);
/* QEMU says "failed" or "cancelled": why, as far as either side knows. Returns -1. */
int migration_qemu_failure(struct migration *m, struct error **err);

/* handover.c: asks the destination until it says how the job ended. 0: it owns the VM. -1: it never
 * ran it (m->committed is false then), or the agent is ending. */
int handover_resolve(struct migration *m, struct error **err);

/* The destination's own durable word on how a job ended: 1 it owns the VM, 0 it never ran it, -1 it
 * cannot be asked or has not decided. */
int handover_ask(struct store *store, const struct peer *peer, const char *job, int cancel_fd,
                 struct error **err);

/* decide.c. Decisions are taken from here on, or no more. */
void decide_open(struct migration *m, bool in_doubt);
/* Is there one? Also takes back the signal that told so. */
enum decision decide_taken(struct migration *m);
/* Writes down that the VM runs here: -1 when that failed and nothing has changed; 0 with the reason
 * for the report in *err. */
int decide_here(struct migration *m, struct error **err);
/* The VM is the other host's, by decision. */
void decide_there(struct migration *m);

/* confirm.c: with m->closing, has closing.c go on. */
void confirm_rest(struct migration *m);

/* post_copy.c */
int post_copy_start(struct migration *m, struct error **err);
/* The guest runs at the destination: sends what is left, and begins the stream anew as often as it
 * takes. -1: the agent ends, or a QEMU did and the guest is lost (then m->committed is false). */
int post_copy_finish(struct migration *m, struct error **err);
/* The stream flows, over the relay there is or a new one: 0. 1: the destination needs none, it has
 * everything. -1: it does not flow now; or the guest is lost (then m->committed is false). */
int post_copy_carry_on(struct migration *m, struct error **err);
/* One question to the destination, Recover of io.mudanza.Peer. */
struct post_copy_question {
    const char *job, *stream;
    bool gone;      /* our QEMU has ended */
    uint64_t given; /* so much of what the QEMU there said has ours been given */
};
struct post_copy_reply {
    enum { POST_COPY_READY, POST_COPY_COMPLETE, POST_COPY_LOST } answer;
    uint64_t given; /* ready: so much of the stream has the QEMU there been given */
};
int post_copy_ask(struct store *store, const struct peer *peer, const struct post_copy_question *q,
                  int cancel_fd, struct post_copy_reply *reply, struct error **err);
/* Our QEMU is in the middle of post-copy, where it cannot be cancelled. */
bool post_copy_way_back_needed(struct migration *m);
/* The destination never ran the guest: has QEMU complete its migration to nowhere, so that it can
 * run the guest again, with all of its memory. The relay must be gone. */
int post_copy_way_back(struct migration *m, struct error **err);

json_t *report_make(const struct migration *m, enum migrate_outcome outcome,
                    const struct error *why);
json_t *progress_make(const struct migration *m);

/* stream_report.c: what became of the stream on its way; NULL before there was one. */
json_t *stream_report_make(const struct migration *m, const struct relay_status *relayed);

/* Waits until the destination has loaded everything. */
int handover_await_loaded(struct migration *m, struct error **err);

/* verify.c: compares both RAMs through the destination's digests, and with m->mends puts right what
 * differs. 0 when they are equal then. */
int verify_key_make(uint8_t key[16], char hex[33], struct error **err);
int verify_run(struct migration *m, struct error **err);

#endif
