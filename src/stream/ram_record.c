/* SPDX-License-Identifier: Apache-2.0 */
/* The records in a "ram" section of QEMU's migration stream: writing their headers, and the
 * section's. */
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

void ram_section_edge(uint8_t out[RAM_SECTION_EDGE], uint8_t type, uint32_t section)
{
    out[0] = type;
    bytes_put32(out + 1, section);
}
