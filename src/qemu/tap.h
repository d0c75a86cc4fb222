/* SPDX-License-Identifier: Apache-2.0 */
/* Tap devices on bridges, and vhost-net beside them. */
#ifndef QEMU_TAP_H
#define QEMU_TAP_H

#include "base/error.h"
#include "domain/domain.h"

/* See struct qemu_host_ops.tap. The device goes away with the last copy of the descriptor. Its own
 * MAC on the host is a random one that begins with fe. */
int tap_open(const struct domain_interface *interface, bool kvm, int *vhost_fd, struct error **err);

#endif
