/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Does QEMU take what qemu_args makes? Real descriptors, real QEMU, no guest: it is started
 * stopped, answers on its monitor, says what it built, and quits.
 *
 * Runs /usr/bin/qemu-system-x86_64, and a newer one too when MUDANZA_QEMU_10 names it. Everything
 * lives in a private network namespace and a folder of its own. Exit status 77: no QEMU, or no
 * right to a namespace.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "base/fd.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "domain/test_support.h"

#define PATIENCE_MS 120000 /* for a busy machine: the test waits for events, not for time */

struct lab {
    char folder[64];
    int sets[64][2]; /* read-write or append, read-only */
    size_t n_sets[64];
    int next_set;
    int fds[256]; /* everything that QEMU inherits */
    size_t n_fds;
    unsigned next_file;
    pid_t pid; /* of QEMU; 0 when none runs */
    int monitor;
    struct text unread;
};

static struct lab lab;

static int keep(int fd)
{
    assert_true(fd >= 0);
    assert_true(lab.n_fds < ARRAY_SIZE(lab.fds));
    lab.fds[lab.n_fds++] = fd;
    return fd;
}

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text);
    return length >= strlen(end) && strcmp(text + length - strlen(end), end) == 0;
}

/* A qcow2 image with nothing in it: version 2, 64 KiB clusters, 1 MiB. */
static void write_qcow2(int fd)
{
    uint8_t image[4 * 65536] = {'Q', 'F', 'I', 0xfb, 0, 0, 0, 2};
    image[23] = 16;             /* cluster_bits */
    image[29] = 0x10;           /* size: 1 MiB, big-endian at 24 */
    image[39] = 1;              /* l1_size, at 36 */
    image[45] = 3;              /* l1_table_offset: third cluster (at 40) */
    image[53] = 1;              /* refcount_table_offset: first (at 48) */
    image[59] = 1;              /* refcount_table_clusters, at 56 */
    image[65536 + 5] = 2;       /* the table names block 2 */
    for (int i = 0; i < 4; i++) /* four clusters, used once */
        image[2 * 65536 + 2 * i + 1] = 1;
    assert_int_equal(fd_write_full(fd, image, sizeof(image), NULL), 0);
}

/* One file for each path: what it is follows from its name. */
static void make_file(const char *path, char real[128])
{
    snprintf(real, 128, "%s/file%u", lab.folder, lab.next_file++);
    int fd = open(real, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    if (ends_with(path, ".qcow2"))
        write_qcow2(fd);
    else if (!ends_with(path, ".log"))
        assert_int_equal(ftruncate(fd, ends_with(path, "VARS.fd") ? 131072 : 1 << 20), 0);
    close(fd);
}

static int lab_file(void *context, const char *path, bool writable, bool append, bool direct,
                    struct error **err)
{
    (void)context;
    (void)err;
    char real[128];
    make_file(path, real);
    int set = ++lab.next_set;
    int flags = direct ? O_DIRECT : 0; /* QEMU 9.1 and later look for the very flags */
    size_t *n = &lab.n_sets[set];
    if (append)
        lab.sets[set][(*n)++] = keep(open(real, O_WRONLY | O_APPEND));
    else if (writable)
        lab.sets[set][(*n)++] = keep(open(real, O_RDWR | flags));
    if (!append)
        lab.sets[set][(*n)++] = keep(open(real, O_RDONLY | flags));
    return set;
}

static const int *lab_set_fds(void *context, int set, size_t *n)
{
    (void)context;
    *n = lab.n_sets[set];
    return lab.sets[set];
}

static int lab_backing(void *context, const char *path, const char *format,
                       struct qemu_layer **layers, size_t *n, struct error **err)
{
    return support_fake_ops.backing(context, path, format, layers, n, err);
}

static int lab_tap(void *context, const struct domain_interface *interface, bool kvm, int *vhost_fd,
                   struct error **err)
{
    (void)context;
    (void)kvm;
    (void)interface;
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    int fd = open("/dev/net/tun", O_RDWR);
    if (fd < 0 || ioctl(fd, TUNSETIFF, &request) < 0)
        return error_errno(err, errno, "tap");
    *vhost_fd = -1;
    return keep(fd);
}

static int listen_at(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 1), 0);
    return fd;
}

static int lab_listen(void *context, const char *path, struct error **err)
{
    (void)context;
    (void)err;
    CLEANUP_FREE char *socket_path = ends_with(path, "/monitor")
                                         ? text_copy(path)
                                         : text_format("%s/socket%u", lab.folder, lab.next_file++);
    return keep(listen_at(socket_path));
}

