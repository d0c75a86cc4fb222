/* SPDX-License-Identifier: Apache-2.0 */
/* Time from CLOCK_MONOTONIC and a timerfd; see ../timer.h. */
#include "../timer.h"

#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

static int fd = -1;
static int64_t last_ns;

static int64_t timer_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

void timer_open(uint32_t period_ms)
{
    uint32_t period = period_ms < TIMER_PERIOD_MS_MAX ? period_ms : TIMER_PERIOD_MS_MAX;
    struct itimerspec tick = {.it_value = {0, period * 1000000L},
                              .it_interval = {0, period * 1000000L}};

    if (fd < 0)
        fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    timerfd_settime(fd, 0, &tick, NULL);
    last_ns = timer_now_ns();
}

uint32_t timer_lap_us(void)
{
    int64_t us = (timer_now_ns() - last_ns) / 1000;

    if (us > UINT32_MAX)
        us = UINT32_MAX;
    last_ns += us * 1000;
    return (uint32_t)us;
}

void timer_wait(void)
{
    uint64_t ticks;

    while (read(fd, &ticks, sizeof(ticks)) < 0)
        continue;
}
