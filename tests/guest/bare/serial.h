/* SPDX-License-Identifier: Apache-2.0 */
/* COM1 by polling, with a queue: a port whose reader is slow delays heartbeats, but holds up
 * neither the writer nor the check, and loses nothing. */
#ifndef SERIAL_H
#define SERIAL_H

#include <stdbool.h>
#include <stdint.h>

void serial_open(void);

/* Queues `size` bytes (at most BEAT_LINE_MAX); false when the queue has no room for all. */
bool serial_send(const void *bytes, uint32_t size);

/* Hands queued bytes to the port as far as it takes them. Returns a byte that came in, or -1. */
int serial_poll(void);

/* True when all that was sent has gone to the port. */
bool serial_idle(void);

#endif
