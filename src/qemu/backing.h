/* SPDX-License-Identifier: Apache-2.0 */
/* The images behind a disk image, as qemu-img tells them. */
#ifndef QEMU_BACKING_H
#define QEMU_BACKING_H

#include "base/error.h"
#include "domain/qemu_args.h"

/* Longer chains are taken for a loop. */
#define BACKING_MAX 64

/*
 * The layers behind `path` (absolute), nearest first, without itself; *n may be 0. Owned by the
 * caller (backing_free). Every layer is a plain local file or block device whose format the layer
 * above it records; anything else is refused (ERROR_UNSUPPORTED) before it is opened.
 */
int backing_chain(const char *path, const char *format, struct qemu_layer **layers, size_t *n,
                  struct error **err);

void backing_free(struct qemu_layer *layers, size_t n);

#endif
