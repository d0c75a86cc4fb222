/* SPDX-License-Identifier: Apache-2.0 */
/* How moves ended: a Report of io.mudanza for people, for programs, and as an exit status. */
#ifndef CLI_REPORT_H
#define CLI_REPORT_H

#include "base/json.h"
#include "base/text.h"
#include "cli/command.h"

/* Appends a table with one row for each report of the array. */
void report_table(const json_t *reports, struct text *out);

/*
 * Appends why one move did not complete: reason and hint, or the problems of the plan, one a line,
 * each with its hint. For a completed one, only what it warns of.
 */
void report_reason(const json_t *report, struct text *out);

/* Appends one line for each move of which it is known: what its stream became on its way. */
void report_stream(const json_t *reports, struct text *out);

/*
 * For --json: the API's enums with `-`, and the optional members always there, null when there is
 * nothing to say. Changes `report` and returns it.
 */
json_t *report_normalize(json_t *report);

/* COMMAND_DONE for completed, COMMAND_UNKNOWN for in doubt, else COMMAND_FAILED. */
enum command_status report_status(const json_t *report);

/* Prints it: with OUTPUT_JSON the object, else the table; what went wrong on standard error. */
void report_print(json_t *report, enum output output);

#endif
