/* SPDX-License-Identifier: Apache-2.0 */
/* Tap devices on bridges, and vhost-net beside them. */
#ifndef QEMU_TAP_H
#define QEMU_TAP_H

#include "base/error.h"
#include "domain/domain.h"

/* See struct qemu_host_ops.tap. The device goes away with the last copy of the descriptor. */
int tap_open(const struct domain_interface *interface, bool kvm, int *vhost_fd, struct error **err);

/* The host side's MAC: the guest's with a first byte so high that a bridge, which takes the lowest
 * MAC of its ports, does not change its own. `guest` is "xx:xx:xx:xx:xx:xx". */
int tap_mac(const char *guest, unsigned char mac[6], struct error **err);

#endif
