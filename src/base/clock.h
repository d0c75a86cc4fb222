/* SPDX-License-Identifier: Apache-2.0 */
/* Monotonic time in nanoseconds. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

#define NS_PER_US INT64_C(1000)
#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S  INT64_C(1000000000)

/* A deadline that never passes. */
#define DEADLINE_NEVER INT64_MAX

/* CLOCK_MONOTONIC now. */
int64_t clock_now_ns(void);

/* The deadline `ms` milliseconds from now. */
int64_t clock_deadline_ns(int64_t ms);

/* Milliseconds until `deadline_ns` for poll(2): rounded up, 0 when passed, -1 for never. */
int clock_poll_ms(int64_t deadline_ns);

#endif
