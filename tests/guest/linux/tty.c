/* SPDX-License-Identifier: Apache-2.0 */
/* The serial port as a terminal of Linux; see tty.h and ../serial.h. */
#include "tty.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "../serial.h"

static int fd = -1;
static uint8_t queue[1024]; /* what the terminal did not take yet, `queued` bytes */
static uint32_t queued;

void tty_open(const char *name)
{
    struct termios settings;
    char path[80];

    (void)snprintf(path, sizeof(path), "/dev/%s", name);
    fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || tcgetattr(fd, &settings) < 0)
        return;
    cfmakeraw(&settings);
    cfsetspeed(&settings, B115200);
    tcsetattr(fd, TCSANOW, &settings);
}

static void tty_push(void)
{
    ssize_t sent = fd < 0 ? (ssize_t)queued : write(fd, queue, queued);

    if (sent > 0) {
        queued -= (uint32_t)sent;
        memmove(queue, queue + sent, queued);
    }
}

bool serial_send(const void *bytes, uint32_t size)
{
    if (size > sizeof(queue) - queued)
        return false;
    memcpy(queue + queued, bytes, size);
    queued += size;
    tty_push();
    return true;
}

int serial_poll(void)
{
    uint8_t byte;

    tty_push();
    return fd >= 0 && read(fd, &byte, 1) == 1 ? byte : -1;
}

bool serial_idle(void)
{
    int waiting = 0;

    if (fd >= 0)
        ioctl(fd, TIOCOUTQ, &waiting);
    return queued == 0 && waiting == 0;
}
