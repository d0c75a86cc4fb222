/* SPDX-License-Identifier: Apache-2.0 */
/* The descriptors of another process. */
#include "qemu/process_fds.h"

#include <errno.h>
#include <stdio.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "base/text.h"

int process_fds_open(pid_t pid, int pidfd, struct process_fds *fds, struct error **err)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    *fds = (struct process_fds){.folder = opendir(path), .pidfd = pidfd};
    return fds->folder ? 0 : error_errno(err, errno, "%s", path);
}

void process_fds_close(struct process_fds *fds)
{
    closedir(fds->folder);
}

int process_fds_next(struct process_fds *fds, char link[PROCESS_FD_LINK_SIZE])
{
    const struct dirent *entry;
    while ((entry = readdir(fds->folder))) {
        int64_t number;
        if (text_parse_int(entry->d_name, 0, INT32_MAX, &number, NULL) < 0)
            continue; /* "." and ".." */
        ssize_t size =
            readlinkat(dirfd(fds->folder), entry->d_name, link, PROCESS_FD_LINK_SIZE - 1);
        if (size < 0)
            continue; /* closed meanwhile */
        link[size] = 0;
        return (int)number;
    }
    return -1;
}

void process_fds_rewind(struct process_fds *fds)
{
    rewinddir(fds->folder);
}

int process_fds_take(const struct process_fds *fds, int number)
{
    return pidfd_getfd(fds->pidfd, number, 0);
}
