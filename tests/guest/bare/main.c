/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bare-metal test guest: a multiboot kernel that writes and checks memory and says so on COM1.
 *
 * 32-bit code without paging, SSE, iret or anything else that a KVM which emulates every
 * instruction might lack. One loop does everything; the PIT's interrupt only ends its sleep.
 */
#include <stddef.h>

#include "../engine.h"
#include "io.h"
#include "serial.h"
#include "timer.h"

#define MULTIBOOT_LOADED  0x2badb002u
#define MULTIBOOT_MEMORY  0x1u
#define MULTIBOOT_CMDLINE 0x4u
#define REGION_ALIGN      0x200000u
#define COMMAND_LINE_MAX  1024u
#define POLL_US           2000u /* the port and the power button, when no heartbeat is due */
#define ERROR_REPEAT_US   1000000u

/* ACPI registers where QEMU's firmware puts them, on pc and q35 alike (ACPI 6.4, section 4.8.3). */
#define PM1_STATUS       0x600
#define PM1_ENABLE       0x602
#define PM1_CONTROL      0x604
#define PM1_POWER_BUTTON 0x0100
#define PM1_SLEEP_S5     0x2000 /* QEMU's type for S5 is 0 */

struct multiboot_info { /* its first fields */
    uint32_t flags;
    uint32_t mem_lower, mem_upper; /* KiB below 1 MiB, and from 1 MiB on */
    uint32_t boot_device;
    uint32_t cmdline;
};

extern char image_end[]; /* guest.ld */

void main_start(uint32_t magic, const struct multiboot_info *info);
void main_fault(void);

static struct engine engine;
static char command_line[COMMAND_LINE_MAX];

static void main_power_off(void)
{
    struct beat_line line;

    engine_bye(&engine, &line);
    while (!serial_send(line.text, line.length))
        serial_poll();
    while (!serial_idle())
        serial_poll();
    io_out16(PM1_CONTROL, PM1_SLEEP_S5);
}

/* Says why nothing will happen, again and again: whoever listens may come late. */
static void main_refuse(const char *what, const char *word)
{
    struct beat_line line;
    char copy[40];
    uint32_t length = 0, us = ERROR_REPEAT_US;

    while (*word > ' ' && length < sizeof(copy) - 1)
        copy[length++] = *word++;
    copy[length] = 0;
    beat_begin(&line, "ERR");
    beat_word(&line, what, copy);
    beat_end(&line);
    for (;;) {
        if (us >= ERROR_REPEAT_US && serial_send(line.text, line.length))
            us = 0;
        if (serial_poll() == 'q')
            main_power_off();
        timer_wait();
        us += timer_lap_us();
    }
}

void main_fault(void)
{
    static const char text[] = "ERR exception\n";

    io_out_bytes(0x3f8, text, sizeof(text) - 1);
}

/* Takes the command line without its first word, the name of this file. */
static void main_options(const struct multiboot_info *info, struct options *options)
{
    const char *from = (const char *)(uintptr_t)info->cmdline;
    uint32_t length = 0;
    const char *wrong;

    while (*from != 0 && *from != ' ')
        from++;
    while (length < COMMAND_LINE_MAX - 1 && from[length] != 0) {
        command_line[length] = from[length];
        length++;
    }
    options_default(options);
    wrong = options_parse(options, command_line, "");
    timer_open(wrong == NULL ? options->heartbeat_ms : POLL_US / 1000);
    if (wrong != NULL)
        main_refuse("option", wrong);
}

/* Where the region for `config` is: behind this program, below the end of memory. */
static void *main_region(const struct multiboot_info *info, const struct workset_config *config)
{
    uintptr_t start = ((uintptr_t)image_end + REGION_ALIGN - 1) / REGION_ALIGN * REGION_ALIGN;
    uintptr_t end = (uintptr_t)(info->mem_upper + 1024) * 1024, size = workset_size(config);

    if (size == 0 || info->mem_upper > UINT32_MAX / 1024 - 1024 || end < start ||
        end - start < size)
        main_refuse("memory", "too-small-for-mem+fill+zero");
    return (void *)start;
}

static void main_command(int byte)
{
    struct beat_line line;

    if (byte == 'q')
        main_power_off();
    else if (byte >= 0 && engine_command(&engine, (char)byte, &line))
        serial_send(line.text, line.length);
}

/* Sends the next heartbeat; when the port is behind, it keeps its number and goes later. */
static void main_beat(void)
{
    struct beat_line line;

    if (serial_idle())
        serial_send(line.text, engine_beat(&engine, &line));
}

static void main_poll(void)
{
    main_command(serial_poll());
    if ((io_in16(PM1_STATUS) & PM1_POWER_BUTTON) != 0)
        main_power_off();
}

static void main_loop(void)
{
    uint32_t interval = engine.options.heartbeat_ms * 1000, early = interval / 4;
    uint32_t beat_us = interval, poll_us = 0, grant_us = 0;
    struct beat_line line;
    bool worked = true;

    for (;;) {
        uint32_t us = timer_lap_us();

        if (worked)
            engine_tune(&engine, us);
        beat_us += us;
        poll_us += us;
        grant_us += us;
        if (grant_us >= 1000) {
            engine_grant(&engine, grant_us / 1000);
            grant_us %= 1000;
        }
        if (engine_event(&engine, &line))
            serial_send(line.text, line.length);
        if (beat_us >= interval || (!worked && beat_us >= interval - early)) {
            main_beat();
            beat_us = 0;
            poll_us = POLL_US;
        }
        if (poll_us >= POLL_US) {
            main_poll();
            poll_us = 0;
        }
        worked = engine_step(&engine);
        if (!worked)
            timer_wait();
    }
}

void main_start(uint32_t magic, const struct multiboot_info *info)
{
    struct options options;
    struct beat_line line;

    serial_open();
    if (magic != MULTIBOOT_LOADED || (info->flags & MULTIBOOT_MEMORY) == 0 ||
        (info->flags & MULTIBOOT_CMDLINE) == 0)
        return;
    io_out16(PM1_ENABLE, PM1_POWER_BUTTON);
    main_options(info, &options);
    engine_open(&engine, &options, main_region(info, &options.work));
    engine_hello(&engine, "bare", &line);
    serial_send(line.text, line.length);
    main_loop();
}
