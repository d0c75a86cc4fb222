/* SPDX-License-Identifier: Apache-2.0 */
/* The link of a move: how many connections, how much memory, how to reach the other host. */
#ifndef MIGRATE_DATA_LINK_H
#define MIGRATE_DATA_LINK_H

#include "migrate/migration.h"
#include "wire/link.h"

/* How many connections suit this host: 1 to DATA_LINK_CONNECTIONS_MAX. */
#define DATA_LINK_CONNECTIONS_MAX FRAME_SLOTS_MAX
unsigned data_link_connections(void);

/* Into how many channels QEMU writes its stream, so that what several connections carry does not
 * come out of one of its threads. 1: no multifd. */
struct migration;
unsigned data_link_channels(const struct migration *m);

/* Threads that compress: all cores but one, which the guests and QEMU need. */
unsigned data_link_threads(void);

/* Slots of the stream engine that the source asks for: what the move's memory allows, and no more
 * than the guest has pages. */
uint32_t data_link_slots(const struct migration *m);
/* What the destination gives of it, with so many bytes of memory free. */
uint32_t data_link_slots_granted(int64_t asked, uint64_t available);

/* For the link of `job`, moving `vm` to or from the host `peer`. The texts are borrowed. */
int data_link_options(const struct migrate_context *context, const char *vm, const char *peer,
                      const char *job, unsigned connections, struct link_options *options,
                      struct error **err);

/* The source's link_connect: the peer is looked up by its key each time, as its address may have
 * changed. Must not move while a link uses it. */
struct data_link_target {
    const struct migrate_context *context;
    const char *job, *fingerprint; /* borrowed */
};
struct tls *data_link_connect(void *target, int cancel_fd, int64_t deadline_ns, struct error **err);

#endif
