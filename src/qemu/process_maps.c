/* SPDX-License-Identifier: Apache-2.0 */
/* What another process has mapped. */
#include "qemu/process_maps.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/file.h"

#define MAPS_MAX ((size_t)16 * 1024 * 1024)

char *process_maps_read(pid_t pid, struct error **err)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
    return file_read(path, MAPS_MAX, NULL, err);
}

bool process_maps_next(const char **line, struct process_mapping *mapping)
{
    char *at;
    mapping->start = strtoull(*line, &at, 16);
    if (*at != '-')
        return false;
    mapping->end = strtoull(at + 1, &at, 16);
    if (*at != ' ' || strnlen(at, 6) < 6)
        return false;
    mapping->writable = at[1] == 'r' && at[2] == 'w';
    mapping->executable = at[3] == 'x';
    mapping->shared = at[4] == 's';
    mapping->offset = strtoull(at + 5, &at, 16);
    const unsigned long major = strtoul(at, &at, 16);
    if (*at != ':')
        return false;
    mapping->device = makedev((unsigned)major, (unsigned)strtoul(at + 1, &at, 16));
    mapping->inode = strtoull(at, &at, 10);
    const char *end = strchr(at, '\n');
    *line = end && end[1] ? end + 1 : NULL;
    return true;
}
