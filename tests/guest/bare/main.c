/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bare-metal test guest: a multiboot kernel that writes and checks memory and says so on COM1.
 *
 * 32-bit code without paging, SSE, iret or anything else that a KVM which emulates every
 * instruction might lack. One loop does everything; the PIT's interrupt only ends its sleep.
 */
#include <stddef.h>

#include "../loop.h"
#include "../timer.h"
#include "io.h"
#include "uart.h"

#define MULTIBOOT_LOADED  0x2badb002u
#define MULTIBOOT_MEMORY  0x1u
#define MULTIBOOT_CMDLINE 0x4u
#define REGION_ALIGN      0x200000u
#define COMMAND_LINE_MAX  1024u
#define REFUSE_PERIOD_MS  50u

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

bool loop_power_button(void)
{
    return (io_in16(PM1_STATUS) & PM1_POWER_BUTTON) != 0;
}

const char *loop_trouble(void)
{
    return NULL; /* there is nothing but memory */
}

_Noreturn static void main_power_off(void)
{
    io_out16(PM1_CONTROL, PM1_SLEEP_S5);
    for (;;)
        timer_wait();
}

_Noreturn static void main_refuse(const char *what, const char *word)
{
    loop_refuse(what, word);
    main_power_off();
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
    timer_open(wrong == NULL ? options->heartbeat_ms : REFUSE_PERIOD_MS);
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

void main_start(uint32_t magic, const struct multiboot_info *info)
{
    struct options options;

    uart_open();
    if (magic != MULTIBOOT_LOADED || (info->flags & MULTIBOOT_MEMORY) == 0 ||
        (info->flags & MULTIBOOT_CMDLINE) == 0)
        return;
    io_out16(PM1_ENABLE, PM1_POWER_BUTTON);
    main_options(info, &options);
    engine_open(&engine, &options, main_region(info, &options.work));
    loop_run(&engine, "bare");
    main_power_off();
}