static const struct qemu_host_ops lab_ops = {.file = lab_file,
                                             .set_fds = lab_set_fds,
                                             .backing = lab_backing,
                                             .tap = lab_tap,
                                             .listen = lab_listen};

/* The lab */

static int open_lab(void **state)
{
    (void)state;
    lab = (struct lab){.monitor = -1};
    strcpy(lab.folder, "/var/tmp/mudanza-test-XXXXXX");
    return mkdtemp(lab.folder) ? 0 : -1;
}

static void remove_file(const char *name)
{
    CLEANUP_FREE char *path = text_format("%s/%s", lab.folder, name);
    unlink(path);
}

static int close_lab(void **state)
{
    (void)state;
    if (lab.pid > 0) {
        kill(lab.pid, SIGKILL);
        waitpid(lab.pid, NULL, 0);
    }
    if (lab.monitor >= 0)
        close(lab.monitor);
    free(lab.unread.data);
    for (size_t i = 0; i < lab.n_fds; i++)
        close(lab.fds[i]);
    for (unsigned i = 0; i < lab.next_file; i++) {
        CLEANUP_FREE char *file = text_format("file%u", i);
        CLEANUP_FREE char *socket_name = text_format("socket%u", i);
        remove_file(file);
        remove_file(socket_name);
    }
    remove_file("monitor");
    remove_file("stderr");
    return rmdir(lab.folder);
}

/* QEMU, and its monitor: close_lab ends both, whatever failed */

static void start(char **argv)
{
    CLEANUP_FREE char *log = text_format("%s/stderr", lab.folder);
    lab.pid = fork();
    assert_true(lab.pid >= 0);
    if (lab.pid == 0) {
        int fd = open(log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        dup2(fd, STDOUT_FILENO);
        dup2(fd, STDERR_FILENO);
        execv(argv[0], argv);
        _exit(127);
    }
}

static char *last_words(void)
{
    CLEANUP_FREE char *log = text_format("%s/stderr", lab.folder);
    char *text = file_read(log, 1 << 20, NULL, NULL);
    return text ? text : text_copy("");
}

/* One line of the monitor; fails with QEMU's own words when it ends instead. */
static json_t *read_message(void)
{
    char *newline = NULL;
    while (!lab.unread.data || !(newline = strchr(lab.unread.data, '\n'))) {
        struct pollfd poller = {.fd = lab.monitor, .events = POLLIN};
        char buffer[4096];
        ssize_t n =
            poll(&poller, 1, PATIENCE_MS) == 1 ? read(lab.monitor, buffer, sizeof(buffer)) : -1;
        if (n <= 0) {
            CLEANUP_FREE char *words = last_words();
            fail_msg("QEMU does not answer: %s", words);
        }
        text_append_bytes(&lab.unread, buffer, (size_t)n);
    }
    size_t length = (size_t)(newline - lab.unread.data);
    json_t *message = json_parse(lab.unread.data, length, NULL);
    lab.unread.length -= length + 1;
    memmove(lab.unread.data, newline + 1, lab.unread.length + 1);
    assert_non_null(message);
    return message;
}

/* Sends a command; returns its "return", skipping events. */
static json_t *command(const char *text)
{
    assert_int_equal(fd_write_full(lab.monitor, text, strlen(text), NULL), 0);
    for (;;) {
        CLEANUP_JSON json_t *message = read_message();
        json_t *answer = json_object_get(message, "return");
        if (answer)
            return json_incref(answer);
        if (json_object_get(message, "error"))
            fail_msg("%s: %s", text, json_dumps(message, 0));
    }
}

static void connect_monitor(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    lab.monitor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(lab.monitor, (struct sockaddr *)&address, sizeof(address)), 0);
    /* Only QEMU holds the listening end now: its death ends the connection. */
    for (size_t i = 0; i < lab.n_fds; i++)
        close(lab.fds[i]);
    lab.n_fds = 0;
    CLEANUP_JSON json_t *greeting = read_message();
    assert_non_null(json_object_get(greeting, "QMP"));
    json_decref(command("{\"execute\":\"qmp_capabilities\"}\n"));
}

static void check_ram(void)
{
    CLEANUP_JSON json_t *answer =
        command("{\"execute\":\"human-monitor-command\",\"arguments\":{\"command-line\":"
                "\"info ramblock\"}}\n");
    const char *text = json_string_value(answer);
    const char *first = strchr(text, '\n') + 1;
    while (*first == ' ')
        first++;
    assert_memory_equal(first, "pc.ram ", 7);
}

