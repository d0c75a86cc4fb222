/* SPDX-License-Identifier: Apache-2.0 */
/* The ACPI power button; see button.h. */
#include "button.h"

#include <fcntl.h>
#include <linux/input.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#include "../loop.h"

#define DEVICES_MAX 16

static int devices[DEVICES_MAX];
static int n_devices;

void button_open(void)
{
    for (int i = 0; i < DEVICES_MAX; i++) {
        char path[32];
        int fd;

        (void)snprintf(path, sizeof(path), "/dev/input/event%d", i);
        fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        if (fd >= 0)
            devices[n_devices++] = fd;
    }
}

bool loop_power_button(void)
{
    struct input_event event;

    for (int i = 0; i < n_devices; i++)
        while (read(devices[i], &event, sizeof(event)) == (ssize_t)sizeof(event))
            if (event.type == EV_KEY && event.code == KEY_POWER && event.value == 1)
                return true;
    return false;
}
