/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a guest: heartbeats, commands and the engine's steps in one loop. Freestanding; the
 * guest behind it gives serial.h, timer.h and the two functions below. */
#ifndef LOOP_H
#define LOOP_H

#include "engine.h"

/* True once the ACPI power button was pressed. */
bool loop_power_button(void);

/* What has gone wrong outside of memory, in one word; NULL when nothing has. Never freed. */
const char *loop_trouble(void);

/* Says hello as `guest` and lives until told to stop ('q', the power button); returns once BYE has
 * gone to the port. Before it: timer_open(heartbeat_ms). */
void loop_run(struct engine *engine, const char *guest);

/* Says "ERR what=word" (word ends at a space or NUL) again and again, since whoever listens may
 * come late; returns when told to stop. Before it: timer_open. */
void loop_refuse(const char *what, const char *word);

#endif
