/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QEMU processes: started so that they outlive the agent, found again by what they are.
 *
 * Theory of operation. The agent has many threads, so between fork and exec only async-signal-safe
 * calls are allowed: everything that allocates, locks or looks something up is done before, in
 * `struct launch`. The first child makes a session and forks again, so that init adopts QEMU and
 * QEMU leads no session. The second child writes reports into a pipe that exec closes: first who it
 * is, then, only if something fails, where and why. End of file after the first report is success.
 */
#include "qemu/process.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/text.h"

#define LOG_TAIL_MAX 2000
#define KILL_WAIT_MS 30000
#define GROUPS_MAX   65536 /* the kernel's NGROUPS_MAX */
#define KVM_DEVICE   "/dev/kvm"

enum launch_step {
    LAUNCH_STARTED, /* not a failure: carries the process's identity */
    LAUNCH_FORK,
    LAUNCH_SESSION,
    LAUNCH_IDENTITY,
    LAUNCH_DESCRIPTORS,
    LAUNCH_NAMESPACE,
    LAUNCH_KVM,
    LAUNCH_USER,
    LAUNCH_PRIVILEGES,
    LAUNCH_EXEC,
};

static const char *const launch_step_text[] = {
    [LAUNCH_FORK] = "fork",
    [LAUNCH_SESSION] = "making a session",
    [LAUNCH_IDENTITY] = "reading /proc/self/stat",
    [LAUNCH_DESCRIPTORS] = "passing descriptors on",
    [LAUNCH_NAMESPACE] = "making a mount namespace for /dev/kvm",
    [LAUNCH_KVM] = "making /dev/kvm usable for its user",
    [LAUNCH_USER] = "changing to its user",
    [LAUNCH_PRIVILEGES] = "giving up privileges",
    [LAUNCH_EXEC] = "running the emulator",
};

struct launch_report {
    enum launch_step step;
    int errnum;
    struct process_id id;
};

/* All that the children need, made before fork. */
struct launch {
    char *const *argv;
    char *environment[8];
    int null_fd, log_fd, report_fd;
    int *keep_fds; /* sorted; with report_fd among them */
    size_t n_keep_fds;
    bool change_user, private_kvm;
    uid_t uid;
    gid_t gid;
    gid_t *groups;
    size_t n_groups;
    dev_t kvm_device;
};

/* --- in the children: async-signal-safe calls only --- */

static _Noreturn void launch_fail(const struct launch *launch, enum launch_step step)
{
    const struct launch_report report = {.step = step, .errnum = errno};
    ssize_t put = write(launch->report_fd, &report, sizeof(report));
    _exit(put == sizeof(report) ? 127 : 126);
}

/* Field 22 of a /proc/PID/stat line; the second field, in parentheses, may hold anything. */
static bool parse_start_time(const char *stat, uint64_t *start_time)
{
    const char *at = strrchr(stat, ')');
    for (int field = 2; at && field < 22; field++) {
        at = strchr(at, ' ');
        if (at)
            at++;
    }
    if (!at || *at < '0' || *at > '9')
        return false;
    *start_time = 0;
    for (; *at >= '0' && *at <= '9'; at++)
        *start_time = *start_time * 10 + (uint64_t)(*at - '0');
    return true;
}

static bool read_start_time(const char *path, uint64_t *start_time)
{
    char stat[1024];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t got = read(fd, stat, sizeof(stat) - 1);
    close(fd);
    if (got <= 0)
        return false;
    stat[got] = '\0';
    return parse_start_time(stat, start_time);
}

/* What the kernel knows as struct sigaction: all zero is SIG_DFL without flags. */
struct kernel_sigaction {
    unsigned long handler, flags, restorer, mask;
};

/* The agent's signal handlers and mask are not QEMU's business, nor what whoever started the agent
 * left ignored. The system call, as glibc refuses the two signals that it keeps for itself. */
