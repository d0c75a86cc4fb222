/* SPDX-License-Identifier: Apache-2.0 */
/* What is left of a move at its source when nobody waits for it any more. */
#ifndef MIGRATE_CLOSING_H
#define MIGRATE_CLOSING_H

#include "migrate/migration.h"

/*
 * Brings a job's record of the source to its end, whatever it says: asks for the outcome of one
 * that is committed (one that is only prepared is void), closes the record, gives the destination
 * the last word; again and again, in a thread of its own. `vm` (NULL: it is gone here) is claimed
 * by the caller, whose claim passes to the thread, and ends with the committed record.
 */
int closing_start(struct migrate_context *context, const char *job, struct vm *vm,
                  struct error **err);

#endif
