/* SPDX-License-Identifier: Apache-2.0 */
/* SIGINT, SIGTERM and SIGHUP as a descriptor to poll, for as long as a scope lasts. */
#ifndef CLI_SIGNALS_H
#define CLI_SIGNALS_H

#include <signal.h>

#include "base/error.h"

struct signals {
    int fd; /* readable when one of them came */
    sigset_t before;
};

/* Blocks them in this thread, except those that are ignored (nohup): they stay ignored. */
int signals_open(struct signals *signals, struct error **err);
/* The next one, without waiting; 0 when there is none. */
int signals_take(const struct signals *signals);
/* Restores what was before. Takes what is still queued, so that it does not strike late. */
void signals_close(struct signals *signals);

#endif
