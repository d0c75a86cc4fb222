/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What QEMU says back on its migration stream, as far as finding one answer in it.
 *
 * Messages of a type (16 bits), a length (16 bits), and so many bytes, big-endian: enum
 * mig_rp_message_type in QEMU's migration/migration.h.
 */
#ifndef STREAM_RETURN_PATH_H
#define STREAM_RETURN_PATH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Starts with all zero but for `awaited`. */
struct return_path {
    uint32_t awaited;   /* the value of a ping */
    bool answered;      /* its pong has passed */
    unsigned head_size; /* bytes of the present message's head, or of a pong's value */
    uint8_t head[8];
    uint32_t skip; /* bytes of it to come, which are of no interest */
};

/* The next bytes that QEMU said, from the first one on. */
void return_path_see(struct return_path *path, const uint8_t *bytes, size_t size);

#endif
