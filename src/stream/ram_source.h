/* SPDX-License-Identifier: Apache-2.0 */
/* RAM that a dictionary may look into: that of a running VM, or a copy of one that left. */
#ifndef STREAM_RAM_SOURCE_H
#define STREAM_RAM_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define RAM_SOURCE_CHUNK_PAGES 256

/* `context` is the implementation's. The calls may come from several threads at once. */
struct ram_source_ops {
    /*
     * Copies the pages of one chunk (256 pages; the last may have fewer) that may hold something
     * into `buffer`, which has room for 256, and marks them in `present`; the others are zero, and
     * untouched in `buffer`. 0, or -1 when the RAM is gone.
     */
    int (*read_chunk)(void *context, size_t chunk, uint8_t *buffer,
                      bool present[RAM_SOURCE_CHUNK_PAGES]);
    /* Copies `n` pages (at most RAM_SOURCE_CHUNK_PAGES), each to where `to` says. False when that
     * fails for any of them: none may be used then. */
    bool (*read_pages)(void *context, const uint32_t *pages, size_t n, uint8_t *const *to);
    void (*release)(void *context);
};

struct ram_source {
    const struct ram_source_ops *ops;
    void *context;
    uint64_t pages; /* of 4096 bytes */
};

void ram_source_free(struct ram_source *source);

struct memory_map;
/*
 * The RAM of a running process. Takes over, also on error: `map`, its RAM; `pidfd`, that very
 * process (process_open), so that another one that gets its number later is never taken for it.
 * NULL when memory is out.
 */
struct ram_source *ram_source_process(struct memory_map *map, int pidfd);

#endif
