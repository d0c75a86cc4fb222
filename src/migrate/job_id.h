/* SPDX-License-Identifier: Apache-2.0 */
/* A job's identity: a random UUID, which is also the epoch of its handover. */
#ifndef MIGRATE_JOB_ID_H
#define MIGRATE_JOB_ID_H

#include <stdint.h>

#include "base/error.h"

#define JOB_ID_SIZE 37 /* text with its NUL */

/* A new random one (RFC 9562 version 4), from getrandom(2). */
int job_id_make(char text[JOB_ID_SIZE], struct error **err);
int job_id_to_bytes(const char *text, uint8_t bytes[16], struct error **err);
void job_id_from_bytes(const uint8_t bytes[16], char text[JOB_ID_SIZE]);

#endif
