/* SPDX-License-Identifier: Apache-2.0 */
/* Kernel modules from the initramfs; see modules.h. The lists are made by ../initrd. */
#include "modules.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PATH_SIZE 128

static int modules_insert(const char *file)
{
    char path[PATH_SIZE];
    long status;
    int fd;

    if ((size_t)snprintf(path, sizeof(path), "/modules/%s", file) >= sizeof(path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    status = syscall(SYS_finit_module, fd, "", 0);
    close(fd);
    return status < 0 && errno != EEXIST ? -1 : 0;
}

int modules_load(const char *name)
{
    char line[PATH_SIZE];
    int status = 0;
    FILE *list;

    if ((size_t)snprintf(line, sizeof(line), "/modules/%s.list", name) >= sizeof(line)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    list = fopen(line, "re");
    if (list == NULL)
        return -1;
    while (status == 0 && fgets(line, sizeof(line), list) != NULL) {
        line[strcspn(line, "\n")] = 0;
        status = modules_insert(line);
    }
    fclose(list);
    return status;
}
