/* SPDX-License-Identifier: Apache-2.0 */
/* A source's relay with multifd: QEMU's channels, read as they have something, merged into one. */
#ifndef MIGRATE_RELAY_CHANNELS_H
#define MIGRATE_RELAY_CHANNELS_H

#include "migrate/held.h"
#include "stream/multifd_merge.h"

/* Takes the merged stream's next bytes; 0, or -1 with an error. */
typedef int relay_channels_put(void *context, const uint8_t *bytes, size_t size,
                               struct error **err);

struct relay_channels;

/* The sockets stay `held`'s. stop_fd: an eventfd; when it is readable, nothing is waited for. */
struct relay_channels *relay_channels_new(const struct held *held, int stop_fd,
                                          relay_channels_put *put, void *context,
                                          struct error **err);
/* NULL is fine. */
void relay_channels_free(struct relay_channels *channels);

/* Readable while relay_channels_turn() finds something. */
int relay_channels_fd(const struct relay_channels *channels);
/* Takes what is there, a piece of each channel. `*open` becomes false with the main one's end. */
int relay_channels_turn(struct relay_channels *channels, bool *open, struct error **err);
/* Reads and drops what is there, of every channel, from now on also of those that wait. `*open`
 * becomes false when none is left. */
void relay_channels_drop(struct relay_channels *channels, bool *open);

#endif
