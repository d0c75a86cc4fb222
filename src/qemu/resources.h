/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a QEMU process gets from its host as open descriptors: disk images (as fd sets, so that an
 * unprivileged QEMU needs no right to any path), tap devices on bridges, vhost-net, listening
 * sockets. Implements struct qemu_host_ops (domain/qemu_args.h).
 */
#ifndef QEMU_RESOURCES_H
#define QEMU_RESOURCES_H

#include "base/error.h"
#include "domain/qemu_args.h"

struct resources;

struct resources *resources_new(void);
/* Closes our copies; QEMU has its own by then. */
void resources_free(struct resources *resources);

struct qemu_host resources_host(struct resources *resources);

/* The descriptors that QEMU must inherit, and their number. Borrowed. */
const int *resources_fds(const struct resources *resources, size_t *count);

#endif
