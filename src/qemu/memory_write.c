/* SPDX-License-Identifier: Apache-2.0 */
/* Writing into the RAM of a guest that does not run. */
#include <errno.h>
#include <inttypes.h>
#include <sys/uio.h>

#include "qemu/memory_map.h"

int memory_write(const struct memory_map *map, uint64_t offset, const void *data, size_t size,
                 struct error **err)
{
    if (offset > map->size || size > map->size - offset)
        return error_set(err, ERROR_INVALID, "offset 0x%" PRIx64 " lies beyond the guest's RAM",
                         offset + size);
    for (size_t done = 0; done < size;) {
        const struct iovec local = {.iov_base = (char *)data + done, .iov_len = size - done};
        const struct iovec remote = {.iov_base = (void *)(uintptr_t)(map->address + offset + done),
                                     .iov_len = size - done};
        ssize_t put = process_vm_writev(map->pid, &local, 1, &remote, 1, 0);
        if (put <= 0)
            return error_errno(err, put < 0 ? errno : EFAULT,
                               "writing guest RAM at offset 0x%" PRIx64, offset + done);
        done += (size_t)put;
    }
    return 0;
}

int memory_map_write(const struct memory_map *map, const struct iovec *local, size_t n_local,
                     const struct iovec *remote, size_t n_remote, size_t size, struct error **err)
{
    const ssize_t put = process_vm_writev(map->pid, local, n_local, remote, n_remote, 0);
    if (put == (ssize_t)size)
        return 0;
    return put < 0 ? error_errno(err, errno, "guest RAM of process %d", (int)map->pid)
                   : error_set(err, ERROR_SYSTEM,
                               "guest RAM of process %d took %zd of %zu bytes at 0x%" PRIx64,
                               (int)map->pid, put, size,
                               (uint64_t)(uintptr_t)remote[0].iov_base - map->address);
}
