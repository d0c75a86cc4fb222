/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mark of a job at its destination: a file in the run directory that says "`cont` may have been
 * sent". It survives the agent but not the host, and costs no fsync (docs/handover.md, R17).
 */
#ifndef MIGRATE_MARK_H
#define MIGRATE_MARK_H

#include <stdbool.h>

#include "base/error.h"

#define MARK_BOOT_ID_SIZE 37 /* text with its NUL */

/* Makes the folder of the marks. To be called once, before any other. */
int mark_init(const char *run_dir, struct error **err);
int mark_make(const char *run_dir, const char *job, struct error **err);
/* Fine when there is none. */
void mark_remove(const char *run_dir, const char *job);

/*
 * May `cont` have been sent? `boot_id`: of the boot that wrote the job's record; in another one an
 * absent mark says nothing. True when it cannot be found out.
 */
bool mark_may_have_run(const char *run_dir, const char *job, const char *boot_id);

/* Calls back for each mark there is; the callback may remove it. */
void mark_each(const char *run_dir, void (*visit)(void *context, const char *job), void *context);

/* This boot of the host: another one after each start of the kernel. */
int mark_boot_id(char text[MARK_BOOT_ID_SIZE], struct error **err);

#endif
