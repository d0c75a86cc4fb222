/* SPDX-License-Identifier: Apache-2.0 */
/* QEMU's side of a relay: its bytes, directly or through the spools that post-copy needs. */
#ifndef MIGRATE_RELAY_QEMU_H
#define MIGRATE_RELAY_QEMU_H

#include <sys/types.h>

#include "migrate/held.h"

struct relay_qemu {
    struct held held;
    bool open;                     /* QEMU may still send */
    bool from_spooled, to_spooled; /* or directly, as nothing of it is needed after a crash */
    uint64_t taken;                /* position of what comes next out of QEMU */
    uint64_t given;                /* up to here QEMU has its bytes */
    uint64_t put;                  /* up to here they are in the spool */
    uint64_t told;                 /* up to here, the peer knows */
};

/* Takes *held over, also on error. */
int relay_qemu_init(struct relay_qemu *qemu, struct held *held, struct error **err);
void relay_qemu_close(struct relay_qemu *qemu);

/* The streams go on where earlier relays have left them: what QEMU said comes again from `from` on,
 * which the peer has told. */
int relay_qemu_go_on(struct relay_qemu *qemu, uint64_t from, struct error **err);
/* From here on, what QEMU says, or is given, is spooled. So are the last `size` bytes that it said,
 * which have not left yet. */
int relay_qemu_spool_from(struct relay_qemu *qemu, const uint8_t *last, size_t size,
                          struct error **err);
int relay_qemu_spool_to(struct relay_qemu *qemu, uint64_t position, struct error **err);

/* QEMU's next bytes: so many, 0 none now, or never again when it is not `open` any more. */
ssize_t relay_qemu_read(struct relay_qemu *qemu, void *buffer, size_t size, struct error **err);
/* There is more without waiting for QEMU. */
bool relay_qemu_has_more(const struct relay_qemu *qemu);
/* Gives QEMU what its socket takes now, and moves *bytes and *size on by that. */
int relay_qemu_write(struct relay_qemu *qemu, const uint8_t **bytes, size_t *size,
                     struct error **err);

/* Before anything is spooled: QEMU has the stream up to `position`, in whatever way. */
void relay_qemu_given(struct relay_qemu *qemu, uint64_t position);

/* The peer's QEMU has what ours said, up to `position`. ERROR_CORRUPT when it cannot. */
int relay_qemu_released(struct relay_qemu *qemu, uint64_t position, struct error **err);
/* It is time to tell the peer how far QEMU has its bytes. */
bool relay_qemu_should_tell(const struct relay_qemu *qemu);

#endif