static void launch_reset_signals(void)
{
    const struct kernel_sigaction standard = {0};
    for (int number = 1; number < NSIG; number++) /* refused for SIGKILL and SIGSTOP */
        syscall(SYS_rt_sigaction, number, &standard, NULL, sizeof(standard.mask));
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static void launch_descriptors(const struct launch *launch)
{
    if (dup2(launch->null_fd, 0) < 0 || dup2(launch->log_fd, 1) < 0 || dup2(launch->log_fd, 2) < 0)
        launch_fail(launch, LAUNCH_DESCRIPTORS);
    unsigned next = 3;
    for (size_t i = 0; i < launch->n_keep_fds; i++) {
        unsigned fd = (unsigned)launch->keep_fds[i];
        if (fd > next && close_range(next, fd - 1, 0) < 0)
            launch_fail(launch, LAUNCH_DESCRIPTORS);
        next = fd + 1;
        if (launch->keep_fds[i] != launch->report_fd && fcntl(launch->keep_fds[i], F_SETFD, 0) < 0)
            launch_fail(launch, LAUNCH_DESCRIPTORS);
    }
    if (close_range(next, ~0U, 0) < 0)
        launch_fail(launch, LAUNCH_DESCRIPTORS);
}

/*
 * A /dev/kvm of the user's own, seen by this process alone: a node on a file system of our own, put
 * over the host's by a bind mount. The mounts are slaves of the host's: ours stay here, while what
 * the host unmounts later does not stay busy because of us. The file system may lie over /tmp while
 * it is needed, as nobody else sees it; the bind mount keeps it alive.
 */
static void launch_private_kvm(const struct launch *launch)
{
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
        launch_fail(launch, LAUNCH_NAMESPACE);
    if (mount("mudanza", "/tmp", "tmpfs", MS_NOEXEC | MS_NOSUID, "size=64k,mode=0755") < 0 ||
        mknod("/tmp/kvm", S_IFCHR | 0600, launch->kvm_device) < 0 ||
        chown("/tmp/kvm", launch->uid, launch->gid) < 0 ||
        mount("/tmp/kvm", KVM_DEVICE, NULL, MS_BIND, NULL) < 0 || umount2("/tmp", MNT_DETACH) < 0)
        launch_fail(launch, LAUNCH_KVM);
}

/* By system calls, as the library's functions wait for every thread that it believes to exist. */
static void launch_change_user(const struct launch *launch)
{
    if (syscall(SYS_setgroups, launch->n_groups, launch->groups) < 0 ||
        syscall(SYS_setresgid, launch->gid, launch->gid, launch->gid) < 0 ||
        syscall(SYS_setresuid, launch->uid, launch->uid, launch->uid) < 0)
        launch_fail(launch, LAUNCH_USER);
}

static _Noreturn void launch_run(const struct launch *launch)
{
    struct launch_report started = {.step = LAUNCH_STARTED, .id = {.pid = getpid()}};
    if (!read_start_time("/proc/self/stat", &started.id.start_time))
        launch_fail(launch, LAUNCH_IDENTITY);
    if (write(launch->report_fd, &started, sizeof(started)) != sizeof(started))
        _exit(126);
    launch_reset_signals();
    launch_descriptors(launch);
    if (launch->private_kvm)
        launch_private_kvm(launch);
    if (launch->change_user)
        launch_change_user(launch);
    umask(0077);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || chdir("/") < 0)
        launch_fail(launch, LAUNCH_PRIVILEGES);
    execve(launch->argv[0], launch->argv, launch->environment);
    launch_fail(launch, LAUNCH_EXEC);
}

static _Noreturn void launch_detach(const struct launch *launch)
{
    if (setsid() < 0)
        launch_fail(launch, LAUNCH_SESSION);
    pid_t child = _Fork();
    if (child < 0)
        launch_fail(launch, LAUNCH_FORK);
    if (child == 0)
        launch_run(launch);
    _exit(0);
}

/* --- in the agent --- */

static void launch_free(struct launch *launch)
{
    for (size_t i = 0; i < ARRAY_SIZE(launch->environment); i++)
        free(launch->environment[i]);
    const int fds[] = {launch->null_fd, launch->log_fd, launch->report_fd};
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        if (fds[i] >= 0)
            close(fds[i]);
    free(launch->keep_fds);
    free(launch->groups);
}

static void launch_environment(struct launch *launch)
{
    static const char *const kept[] = {"PATH", "HOME", "LD_LIBRARY_PATH", "TMPDIR",
                                       "XDG_RUNTIME_DIR"};
    size_t n = 0;
    launch->environment[n++] = text_copy("LC_ALL=C");
    for (size_t i = 0; i < ARRAY_SIZE(kept); i++) {
        const char *value = getenv(kept[i]);
        if (value)
            launch->environment[n++] = text_format("%s=%s", kept[i], value);
    }
}

/* Moves a descriptor above those of standard input and output, which the child replaces. */
static int launch_raise_fd(int fd, struct error **err)
{
    if (fd < 0 || fd > 2)
        return fd;
    int raised = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (raised < 0)
        error_errno(err, errno, "duplicating a descriptor");
    close(fd);
    return raised;
}

