/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TCP services that show a lost, repeated or changed byte: port 7 sends back what comes in, port 19
 * sends an endless stream of records "%015llx\n", each its own number, so that every position of
 * the stream is recognisable. Each connection has a thread.
 */
#ifndef NETWORK_H
#define NETWORK_H

#define NETWORK_ECHO   7
#define NETWORK_STREAM 19

/* Gives `interface` the address "ADDRESS/PREFIX" (IPv4), brings it up, starts the services.
 * Returns NULL, or what failed, in one word. */
const char *network_open(const char *interface, const char *address);

#endif