/* Every disk with an image has its documented node, and the guest's device uses it. */
static void check_nodes(const struct domain *domain)
{
    CLEANUP_JSON json_t *nodes = command("{\"execute\":\"query-named-block-nodes\"}\n");
    for (size_t i = 0; i < domain->n_disks; i++) {
        if (domain->disks[i].source == DISK_EMPTY)
            continue;
        CLEANUP_FREE char *wanted = text_format("disk-%s", domain->disks[i].target);
        bool found = false;
        size_t index = 0;
        json_t *node = NULL;
        json_array_foreach (nodes, index, node)
            found = found || text_equal(json_opt_string(node, "node-name", NULL), wanted);
        if (!found)
            fail_msg("no node %s", wanted);
    }
}

/* What QEMU grumbles about without refusing it would be an option without effect. */
static void check_words(void)
{
    CLEANUP_FREE char *words = last_words();
    for (char *line = strtok(words, "\n"); line; line = strtok(NULL, "\n"))
        if (strstr(line, "warning:") && !strstr(line, "TCG doesn't support requested feature"))
            fail_msg("%s", line);
}

static void accept_domain(const char *emulator, int version, const char *name, bool incoming)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_DOMAIN struct domain *domain = support_assigned(name);
    CLEANUP_FREE char *monitor = text_format("%s/monitor", lab.folder);
    const struct qemu_args_options options = {.emulator = emulator,
                                              .version = version,
                                              .monitor_path = monitor,
                                              .run_directory = lab.folder,
                                              .incoming = incoming};
    const struct qemu_host host = {.ops = &lab_ops};
    char **argv = qemu_args(domain, &options, &host, &err);
    if (!argv) {
        fail_msg("%s", err->message);
        return; /* not reached: for tools that do not know fail_msg */
    }
    start(argv);
    qemu_args_free(argv);
    connect_monitor(monitor);
    CLEANUP_JSON json_t *status = command("{\"execute\":\"query-status\"}\n");
    assert_string_equal(json_opt_string(status, "status", ""),
                        incoming ? "inmigrate" : "prelaunch");
    check_ram();
    check_nodes(domain);
    check_words();
    json_decref(command("{\"execute\":\"quit\"}\n"));
    int exit_status = -1;
    assert_int_equal(waitpid(lab.pid, &exit_status, 0), lab.pid);
    lab.pid = 0;
    assert_int_equal(exit_status, 0);
}

/* A network of our own, where only loopback is up. */
static bool enter_network(void)
{
    if (unshare(CLONE_NEWNET) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
        return false;
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_LOOPBACK | IFF_RUNNING};
    CLEANUP_CLOSE int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &request) == 0;
}

static const char older[] = "/usr/bin/qemu-system-x86_64";
static const char *newer;

static void test_q35(void **state)
{
    (void)state;
    accept_domain(older, 7002, "qemu-q35.xml", false);
}

static void test_pc(void **state)
{
    (void)state;
    accept_domain(older, 7002, "qemu-pc.xml", false);
}

static void test_incoming(void **state)
{
    (void)state;
    accept_domain(older, 7002, "minimal.xml", true);
}

static void test_kvm(void **state)
{
    (void)state;
    if (access("/dev/kvm", R_OK | W_OK) < 0)
        skip();
    accept_domain(older, 7002, "qemu-kvm.xml", false);
}

static void test_newer_q35(void **state)
{
    (void)state;
    if (!newer)
        skip();
    accept_domain(newer, 10000, "qemu-q35.xml", false);
}

static void test_newer_pc(void **state)
{
    (void)state;
    if (!newer)
        skip();
    accept_domain(newer, 10000, "qemu-pc.xml", false);
}

static void test_newer_kvm(void **state)
{
    (void)state;
    if (!newer || access("/dev/kvm", R_OK | W_OK) < 0)
        skip();
    accept_domain(newer, 10000, "qemu-kvm.xml", false);
}

int main(void)
{
    newer = getenv("MUDANZA_QEMU_10");
    if (access(older, X_OK) < 0) {
        fprintf(stderr, "no %s\n", older);
        return 77;
    }
    if (!enter_network()) {
        perror("no network namespace for tap devices");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_q35, open_lab, close_lab),
        cmocka_unit_test_setup_teardown(test_pc, open_lab, close_lab),
        cmocka_unit_test_setup_teardown(test_incoming, open_lab, close_lab),
        cmocka_unit_test_setup_teardown(test_kvm, open_lab, close_lab),
        cmocka_unit_test_setup_teardown(test_newer_q35, open_lab, close_lab),
        cmocka_unit_test_setup_teardown(test_newer_pc, open_lab, close_lab),
        cmocka_unit_test_setup_teardown(test_newer_kvm, open_lab, close_lab),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
