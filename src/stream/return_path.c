/* SPDX-License-Identifier: Apache-2.0 */
/* Finds the answer to a ping in what QEMU says back. */
#include "stream/return_path.h"

#include "base/bytes.h"

#define HEAD_SIZE 4
#define PONG      2
#define PONG_SIZE 4

static void see_byte(struct return_path *path, uint8_t byte)
{
    path->head[path->head_size++] = byte;
    if (path->head_size < HEAD_SIZE)
        return;
    const uint16_t type = bytes_get16(path->head), length = bytes_get16(path->head + 2);
    if (type != PONG || length != PONG_SIZE) {
        path->skip = length;
        path->head_size = 0;
    } else if (path->head_size == HEAD_SIZE + PONG_SIZE) {
        path->answered |= bytes_get32(path->head + HEAD_SIZE) == path->awaited;
        path->head_size = 0;
    }
}

void return_path_see(struct return_path *path, const uint8_t *bytes, size_t size)
{
    while (size) {
        if (path->skip) {
            const size_t skipped = path->skip < size ? path->skip : size;
            path->skip -= (uint32_t)skipped;
            bytes += skipped;
            size -= skipped;
        } else {
            see_byte(path, *bytes++);
            size--;
        }
    }
}
