/* SPDX-License-Identifier: Apache-2.0 */
/* Gives back what a demo occupies. */
#include "cli/demo_sweep.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/text.h"
#include "qemu/child.h"

#define NAMESPACES   "/run/netns/" /* where ip(8) keeps them */
#define KILL_MS      20000
#define IP_MS        10000
#define IP_OUTPUT    65536
#define OPEN_FILES   16
#define NO_NAMESPACE ((ino_t)0)

const char *const demo_sweep_hosts[DEMO_SWEEP_HOSTS] = {"alpha", "beta"};

char *demo_sweep_namespace(const char *directory, const char *host)
{
    const char *slash = strrchr(directory, '/');
    return text_format("%s-%s", slash ? slash + 1 : directory, host);
}

/* --- processes --------------------------------------------------------------------------------*/

/* A network namespace as the file system knows it. */
struct space {
    dev_t device;
    ino_t inode; /* NO_NAMESPACE: there is none of that name */
};

static struct space find_space(const char *namespace)
{
    CLEANUP_FREE char *path = text_format(NAMESPACES "%s", namespace);
    struct stat info;
    if (stat(path, &info) < 0)
        return (struct space){0, NO_NAMESPACE};
    return (struct space){info.st_dev, info.st_ino};
}

static bool is_in(pid_t pid, struct space space)
{
    char path[64];
    struct stat info;
    snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)pid);
    return stat(path, &info) == 0 && info.st_dev == space.device && info.st_ino == space.inode;
}

/* Kills one process and waits for its end. */
static void kill_one(pid_t pid, struct space space, int64_t deadline_ns)
{
    CLEANUP_CLOSE int process = pidfd_open(pid, 0);
    /* The number may have passed to another process before pidfd_open: look again. */
    if (process < 0 || !is_in(pid, space))
        return;
    if (pidfd_send_signal(process, SIGKILL, NULL, 0) == 0)
        fd_wait(process, POLLIN, -1, deadline_ns, NULL);
}

/* One pass over all processes. Returns how many were in the namespace. */
static size_t kill_pass(struct space space, int64_t deadline_ns)
{
    size_t found = 0;
    DIR *processes = opendir("/proc");
    if (!processes)
        return 0;
    for (struct dirent *entry; (entry = readdir(processes));) {
        int64_t number;
        if (text_parse_int(entry->d_name, 1, INT32_MAX, &number, NULL) < 0)
            continue;
        pid_t pid = (pid_t)number;
        if (pid == getpid() || !is_in(pid, space))
            continue;
        found++;
        kill_one(pid, space, deadline_ns);
    }
    closedir(processes);
    return found;
}

/* --- namespaces and files ---------------------------------------------------------------------*/

static int sweep_namespace(const char *namespace, struct error **err)
{
    const int64_t deadline_ns = clock_deadline_ns(KILL_MS);
    const struct space space = find_space(namespace);
    if (space.inode == NO_NAMESPACE)
        return 0;
    /* Until a pass finds nobody: whoever was killed may have started somebody before. */
    while (kill_pass(space, deadline_ns) > 0)
        if (clock_now_ns() >= deadline_ns)
            return error_set(err, ERROR_TIMEOUT, "namespace %s: its processes do not end",
                             namespace);
    const char *const remove[] = {"ip", "netns", "del", namespace, NULL};
    CLEANUP_FREE char *said = child_output(remove, IP_OUTPUT, clock_deadline_ns(IP_MS), err);
    return said ? 0 : -1;
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)info, (void)kind, (void)place;
    return remove(path) < 0 && errno != ENOENT ? -1 : 0;
}

static int sweep_directory(const char *directory, struct error **err)
{
    if (nftw(directory, remove_entry, OPEN_FILES, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) == 0 ||
        errno == ENOENT)
        return 0;
    return error_errno(err, errno, "removing %s", directory);
}

int demo_sweep(const char *directory, struct error **err)
{
    struct error *why = NULL;
    for (size_t i = 0; i < DEMO_SWEEP_HOSTS; i++) {
        CLEANUP_FREE char *namespace = demo_sweep_namespace(directory, demo_sweep_hosts[i]);
        CLEANUP_ERROR struct error *here = NULL;
        if (sweep_namespace(namespace, &here) < 0 && !why)
            why = STEAL(here);
    }
    CLEANUP_ERROR struct error *here = NULL;
    if (sweep_directory(directory, &here) < 0 && !why)
        why = STEAL(here);
    return why ? error_move(err, why) : 0;
}

/* --- the watcher ------------------------------------------------------------------------------*/

/* Has nothing of the demo but its own end of the lifeline: no terminal, no output of it. */
static void detach(void)
{
    static const int ignored[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
    setsid();
    for (size_t i = 0; i < ARRAY_SIZE(ignored); i++)
        signal(ignored[i], SIG_IGN);
    int null_fd = open("/dev/null", O_RDWR);
    for (int fd = 0; fd < 3 && null_fd >= 0; fd++)
        dup2(null_fd, fd);
    if (null_fd > 2)
        close(null_fd);
}

static _Noreturn void watch(int lifeline, const char *directory)
{
    char word;
    ssize_t got;
    detach();
    do
        got = read(lifeline, &word, 1);
    while (got < 0 && errno == EINTR);
    _exit(got == 1 || demo_sweep(directory, NULL) == 0 ? 0 : 1);
}

int demo_watcher_start(struct demo_watcher *watcher, const char *directory, struct error **err)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return error_errno(err, errno, "socketpair");
    watcher->pid = fork();
    if (watcher->pid == 0) {
        close(ends[1]);
        watch(ends[0], directory);
    }
    int errnum = errno;
    close(ends[0]);
    watcher->lifeline = ends[1];
    if (watcher->pid > 0)
        return 0;
    close(STEAL_FD(watcher->lifeline));
    return error_errno(err, errnum, "fork");
}

void demo_watcher_stop(struct demo_watcher *watcher, bool swept)
{
    if (watcher->lifeline < 0)
        return;
    if (swept) /* should it not hear, it looks for itself and finds nothing */
        fd_write_full(watcher->lifeline, "", 1, NULL);
    close(STEAL_FD(watcher->lifeline));
    while (waitpid(watcher->pid, NULL, 0) < 0 && errno == EINTR)
        ;
}
