/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RAM of a guest that moved away, kept as a dictionary for when it comes back: a copy that is made
 * while it moves, or, where RAM is shared memory, that itself.
 *
 * Only data. No QEMU process, disk or network device is kept with it, so that nothing can run
 * again. A copy has the pages that are not zero, one after the other in a memfd, without their
 * addresses; it need not be of one moment: whoever uses a page of it hashes the page first.
 */
#ifndef STREAM_KEPT_RAM_H
#define STREAM_KEPT_RAM_H

#include "stream/ram_source.h"

struct kept_ram;

/* Begins to copy in a thread that gets idle time only, at most `limit` bytes. Takes `from` over,
 * also on error. The caller has a reference (kept_ram_put). */
struct kept_ram *kept_ram_begin(struct ram_source *from, uint64_t limit, struct error **err);
/* Has the calling thread help until all is copied or the deadline has passed; then copying is over.
 * What was copied stays. */
void kept_ram_finish(struct kept_ram *kept, int64_t deadline_ns);

/* Keeps the file that the RAM was in (qemu/memory_file.h), whose QEMU has ended: nobody writes it,
 * and its memory may be given back. Takes `fd` over, also on error. The caller has a reference. */
struct kept_ram *kept_ram_adopt(int fd, struct error **err);

struct kept_ram *kept_ram_reference(struct kept_ram *kept);
void kept_ram_put(struct kept_ram *kept);

uint64_t kept_ram_size(const struct kept_ram *kept); /* bytes in memory, or so far */

/* Ends copying and gives the memory back at once, whoever still has a reference or a source of it:
 * the pages are gone. From any thread. */
void kept_ram_drop(struct kept_ram *kept);

/* For a dictionary, once copying is over; holds a reference. NULL when memory is out. */
struct ram_source *kept_ram_source(struct kept_ram *kept);

#endif
