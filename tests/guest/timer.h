/* SPDX-License-Identifier: Apache-2.0 */
/* Time as loop.c needs it, without burning a host's processor; each guest implements it
 * (bare/timer.c, linux/timer.c). */
#ifndef TIMER_H
#define TIMER_H

#include <stdint.h>

#define TIMER_PERIOD_MS_MAX 50u

/* Starts the clock and a tick each `period_ms` milliseconds, or each TIMER_PERIOD_MS_MAX when that
 * is less. */
void timer_open(uint32_t period_ms);

/* Microseconds since the last call, or since timer_open. The part below a microsecond is kept for
 * the next call. */
uint32_t timer_lap_us(void);

/* Sleeps until the next tick; returns at once if there was one meanwhile. */
void timer_wait(void);

#endif