static int launch_open(const char *path, int flags, struct error **err)
{
    int fd = open(path, flags | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_errno(err, errno, "%s", path);
    return launch_raise_fd(fd, err);
}

static int compare_int(const void *left, const void *right)
{
    int a = *(const int *)left, b = *(const int *)right;
    return (a > b) - (a < b);
}

static int launch_keep_fds(struct launch *launch, const struct process_start *start,
                           struct error **err)
{
    launch->n_keep_fds = start->n_keep_fds + 1;
    launch->keep_fds = calloc(launch->n_keep_fds, sizeof(int));
    if (!launch->keep_fds)
        return error_set(err, ERROR_SYSTEM, "out of memory");
    for (size_t i = 0; i < start->n_keep_fds; i++) {
        if (start->keep_fds[i] < 3)
            return error_set(err, ERROR_INTERNAL, "descriptor %d cannot be passed on",
                             start->keep_fds[i]);
        launch->keep_fds[i] = start->keep_fds[i];
    }
    launch->keep_fds[start->n_keep_fds] = launch->report_fd;
    qsort(launch->keep_fds, launch->n_keep_fds, sizeof(int), compare_int);
    return 0;
}

static int launch_groups(struct launch *launch, const char *user, struct error **err)
{
    int count = 32;
    for (;;) {
        gid_t *groups = realloc(launch->groups, (size_t)count * sizeof(*groups));
        if (!groups)
            return error_set(err, ERROR_SYSTEM, "out of memory");
        launch->groups = groups;
        int found = count;
        if (getgrouplist(user, launch->gid, groups, &found) >= 0) {
            launch->n_groups = (size_t)found;
            return 0;
        }
        if (count >= GROUPS_MAX)
            return error_set(err, ERROR_SYSTEM, "user '%s' is in too many groups", user);
        count = found > count ? found : 2 * count;
    }
}

static int launch_user(struct launch *launch, const char *user, struct error **err)
{
    char buffer[16384];
    struct passwd entry, *found = NULL;
    int errnum = getpwnam_r(user, &entry, buffer, sizeof(buffer), &found);
    if (errnum)
        return error_errno(err, errnum, "user '%s'", user);
    if (!found) {
        error_set(err, ERROR_NOT_FOUND, "there is no user '%s' to run QEMU as", user);
        return error_hint(err, "create it (useradd --system %s) or name another one", user);
    }
    if (entry.pw_uid == geteuid())
        return 0;
    if (geteuid() != 0) {
        error_set(err, ERROR_DENIED, "only root can run QEMU as user '%s'", user);
        return error_hint(err, "run the agent as root, or without a user for QEMU");
    }
    launch->change_user = true;
    launch->uid = entry.pw_uid;
    launch->gid = entry.pw_gid;
    return launch_groups(launch, user, err);
}

/* By the mode bits alone: where an access list says otherwise, QEMU gets a node of its own. */
static bool launch_user_may_use(const struct launch *launch, const struct stat *device)
{
    if (device->st_uid == launch->uid)
        return (device->st_mode & 0600) == 0600;
    for (size_t i = 0; i < launch->n_groups; i++)
        if (device->st_gid == launch->groups[i])
            return (device->st_mode & 0060) == 0060;
    return (device->st_mode & 0006) == 0006;
}

static int launch_kvm(struct launch *launch, struct error **err)
{
    struct stat device;
    if (!launch->change_user)
        return 0;
    if (stat(KVM_DEVICE, &device) < 0) {
        error_errno(err, errno, KVM_DEVICE);
        return error_hint(err, "load the kvm module, or use <domain type='qemu'>");
    }
    launch->kvm_device = device.st_rdev;
    launch->private_kvm = !launch_user_may_use(launch, &device);
    return 0;
}

static int launch_prepare(struct launch *launch, const struct process_start *start, int report_fd,
                          struct error **err)
{
    launch->argv = start->argv;
    launch->report_fd = report_fd;
    launch_environment(launch);
    launch->null_fd = launch_open("/dev/null", O_RDWR, err);
    if (launch->null_fd < 0)
        return -1;
    launch->log_fd = launch_open(start->log_path, O_WRONLY | O_CREAT | O_APPEND | O_NOCTTY, err);
    if (launch->log_fd < 0)
        return -1;
    if (launch_keep_fds(launch, start, err) < 0)
        return -1;
    if (start->user && launch_user(launch, start->user, err) < 0)
        return -1;
    return start->need_kvm ? launch_kvm(launch, err) : 0;
}

/* Forks with all signals blocked, so that no handler of ours runs in the child. */
static pid_t launch_fork(const struct launch *launch)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t child = fork();
    if (child == 0)
        launch_detach(launch);
    int errnum = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = errnum;
    return child;
}

/* Reads what the children say until exec or death closes the pipe. */
static int launch_result(int report_fd, struct process_id *id, struct error **err)
{
    bool started = false;
    struct launch_report report;
    struct process_id identity = {0};
    for (;;) {
        ssize_t got = read(report_fd, &report, sizeof(report)); /* one write, one read */
        if (got < 0 && errno == EINTR)
            continue;
        if (got == 0 && started) {
            *id = identity;
            return 0;
        }
        if (got != sizeof(report))
            return error_set(err, ERROR_SYSTEM, "died before it could run");
        if (report.step != LAUNCH_STARTED)
            return error_errno(err, report.errnum, "%s", launch_step_text[report.step]);
        identity = report.id;
        started = true;
    }
}

