/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stand-in for the agent, for tests of the program: serves io.mudanza, as its interface file
 * describes it, on a socket in a folder of its own, with canned answers. What it does with a call
 * follows from the name of the VM:
 *
 *     web        everything succeeds
 *     nobody     does not exist
 *     broken     its move fails in the plan phase with two problems
 *     doubtful   its move ends in doubt
 *     slow       its move waits until it is aborted
 *     stubborn   its move waits until the stand-in stops; an abort is refused
 *     fatal      the agent's end of the connection breaks during its move
 *     rude       its move sends a progress, then an error in place of the report
 *     chatty     its move sends 200 messages of one phase
 *     old        its last move is known, none runs
 */
#ifndef CLI_STANDIN_H
#define CLI_STANDIN_H

#include "base/json.h"

struct standin;

/* Starts it. Aborts the test when that fails. */
struct standin *standin_start(void);
void standin_stop(struct standin *standin);

/* Borrowed. */
const char *standin_socket(const struct standin *standin);

/* The parameters of the last call of a method (without the interface); owned by the caller, NULL
 * when it was not called. */
json_t *standin_call(struct standin *standin, const char *method);

/* Waits until a method was called. */
void standin_await(struct standin *standin, const char *method);

#endif
