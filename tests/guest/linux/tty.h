/* SPDX-License-Identifier: Apache-2.0 */
/* The port of serial.h as a terminal of Linux. */
#ifndef TTY_H
#define TTY_H

/* Opens /dev/NAME raw. Without it the guest is mute: whatever is sent goes nowhere. */
void tty_open(const char *name);

#endif
