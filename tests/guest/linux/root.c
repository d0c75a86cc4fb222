/* SPDX-License-Identifier: Apache-2.0 */
/* A whole system's root, started in a chroot; see root.h. */
#include "root.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MOUNT_POINT "/root"
#define START       "/etc/mudanza-start"
#define MOUNT_TRIES 500 /* 10 ms each: a disk appears some time after its driver */
#define PATH_SIZE   80

static const char *root_mount(const char *name)
{
    const struct timespec pause = {.tv_nsec = 10000000};
    char device[PATH_SIZE];

    if ((size_t)snprintf(device, sizeof(device), "/dev/%s", name) >= sizeof(device))
        return "name-too-long";
    mkdir(MOUNT_POINT, 0755);
    for (int i = 0; mount(device, MOUNT_POINT, "ext4", MS_RDONLY, NULL) < 0; i++) {
        if (errno != ENOENT || i == MOUNT_TRIES)
            return strerrorname_np(errno);
        nanosleep(&pause, NULL);
    }
    return NULL;
}

/* The child's part. What it says goes to the kernel's log. */
_Noreturn static void root_exec(void)
{
    char *const words[] = {START, NULL};
    char *const environment[] = {NULL};
    int log = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);

    if (log >= 0) {
        dup2(log, STDOUT_FILENO);
        dup2(log, STDERR_FILENO);
    }
    if (chroot(MOUNT_POINT) == 0 && chdir("/") == 0)
        execve(words[0], words, environment);
    _exit(127);
}

const char *root_start(const char *name)
{
    const char *wrong = root_mount(name);
    int status = 0;
    pid_t child;

    if (wrong != NULL)
        return wrong;
    child = fork();
    if (child == 0)
        root_exec();
    while (child > 0 && waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return strerrorname_np(errno);
    /* From now on the kernel takes care of those whose parents have ended. */
    if (signal(SIGCHLD, SIG_IGN) == SIG_ERR || child < 0)
        return strerrorname_np(errno);
    return status == 0 ? NULL : "start-failed";
}
