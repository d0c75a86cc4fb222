/* SPDX-License-Identifier: Apache-2.0 */
/* Monotonic time in nanoseconds. */
#include "base/clock.h"

#include <limits.h>
#include <time.h>

int64_t clock_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

int64_t clock_deadline_ns(int64_t ms)
{
    return clock_now_ns() + ms * NS_PER_MS;
}

int clock_poll_ms(int64_t deadline_ns)
{
    if (deadline_ns == DEADLINE_NEVER)
        return -1;
    int64_t left_ns = deadline_ns - clock_now_ns();
    if (left_ns <= 0)
        return 0;
    int64_t left_ms = (left_ns + NS_PER_MS - 1) / NS_PER_MS;
    return left_ms > INT_MAX ? INT_MAX : (int)left_ms;
}
