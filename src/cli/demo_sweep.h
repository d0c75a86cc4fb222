/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gives back what a demo occupies, whoever lives to do it.
 *
 * A demo owns one directory, the two network namespaces that are named after it, and the processes
 * in them: agents and QEMUs, which outlive their agent by design but cannot leave their namespace.
 * So all of it can be found from the directory's name alone, by the demo itself or, when the demo
 * is killed, by its watcher: a process that does nothing but hold the other end of a socket.
 */
#ifndef CLI_DEMO_SWEEP_H
#define CLI_DEMO_SWEEP_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"

#define DEMO_SWEEP_HOSTS 2
extern const char *const demo_sweep_hosts[DEMO_SWEEP_HOSTS]; /* "alpha", "beta" */

/* The namespace of a host of the demo in that directory. Owned by the caller. */
char *demo_sweep_namespace(const char *directory, const char *host);

/* Kills the processes in the demo's namespaces, and what they start meanwhile; removes the
 * namespaces, then the directory. What is gone already is fine. Returns 0, or -1 when something
 * stays. */
int demo_sweep(const char *directory, struct error **err);

/* The watcher of one demo. */
struct demo_watcher {
    pid_t pid;
    int lifeline; /* -1: none runs */
};

/* Starts it. To be called before there is a second thread. */
int demo_watcher_start(struct demo_watcher *watcher, const char *directory, struct error **err);
/* Sends it home. `swept`: there is nothing left for it to do. */
void demo_watcher_stop(struct demo_watcher *watcher, bool swept);

#endif
