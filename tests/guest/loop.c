/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a guest; see loop.h. */
#include "loop.h"

#include <stddef.h>

#include "serial.h"
#include "timer.h"

#define POLL_US         2000u /* the port and the power button, when no heartbeat is due */
#define ERROR_REPEAT_US 1000000u
#define WORD_MAX        64u

static void loop_send(const struct beat_line *line)
{
    while (!serial_send(line->text, line->length))
        serial_poll();
}

static void loop_error(const char *what, const char *word)
{
    struct beat_line line;

    beat_begin(&line, "ERR");
    beat_word(&line, what, word);
    beat_end(&line);
    loop_send(&line);
}

static void loop_bye(const struct engine *engine)
{
    struct beat_line line;

    engine_bye(engine, &line);
    loop_send(&line);
    while (!serial_idle())
        serial_poll();
}

/* Sends the next heartbeat; when the port is behind, it keeps its number and goes later. */
static void loop_beat(struct engine *engine)
{
    struct beat_line line;

    if (serial_idle())
        serial_send(line.text, engine_beat(engine, &line));
}

/* Commands and the power button; false when it is time to stop. */
static bool loop_poll(struct engine *engine)
{
    int command = serial_poll();
    struct beat_line line;

    if (command >= 0 && engine_command(engine, (char)command, &line))
        loop_send(&line);
    return command != 'q' && !loop_power_button();
}

void loop_run(struct engine *engine, const char *guest)
{
    uint32_t interval = engine->options.heartbeat_ms * 1000, early = interval / 4;
    uint32_t beat_us = interval, poll_us = 0, grant_us = 0;
    struct beat_line line;
    bool worked = true, troubled = false;

    engine_hello(engine, guest, &line);
    loop_send(&line);
    for (;;) {
        uint32_t us = timer_lap_us();

        if (worked)
            engine_tune(engine, us);
        beat_us += us;
        poll_us += us;
        grant_us += us;
        if (grant_us >= 1000) {
            engine_grant(engine, grant_us / 1000);
            grant_us %= 1000;
        }
        if (engine_event(engine, &line))
            loop_send(&line);
        if (beat_us >= interval || (!worked && beat_us >= interval - early)) {
            loop_beat(engine);
            beat_us = 0;
            poll_us = POLL_US;
        }
        if (poll_us >= POLL_US) {
            if (!loop_poll(engine))
                break;
            poll_us = 0;
        }
        if (!troubled && loop_trouble() != NULL) {
            loop_error("trouble", loop_trouble());
            troubled = true;
        }
        worked = engine_step(engine);
        if (!worked)
            timer_wait();
    }
    loop_bye(engine);
}

void loop_refuse(const char *what, const char *word)
{
    uint32_t length = 0, us = ERROR_REPEAT_US;
    char copy[WORD_MAX];

    while (*word > ' ' && length < sizeof(copy) - 1)
        copy[length++] = *word++;
    copy[length] = 0;
    do {
        if (us >= ERROR_REPEAT_US) {
            loop_error(what, copy);
            us = 0;
        }
        timer_wait();
        us += timer_lap_us();
    } while (serial_poll() != 'q' && !loop_power_button());
}
