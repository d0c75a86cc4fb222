/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time from the time stamp counter; see ../timer.h. PIT (Intel 8254), PICs (Intel 8259A) and the
 * gates of an IDT as in the data sheets and Intel's Software Developer's Manual, volume 3,
 * section 6.11.
 */
#include "../timer.h"

#include "io.h"

#define PIT_HZ        1193182u
#define PIT_CHANNEL_0 0x40
#define PIT_CHANNEL_2 0x42
#define PIT_COMMAND   0x43
#define SYSTEM_PORT_B                                                                              \
    0x61 /* bit 0: gate of channel 2, bit 1: speaker, bit 5: channel 2's output                    \
          */
#define MEASURE_MS 10u

#define PIC_1      0x20
#define PIC_2      0xa0
#define VECTOR_IRQ 0x20u /* vectors of the 16 interrupt lines */

#define CODE_SEGMENT   0x08u
#define INTERRUPT_GATE 0x8e00u

struct gate {
    uint16_t offset_low, segment, type, offset_high;
};

struct __attribute__((packed)) gate_table {
    uint16_t limit;
    uint32_t base;
};

void timer_interrupt(void); /* start.S */
void fault_interrupt(void);

static struct gate gates[VECTOR_IRQ + 16];
static uint32_t ticks_per_us;
static uint64_t last;

static void timer_count(uint16_t channel, uint8_t command, uint32_t count)
{
    io_out8(PIT_COMMAND, command);
    io_out8(channel, (uint8_t)count);
    io_out8(channel, (uint8_t)(count >> 8));
}

/* Counts the time stamp counter over MEASURE_MS of channel 2, which counts once (mode 0). */
static void timer_measure(void)
{
    uint64_t start;

    io_out8(SYSTEM_PORT_B, (uint8_t)((io_in8(SYSTEM_PORT_B) & ~2) | 1));
    timer_count(PIT_CHANNEL_2, 0xb0, PIT_HZ / 1000 * MEASURE_MS);
    start = io_tsc();
    while ((io_in8(SYSTEM_PORT_B) & 0x20) == 0)
        continue;
    ticks_per_us = (uint32_t)(io_tsc() - start) / (MEASURE_MS * 1000);
    if (ticks_per_us == 0)
        ticks_per_us = 1;
}

static void timer_gate(uint32_t vector, void (*handler)(void))
{
    uint32_t address = (uint32_t)(uintptr_t)handler;

    gates[vector] =
        (struct gate){(uint16_t)address, CODE_SEGMENT, INTERRUPT_GATE, (uint16_t)(address >> 16)};
}

static void timer_interrupts(void)
{
    struct gate_table table = {sizeof(gates) - 1, (uint32_t)(uintptr_t)gates};

    for (uint32_t vector = 0; vector < VECTOR_IRQ; vector++)
        timer_gate(vector, fault_interrupt);
    for (uint32_t line = 0; line < 16; line++)
        timer_gate(VECTOR_IRQ + line, timer_interrupt);
    __asm__ volatile("lidt %0" : : "m"(table));
    io_out8(PIC_1, 0x11); /* both PICs: initialise, */
    io_out8(PIC_2, 0x11);
    io_out8(PIC_1 + 1, VECTOR_IRQ); /* vectors, */
    io_out8(PIC_2 + 1, VECTOR_IRQ + 8);
    io_out8(PIC_1 + 1, 0x04); /* second PIC at line 2, */
    io_out8(PIC_2 + 1, 0x02);
    io_out8(PIC_1 + 1, 0x01); /* 8086 mode; */
    io_out8(PIC_2 + 1, 0x01);
    io_out8(PIC_1 + 1, 0xfe); /* only the PIT may interrupt */
    io_out8(PIC_2 + 1, 0xff);
}

_Static_assert(PIT_HZ *TIMER_PERIOD_MS_MAX / 1000 <= UINT16_MAX, "the PIT counts 16 bits");

void timer_open(uint32_t period_ms)
{
    uint32_t period = period_ms < TIMER_PERIOD_MS_MAX ? period_ms : TIMER_PERIOD_MS_MAX;

    timer_measure();
    timer_interrupts();
    timer_count(PIT_CHANNEL_0, 0x34, PIT_HZ * period / 1000); /* again and again (mode 2) */
    last = io_tsc();
}

uint32_t timer_lap_us(void)
{
    uint64_t passed = io_tsc() - last;
    uint32_t us = (passed >> 32 != 0 ? UINT32_MAX : (uint32_t)passed) / ticks_per_us;

    last += (uint64_t)us * ticks_per_us;
    if (passed >> 32 != 0)
        last = io_tsc();
    return us;
}
