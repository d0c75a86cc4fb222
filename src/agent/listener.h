/* SPDX-License-Identifier: Apache-2.0 */
/* A listening socket with one thread that accepts, and one a connection. */
#ifndef AGENT_LISTENER_H
#define AGENT_LISTENER_H

#include "base/error.h"

struct listener;

/* How many connections may be open at once. */
#define LISTENER_CONNECTIONS_MAX 1024

/* Serves one connection on a thread of its own; takes `fd` over. Returns when it is over, or when
 * stop_fd is readable. */
typedef void listener_serve(void *context, int fd, int stop_fd);

/* Takes `fd` over, also on error. */
struct listener *listener_start(int fd, listener_serve *serve, void *context, struct error **err);

/* Accepts no more, has every connection end, waits for them, frees. NULL is fine. */
void listener_stop(struct listener *listener);

#endif
