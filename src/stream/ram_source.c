/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RAM of a running process, read by a dictionary.
 *
 * process_vm_readv knows processes by number, and a number is given again once its process has
 * ended. So the process is looked at before reading, which avoids reading another one's memory,
 * and after it, which makes sure that what was read is not used if it was another's.
 */
#include "stream/ram_source.h"

#include <stdlib.h>
#include <unistd.h>

#include "qemu/memory_map.h"

_Static_assert(RAM_SOURCE_CHUNK_PAGES == MEMORY_CHUNK_PAGES, "chunks are those of memory_map");

struct process_ram {
    struct memory_map *map;
    int pidfd;
};

void ram_source_free(struct ram_source *source)
{
    if (!source)
        return;
    source->ops->release(source->context);
    free(source);
}

static int process_read_chunk(void *context, size_t chunk, uint8_t *buffer,
                              bool present[RAM_SOURCE_CHUNK_PAGES])
{
    const struct process_ram *ram = context;
    size_t pages;
    if (!process_is_alive(ram->pidfd) ||
        memory_map_read_chunk(ram->map, chunk, buffer, present, &pages, NULL) < 0 ||
        !process_is_alive(ram->pidfd))
        return -1;
    for (; pages < RAM_SOURCE_CHUNK_PAGES; pages++)
        present[pages] = false;
    return 0;
}

static bool process_read_pages(void *context, const uint32_t *pages, size_t n, uint8_t *const *to)
{
    const struct process_ram *ram = context;
    return process_is_alive(ram->pidfd) && memory_map_read_pages(ram->map, pages, n, to) &&
           process_is_alive(ram->pidfd);
}

static void process_release(void *context)
{
    struct process_ram *ram = context;
    memory_free(ram->map);
    close(ram->pidfd);
    free(ram);
}

struct ram_source *ram_source_process(struct memory_map *map, int pidfd)
{
    static const struct ram_source_ops ops = {
        .read_chunk = process_read_chunk,
        .read_pages = process_read_pages,
        .release = process_release,
    };
    struct process_ram *ram = malloc(sizeof(*ram));
    struct ram_source *source = malloc(sizeof(*source));
    if (ram && source) {
        *ram = (struct process_ram){.map = map, .pidfd = pidfd};
        *source = (struct ram_source){
            .ops = &ops, .context = ram, .pages = memory_size(map) / MEMORY_PAGE_SIZE};
        return source;
    }
    free(ram);
    free(source);
    memory_free(map);
    close(pidfd);
    return NULL;
}
