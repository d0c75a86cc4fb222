/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a source's QEMU connects to with multifd: a descriptor that it is given makes one
 * connection only, so these are made through a socket in the file system.
 *
 * The socket belongs to QEMU's user, is there for as long as connecting takes, and takes
 * connections of that QEMU's process alone. QEMU holds nothing of them for an agent to come: should
 * this one die, the connections break, QEMU's migration fails, and its guest runs on.
 */
#ifndef MIGRATE_CHANNEL_PORT_H
#define MIGRATE_CHANNEL_PORT_H

#include "base/error.h"
#include "migrate/held.h"
#include "vm/vm.h"

struct channel_port {
    int fd;
    char *path; /* owned */
};

#define CHANNEL_PORT_NONE ((struct channel_port){.fd = -1})

/* Makes the folder of the sockets, and removes what an earlier agent left there. */
int channel_port_init(const char *run_dir, struct error **err);
/* Can the VM's QEMU come to a socket there? */
bool channel_port_reachable(const struct vm *vm);
/* Listens there. `job` is a UUID. The caller closes *port. */
int channel_port_open(struct vm *vm, const char *job, struct channel_port *port,
                      struct error **err);
/* Once QEMU was told to connect: its main connection and `channels` more, into *held, which the
 * caller closes, also on error. */
int channel_port_accept(const struct channel_port *port, struct vm *vm, unsigned channels,
                        int cancel_fd, struct held *held, struct error **err);
/* Removes the socket, too. */
void channel_port_close(struct channel_port *port);

#endif
