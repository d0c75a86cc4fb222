/* SPDX-License-Identifier: Apache-2.0 */
/* Runs the program for tests: with standard error on a pipe or a terminal that can be read while it
 * runs. */
#ifndef CLI_RUNNER_H
#define CLI_RUNNER_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/json.h"
#include "base/text.h"

/* One run. Zero at first; runner_clear ends what still runs, so that a failed test leaves nothing.
 */
struct runner {
    const char *program;
    const char *socket;     /* MUDANZA_CONNECT of the run; NULL: unset */
    const char *input;      /* standard input; NULL: empty */
    unsigned short columns; /* of a terminal on standard error; 0: a pipe */
    bool no_colour;         /* NO_COLOR of the run */
    bool nohup;             /* SIGHUP is ignored, as nohup(1) does it */
    bool full;              /* standard output is a device that is always full */
    pid_t pid;              /* 0: none runs */
    int out, err;           /* what it writes: a file in memory; a pipe or terminal */
    struct text stdout_text, stderr_text;
    int status; /* of the last run: exit status, or 256 + signal */
};

/* Starts it with the arguments, ended by NULL. */
void runner_start(struct runner *runner, const char *const arguments[]);
/* Reads standard error until `text` came there. Fails the test when the program ends before. */
void runner_await(struct runner *runner, const char *text);
void runner_signal(struct runner *runner, int number);
/* Waits for its end; then the texts and the status are whole. Returns the status. */
int runner_finish(struct runner *runner);
void runner_clear(struct runner *runner);

/* Standard output as JSON: fails the test when it is not exactly one line with one object. Owned by
 * the caller. */
json_t *runner_json(const struct runner *runner);

/* The same in one step. */
#define RUN(runner, ...)                                                                           \
    (runner_start(runner, (const char *const[]){__VA_ARGS__, NULL}), runner_finish(runner))

#endif
