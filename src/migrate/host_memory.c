/* SPDX-License-Identifier: Apache-2.0 */
/* This host's memory, as the kernel tells it. */
#include "migrate/host_memory.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

/* Microseconds of waiting in a window of as many: with two seconds the kernel allows it to
 * everybody. */
#define PRESSURE_TRIGGER "some 200000 2000000"

static int read_line(const char *text, const char *name, uint64_t *bytes, struct error **err)
{
    const char *line = strstr(text, name);
    if (!line)
        return error_set(err, ERROR_SYSTEM, "/proc/meminfo: no %s", name);
    *bytes = strtoull(line + strlen(name), NULL, 10) * 1024;
    return 0;
}

int host_memory(uint64_t *available, uint64_t *total, struct error **err)
{
    CLEANUP_FREE char *text = file_read("/proc/meminfo", 65536, NULL, err);
    if (!text || read_line(text, "MemAvailable:", available, err) < 0)
        return -1;
    return read_line(text, "MemTotal:", total, err);
}

uint64_t host_memory_of(pid_t pid)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
    CLEANUP_FREE char *text = file_read(path, 4096, NULL, NULL);
    const char *resident = text ? strchr(text, ' ') : NULL;
    return resident ? strtoull(resident, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

int host_memory_pressure(void)
{
    int fd = open("/proc/pressure/memory", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return -1;
    if (write(fd, PRESSURE_TRIGGER, sizeof(PRESSURE_TRIGGER)) == sizeof(PRESSURE_TRIGGER))
        return fd;
    close(fd);
    return -1;
}
