/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Do two hosts look at the same disk image, not only at the same path?
 *
 * The source takes a shared byte-range lock (OFD) on one byte at a random offset far beyond any
 * image and QEMU's own lock bytes; a destination that finds that very byte locked has the same file
 * open, over any file system whose locks reach it. Where locks do not reach, QEMU's own image locks
 * would not protect the image either, so that refusing is right. Block devices, whose locks are
 * local to a host, are compared by the identity their hardware or device mapper reports.
 */
#ifndef MIGRATE_DISK_IDENTITY_H
#define MIGRATE_DISK_IDENTITY_H

#include "base/error.h"
#include "base/json.h"
#include "domain/domain.h"

struct disk_identity;

/* Opens and marks every image of the domain. NULL when one cannot be opened. */
struct disk_identity *disk_identity_mark(const struct domain *domain, struct error **err);
/* Array of Disk (io.mudanza.Peer). Owned by the caller. */
json_t *disk_identity_describe(const struct disk_identity *identity);
/* Takes the marks away. NULL is fine. */
void disk_identity_free(struct disk_identity *identity);

/* Destination: the disk that is to serve as `target` against what the source says of its own.
 * ERROR_NOT_FOUND, ERROR_CORRUPT (another file), ERROR_SYSTEM. */
int disk_identity_check(const struct domain_disk *disk, const json_t *source_disk,
                        struct error **err);

#endif
