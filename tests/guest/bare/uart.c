/* SPDX-License-Identifier: Apache-2.0 */
/* COM1 by polling; see ../serial.h. Registers as in the datasheet of National's PC16550D. */
#include "../serial.h"

#include "io.h"
#include "uart.h"

#define COM1      0x3f8
#define FIFO_SIZE 16u

#define LINE_STATUS_DATA_READY 0x01
#define LINE_STATUS_EMPTY      0x20 /* the transmit FIFO takes FIFO_SIZE bytes */

static struct {
    uint8_t bytes[1024]; /* from `first` on, `count` of them */
    uint32_t first, count;
} queue;

void uart_open(void)
{
    io_out8(COM1 + 1, 0x00); /* no interrupts */
    io_out8(COM1 + 3, 0x80); /* divisor: */
    io_out8(COM1 + 0, 0x01); /* 115200 baud */
    io_out8(COM1 + 1, 0x00);
    io_out8(COM1 + 3, 0x03); /* 8 bits, no parity, 1 stop bit */
    io_out8(COM1 + 2, 0x07); /* FIFOs on and empty */
    io_out8(COM1 + 4, 0x03); /* DTR, RTS */
}

bool serial_send(const void *bytes, uint32_t size)
{
    const uint8_t *from = bytes;

    if (queue.count == 0)
        queue.first = 0;
    if (size > sizeof(queue.bytes) - queue.first - queue.count)
        return false;
    for (uint32_t i = 0; i < size; i++)
        queue.bytes[queue.first + queue.count++] = from[i];
    return true;
}

int serial_poll(void)
{
    uint8_t status = io_in8(COM1 + 5);

    while (queue.count > 0 && (status & LINE_STATUS_EMPTY) != 0) {
        uint32_t size = queue.count < FIFO_SIZE ? queue.count : FIFO_SIZE;

        io_out_bytes(COM1, queue.bytes + queue.first, size);
        queue.first += size;
        queue.count -= size;
        if (queue.count > 0)
            status = io_in8(COM1 + 5);
    }
    return (status & LINE_STATUS_DATA_READY) != 0 ? io_in8(COM1) : -1;
}

bool serial_idle(void)
{
    return queue.count == 0;
}
