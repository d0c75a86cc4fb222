/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the destination tells of a job (Receive), in a thread of its own: a connection that breaks
 * is made again, and the destination asked to go on where it was.
 */
#ifndef MIGRATE_FOLLOWER_H
#define MIGRATE_FOLLOWER_H

#include "base/json.h"
#include "migrate/migration.h"
#include "migrate/peer.h"

struct follower;

/* Starts the thread, which connects and asks; so the destination must have the job. `peer` and
 * `job` must outlive it. */
struct follower *follower_start(const struct migrate_context *context, const struct peer *peer,
                                const char *job, struct error **err);

/* An eventfd: readable when follower_next has something to say. */
int follower_event_fd(const struct follower *follower);

/* The next event: 1 (owned by the caller), 0 none now, -1 when none comes any more: the destination
 * says that it does not know the job, or could not be reached for peer_lost_ms. */
int follower_next(struct follower *follower, json_t **event, struct error **err);

/* The network was away: what looks like a connection may be none any more. */
void follower_renew(struct follower *follower);

/* Ends the thread, closes, frees. NULL is fine. */
void follower_stop(struct follower *follower);

#endif
