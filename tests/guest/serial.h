/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The serial port as loop.c needs it; each guest implements it (bare/serial.c, linux/serial.c).
 *
 * There is a queue: a port whose reader is slow delays heartbeats, but holds up neither the writer
 * nor the check, and loses nothing.
 */
#ifndef SERIAL_H
#define SERIAL_H

#include <stdbool.h>
#include <stdint.h>

/* Queues `size` bytes (at most BEAT_LINE_MAX); false when the queue has no room for all. */
bool serial_send(const void *bytes, uint32_t size);

/* Hands queued bytes to the port as far as it takes them. Returns a byte that came in, or -1. */
int serial_poll(void);

/* True when all that was sent has gone to the port. */
bool serial_idle(void);

#endif
