/* SPDX-License-Identifier: Apache-2.0 */
/* Time from the time stamp counter, measured against the PIT, and a way to wait without burning a
 * host's processor. */
#ifndef TIMER_H
#define TIMER_H

#include <stdint.h>

/* Measures the counter (10 ms), then lets the PIT end a timer_wait each `period_ms` milliseconds,
 * or each 50 when that is less. */
void timer_open(uint32_t period_ms);

/* Microseconds since the last call, or since timer_open. The part below a microsecond is kept for
 * the next call. */
uint32_t timer_lap_us(void);

/* Sleeps until the next interrupt of the PIT; returns at once if there was one meanwhile. In
 * start.S, next to the handler that ends it. */
void timer_wait(void);

#endif
