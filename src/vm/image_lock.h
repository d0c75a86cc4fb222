/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A lock of the agents on the images that a VM writes to, which lasts through a handover.
 *
 * Theory of operation. QEMU's own locks keep two QEMUs from writing to one image, but in a move
 * there is a moment in which nobody holds them: the source's QEMU has given them up, and the
 * destination's, which must not run before the source has let go, has not taken them. They cannot
 * be held by somebody else meanwhile, as that would keep the destination out too. So there is one
 * more byte, far away from QEMU's, with rules that suit a move:
 *
 *   - A VM that starts takes the byte exclusively, which fails if anybody has it, and keeps it
 *     shared from then on.
 *   - A VM that arrives takes it shared, beside its source: before a byte of it is copied.
 *
 * It is QEMU's process that keeps it, not the agent: the lock (OFD) belongs to the open file
 * description, and QEMU inherits a descriptor of that, of which it knows nothing. So the lock lasts
 * exactly as long as the process that could write, whatever becomes of the agents, and the source's
 * and the destination's overlap by the whole move.
 *
 * It reaches as far as the file system's locks do. Those of block devices are local to a host. Of
 * programs, only agents look at it.
 */
#ifndef VM_IMAGE_LOCK_H
#define VM_IMAGE_LOCK_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "domain/domain.h"

/* The byte: beyond any image, below the marks of migrate/disk_identity.c. QEMU's are 100 to 203. */
#define IMAGE_LOCK_OFFSET (INT64_C(1) << 59)

struct image_locks;

/*
 * Locks each image that the domain may write to alone: disks that are neither read-only nor
 * shareable, and the NVRAM. `arriving`: beside the source of a move. NULL with ERROR_STATE when
 * somebody else has one of them. An image that cannot be locked (a file system without locks) is
 * passed over with a warning in the log.
 */
struct image_locks *image_lock_all(const struct domain *domain, bool arriving, struct error **err);

/* The descriptors that QEMU must inherit, and their number. Borrowed. */
const int *image_lock_fds(const struct image_locks *locks, size_t *count);

/* Closes our descriptors: the locks stay with whoever has inherited them, else they go. NULL is
 * fine. */
void image_lock_close(struct image_locks *locks);

#endif
