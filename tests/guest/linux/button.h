/* SPDX-License-Identifier: Apache-2.0 */
/* The ACPI power button, as an input device of Linux. */
#ifndef BUTTON_H
#define BUTTON_H

/* Opens every input device there is now (the modules evdev and button are loaded). */
void button_open(void);

#endif