static int launch_do(struct launch *launch, const struct process_start *start,
                     struct process_id *id, struct error **err)
{
    int pipes[2];
    if (pipe2(pipes, O_CLOEXEC) < 0)
        return error_errno(err, errno, "pipe");
    CLEANUP_CLOSE int read_fd = pipes[0];
    int report_fd = launch_raise_fd(pipes[1], err);
    if (report_fd < 0 || launch_prepare(launch, start, report_fd, err) < 0)
        return -1;
    pid_t child = launch_fork(launch);
    if (child < 0)
        return error_errno(err, errno, "fork");
    close(STEAL_FD(launch->report_fd));
    int result = launch_result(read_fd, id, err);
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
        ;
    return result;
}

int process_start(const struct process_start *start, struct process_id *id, struct error **err)
{
    struct launch launch = {.null_fd = -1, .log_fd = -1, .report_fd = -1};
    int result = launch_do(&launch, start, id, err);
    launch_free(&launch);
    return result < 0 ? error_prefix(err, "starting %s", start->argv[0]) : 0;
}

/* --- processes that run --- */

static int process_gone(const struct process_id *id, struct error **err)
{
    return error_set(err, ERROR_NOT_FOUND, "process %d is gone", (int)id->pid);
}

bool process_is_alive(int pidfd)
{
    struct pollfd ended = {.fd = pidfd, .events = POLLIN};
    int count;
    while ((count = poll(&ended, 1, 0)) < 0 && errno == EINTR) /* also when it does not wait */
        ;
    return count == 0;
}

int process_open(const struct process_id *id, struct error **err)
{
    CLEANUP_CLOSE int fd = pidfd_open(id->pid, 0);
    if (fd < 0 && errno == ESRCH)
        return process_gone(id, err);
    if (fd < 0)
        return error_errno(err, errno, "process %d", (int)id->pid);
    /* Opened first, compared then: the number cannot change hands in between. */
    char path[64];
    uint64_t start_time;
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)id->pid);
    if (!read_start_time(path, &start_time) || start_time != id->start_time ||
        !process_is_alive(fd))
        return process_gone(id, err);
    return STEAL_FD(fd);
}

/* Sends a signal and waits for the end. 1: still there after `wait_ms`. */
static int process_signal(int pidfd, int number, int64_t wait_ms, struct error **err)
{
    if (pidfd_send_signal(pidfd, number, NULL, 0) < 0)
        return errno == ESRCH ? 0 : error_errno(err, errno, "signal %d", number);
    struct error *waited = NULL;
    if (fd_wait(pidfd, POLLIN, -1, clock_deadline_ns(wait_ms), &waited) == 0)
        return 0;
    if (waited->kind != ERROR_TIMEOUT)
        return error_move(err, waited);
    error_free(waited);
    return 1;
}

int process_end(const struct process_id *id, int64_t grace_ms, struct error **err)
{
    struct error *problem = NULL;
    CLEANUP_CLOSE int fd = process_open(id, &problem);
    if (fd < 0 && problem->kind == ERROR_NOT_FOUND) {
        error_free(problem);
        return 0;
    }
    if (fd < 0)
        return error_move(err, problem);
    int result = process_signal(fd, SIGTERM, grace_ms, err);
    if (result > 0)
        result = process_signal(fd, SIGKILL, KILL_WAIT_MS, err);
    if (result > 0)
        result = error_set(err, ERROR_TIMEOUT, "it does not end, even when killed");
    return result < 0 ? error_prefix(err, "process %d", (int)id->pid) : 0;
}

char *process_log_tail(const char *log_path)
{
    char buffer[LOG_TAIL_MAX + 1] = "";
    CLEANUP_CLOSE int fd = open(log_path, O_RDONLY | O_CLOEXEC);
    off_t end = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
    off_t from = end > LOG_TAIL_MAX ? end - LOG_TAIL_MAX : 0;
    ssize_t got = fd < 0 ? 0 : pread(fd, buffer, LOG_TAIL_MAX, from);
    buffer[got > 0 ? got : 0] = '\0';
    char *text = buffer;
    if (from > 0 && strchr(text, '\n')) /* the first line is cut: start with the next */
        text = strchr(text, '\n') + 1;
    for (char *at = text; *at; at++)
        if ((unsigned char)*at < ' ' && *at != '\n')
            *at = ' ';
    for (size_t length = strlen(text); length > 0 && strchr(" \n", text[length - 1]);)
        text[--length] = '\0';
    return text_copy(text);
}
