/* SPDX-License-Identifier: Apache-2.0 */
/* What the bare-metal guest does with COM1 beyond serial.h. */
#ifndef UART_H
#define UART_H

/* 115200 baud, 8 bits, no parity, FIFOs on and empty. First of all. */
void uart_open(void);

#endif
