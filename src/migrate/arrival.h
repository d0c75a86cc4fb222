/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A move, seen from its destination: one thread a job that feeds the arriving QEMU, takes the VM
 * over once the source has committed, and tells what happened. It goes on when the connection that
 * follows it breaks: what was decided is in the journal.
 */
#ifndef MIGRATE_ARRIVAL_H
#define MIGRATE_ARRIVAL_H

#include "base/error.h"
#include "base/json.h"
#include "migrate/migration.h"
#include "wire/link.h"

struct arrival;

/* What the two ends of a move agree on. */
struct arrival_terms {
    unsigned connections; /* of the stream */
    uint32_t slots;       /* of the stream engine */
    bool copies;          /* the guest's RAM is read while it fills */
};

/*
 * Prepares a job: reserves memory, writes the journal's entry, starts QEMU, starts the thread.
 * `parameters` are Prepare's; `peer` is who asks. Takes nothing over. *terms is what it grants.
 */
int arrival_prepare(struct migrate_context *context, const struct store_host *peer,
                    const json_t *parameters, struct arrival_terms *terms, struct error **err);

/* Takes up a job that an earlier agent has left as owner. */
int arrival_resume(struct migrate_context *context, const struct journal_entry *entry,
                   struct error **err);

/* The running job, with a reference; only for the peer that prepared it. */
struct arrival *arrival_find(struct migrate_context *context, const char *job,
                             const char *fingerprint, struct error **err);
/* The same for one that is to end: if it is not there, a Prepare of it that is still on its way (it
 * may have been overtaken) is refused. NULL without an error. */
struct arrival *arrival_find_or_bar(struct migrate_context *context, const char *job,
                                    const char *fingerprint);
void arrival_put(struct arrival *arrival);

/* A data connection of that stream, the job's own or a later one of post-copy, is here, and
 * `resume` is what it began with. Takes `tls` over, also on error; then it was told that it need
 * not come again. */
int arrival_attach(struct migrate_context *context, const char *stream, const char *fingerprint,
                   struct tls *tls, const struct frame_resume *resume, struct error **err);

/* The source follows the job anew: whoever followed it before gets no more events. */
unsigned arrival_follow(struct arrival *arrival);
/* Event number `index` (from 0) of Receive, waiting for it; *last when none follows. `turn` is from
 * arrival_follow. Owned by the caller. NULL with ERROR_STATE when the job ended without another
 * one, or somebody else follows it by now. */
json_t *arrival_event(struct arrival *arrival, size_t index, unsigned turn, bool *last,
                      struct error **err);

/* Undoes the job and returns when that is done. ERROR_STATE once the VM is ours. */
int arrival_abort(struct arrival *arrival, struct error **err);

/* The VM is ours and its guest was started. */
bool arrival_running(struct arrival *arrival);

/*
 * Post-copy: the source has lost the connection, and makes a new one with the id `stream`; or its
 * QEMU is gone. `given`: so much of the answers of the QEMU here has its QEMU. *answer as in
 * io.mudanza.Peer's Recover, and with "ready" *ours, how much of the stream QEMU here has.
 * ERROR_STATE when the job is not that far. Asks nothing of QEMU, which may wait for that stream.
 */
int arrival_recover(struct arrival *arrival, const char *stream, bool gone, uint64_t given,
                    const char **answer, uint64_t *ours, struct error **err);

/* Returns once the VM is stored, with its definition if it is to have one; or with the reason why
 * that failed, while it is tried again. A VM that was lost in post-copy is stored only once the
 * source says its last word, with `last`: until then it may ask what became of the guest. */
int arrival_await_stored(struct arrival *arrival, bool last, struct error **err);
/* Returns once nothing of the job is left to do here. */
void arrival_await_end(struct arrival *arrival);

/* The VM's RAM between `loaded` and `running`, with verification; hex, owned by caller. */
char *arrival_page_digests(struct arrival *arrival, int64_t chunk, struct error **err);
char *arrival_read_page(struct arrival *arrival, int64_t offset, struct error **err);
int arrival_write_page(struct arrival *arrival, int64_t offset, const char *hex,
                       struct error **err);

/* Memory that jobs under way will still take, bytes. */
uint64_t arrival_reserved_memory(struct migrate_context *context);

/* Has every job that is not decided end, and waits until none is listed. */
void arrival_end_all(struct migrate_context *context);

#endif
