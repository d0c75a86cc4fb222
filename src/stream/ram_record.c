/* SPDX-License-Identifier: Apache-2.0 */
/* The records in a "ram" section of QEMU's migration stream: writing their headers. */
#include "stream/ram_record.h"

#include <string.h>

#include "base/bytes.h"

size_t ram_record_header(uint8_t out[RAM_RECORD_HEADER_MAX], uint64_t kind, uint64_t address,
                         const char *name)
{
    if (!name) {
        bytes_put64(out, address | kind | RAM_RECORD_CONTINUE);
        return 8;
    }
    size_t length = strnlen(name, RAM_BLOCK_NAME_MAX);
    bytes_put64(out, address | kind);
    out[8] = (uint8_t)length;
    memcpy(out + 9, name, length);
    return 9 + length;
}
