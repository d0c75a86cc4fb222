/* SPDX-License-Identifier: Apache-2.0 */
/* The gate for window headers. */
#include "stream/stream_block.h"

#include <inttypes.h>

int stream_window_header_get(const uint8_t *bytes, size_t size, uint64_t number,
                             struct stream_window_header *header, struct error **err)
{
    if (size < STREAM_WINDOW_HEADER_SIZE)
        return error_set(err, ERROR_CORRUPT, "window of %zu bytes", size);
    *header = (struct stream_window_header){
        .codec = bytes[0],
        .lane = bytes[1],
        .flags = bytes[2],
        .payload = bytes_get32(bytes + 4),
        .control = bytes_get32(bytes + 8),
        .output = bytes_get32(bytes + 12),
        .number = bytes_get64(bytes + 16),
        .check = bytes_get64(bytes + 24),
    };
    if (header->number != number)
        return error_set(err, ERROR_CORRUPT, "window %" PRIu64 " where %" PRIu64 " is due",
                         header->number, number);
    if (header->codec >= STREAM_CODECS || header->lane >= STREAM_LANES_MAX ||
        header->flags & ~STREAM_WINDOW_ANSWERED || bytes[3])
        return error_set(err, ERROR_CORRUPT, "window %" PRIu64 ": codec %u, lane %u, flags %u",
                         number, header->codec, header->lane, header->flags);
    if (header->payload % RAM_PAGE_SIZE ||
        header->payload > (uint32_t)STREAM_WINDOW_PAGES_MAX * RAM_PAGE_SIZE ||
        header->control > STREAM_WINDOW_CONTROL_MAX || !header->control ||
        header->output > STREAM_WINDOW_OUTPUT_MAX)
        return error_set(err, ERROR_CORRUPT,
                         "window %" PRIu64 ": %u bytes of pages, %u of control, %u of stream",
                         number, header->payload, header->control, header->output);
    return 0;
}
