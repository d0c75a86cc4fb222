/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of what QEMU gets from its host; bridges in a network namespace of the test's own. */
#include "base/test.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "qemu/backing.h"
#include "qemu/child.h"
#include "qemu/resources.h"
#include "qemu/testing.h"

struct fixture {
    char *directory;
    struct resources *resources;
    struct qemu_host host;
};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    fixture->directory = testing_directory();
    fixture->resources = resources_new();
    fixture->host = resources_host(fixture->resources);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    resources_free(fixture->resources);
    testing_directory_remove(fixture->directory);
    free(fixture);
    return 0;
}

static char *make_file(const struct fixture *fixture, const char *name)
{
    char *path = text_format("%s/%s", fixture->directory, name);
    CLEANUP_ERROR struct error *err = NULL;
    assert_ok(file_write_atomic(path, "disk", 4, 0600, &err), err);
    return path;
}

static void test_a_writable_image_is_open_for_both_kinds_of_access(void **state)
{
    struct fixture *fixture = *state;
    const struct qemu_host host = fixture->host;
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_FREE char *path = make_file(fixture, "disk");
    int first = host.ops->file(host.context, path, true, false, false, &err);
    assert_ok(first, err);
    int second = host.ops->file(host.context, path, false, false, false, &err);
    assert_ok(second, err);
    assert_int_not_equal(first, second);
    size_t n;
    const int *fds = host.ops->set_fds(host.context, first, &n);
    assert_int_equal(n, 2);
    assert_int_equal(fcntl(fds[0], F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_RDWR);
    assert_int_equal(fcntl(fds[1], F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_RDONLY);
    assert_int_equal(fcntl(fds[0], F_GETFD), FD_CLOEXEC);
    fds = host.ops->set_fds(host.context, second, &n);
    assert_int_equal(n, 1);
    assert_int_equal(fcntl(fds[0], F_GETFL) & O_ACCMODE, O_RDONLY);
    resources_fds(fixture->resources, &n);
    assert_int_equal(n, 3);
    assert_null(host.ops->set_fds(host.context, 2, &n));
    assert_int_equal(n, 0);
}

static void test_logs_are_made_and_written_only(void **state)
{
    struct fixture *fixture = *state;
    const struct qemu_host host = fixture->host;
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_FREE char *path = text_format("%s/serial", fixture->directory);
    int set = host.ops->file(host.context, path, true, true, false, &err);
    assert_ok(set, err);
    size_t n;
    const int *fds = host.ops->set_fds(host.context, set, &n);
    assert_int_equal(n, 1);
    assert_int_equal(fcntl(fds[0], F_GETFL) & (O_ACCMODE | O_APPEND), O_WRONLY | O_APPEND);
    struct stat file;
    assert_int_equal(stat(path, &file), 0);
    assert_int_equal(file.st_mode & 0777, 0600);
}

static void test_direct_io_is_asked_for(void **state)
{
    struct fixture *fixture = *state;
    const struct qemu_host host = fixture->host;
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_FREE char *path = make_file(fixture, "disk");
    int set = host.ops->file(host.context, path, true, false, true, &err);
    if (set < 0) { /* a file system without it: then it must be said so */
        assert_int_equal(err->sys_errno, EINVAL);
        assert_non_null(strstr(err->hint, "cache mode"));
        return;
    }
    size_t n;
    const int *fds = host.ops->set_fds(host.context, set, &n);
    assert_true(fcntl(fds[0], F_GETFL) & O_DIRECT);
    assert_true(fcntl(fds[1], F_GETFL) & O_DIRECT);
}

static void expect_refusal(const struct fixture *fixture, const char *path, enum error_kind kind,
                           const char *text)
{
    const struct qemu_host host = fixture->host;
    CLEANUP_ERROR struct error *err = NULL;
    assert_int_equal(host.ops->file(host.context, path, true, false, false, &err), -1);
    assert_int_equal(err->kind, kind);
    CLEANUP_FREE char *expected = text_format("disk image %s: %s", path, text);
    assert_string_equal(err->message, expected);
}

static void test_files_that_cannot_be_disks_are_refused_with_path_and_cause(void **state)
{
    struct fixture *fixture = *state;
    expect_refusal(fixture, "/nonexistent/disk", ERROR_NOT_FOUND, "No such file or directory");
    expect_refusal(fixture, "/dev/null", ERROR_INVALID, "it is neither a file nor a block device");
    expect_refusal(fixture, fixture->directory, ERROR_SYSTEM,
                   "opening for writing: Is a directory");
    CLEANUP_FREE char *fifo = text_format("%s/fifo", fixture->directory);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    expect_refusal(fixture, fifo, ERROR_INVALID, "it is neither a file nor a block device");
}

static void test_a_listening_socket_replaces_an_old_one_but_no_file(void **state)
{
    struct fixture *fixture = *state;
    const struct qemu_host host = fixture->host;
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_FREE char *path = text_format("%s/socket", fixture->directory);
    for (int i = 0; i < 2; i++)
        assert_ok(host.ops->listen(host.context, path, &err), err);
    struct stat file;
    assert_int_equal(stat(path, &file), 0);
    assert_int_equal(file.st_mode & 0777, 0600);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    CLEANUP_CLOSE int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(client, (struct sockaddr *)&address, sizeof(address)), 0);

    CLEANUP_FREE char *occupied = make_file(fixture, "precious");
    assert_int_equal(host.ops->listen(host.context, occupied, &err), -1);
    assert_int_equal(err->kind, ERROR_EXISTS);
    assert_int_equal(stat(occupied, &file), 0);
}

/* --- the images behind an image --- */

static void run_tool(const char *const *argv)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_FREE char *output = child_output(argv, 65536, clock_deadline_ns(20000), &err);
    assert_ok(output ? 0 : -1, err);
}

/* qcow2 image `name` behind which is `below` of format `below_format`. */
static char *make_image(const struct fixture *fixture, const char *name, const char *below,
                        const char *below_format)
{
    char *path = text_format("%s/%s", fixture->directory, name);
    const char *create[] = {"qemu-img", "create", "-q", "-f", "qcow2", path, "1M", NULL};
    const char *rebase[] = {"qemu-img", "rebase", "-u",         "-f", "qcow2", "-b",
                            below,      "-F",     below_format, path, NULL};
    run_tool(create);
    run_tool(rebase);
    return path;
}

/* Makes the record of the format behind it one that nobody knows, which is skipped. */
static void forget_format(const char *path)
{
    static const char magic[] = "\xe2\x79\x2a\xca";
    size_t size;
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_FREE char *image = file_read(path, 16 << 20, &size, &err);
    assert_ok(image ? 0 : -1, err);
    char *record = memmem(image, size, magic, 4);
    assert_non_null(record);
    memset(record, 'x', 4);
    assert_ok(file_write_atomic(path, image, size, 0600, &err), err);
}

static bool have_qemu_img(void)
{
    return access("/usr/bin/qemu-img", X_OK) == 0;
}

static void test_a_chain_is_followed_to_its_end(void **state)
{
    struct fixture *fixture = *state;
    if (!have_qemu_img())
        skip();
    const struct qemu_host host = fixture->host;
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_FREE char *raw = make_file(fixture, "base.raw");
    CLEANUP_FREE char *middle = make_image(fixture, "middle.qcow2", "base.raw", "raw");
    CLEANUP_FREE char *top = make_image(fixture, "top.qcow2", middle, "qcow2");
    struct qemu_layer *layers = NULL;
    size_t n = 0;
    assert_ok(host.ops->backing(host.context, top, "qcow2", &layers, &n, &err), err);
    assert_int_equal(n, 2);
    assert_string_equal(layers[0].path, middle);
    assert_string_equal(layers[0].format, "qcow2");
    assert_string_equal(layers[1].path, raw); /* a relative name, made absolute */
    assert_string_equal(layers[1].format, "raw");
    backing_free(layers, n);
    assert_ok(host.ops->backing(host.context, raw, "raw", &layers, &n, &err), err);
    assert_int_equal(n, 0);
    assert_null(layers);
}

static void expect_chain_refused(const char *path, enum error_kind kind, const char *text)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct qemu_layer *layers = NULL;
    size_t n = 0;
    assert_int_equal(backing_chain(path, "qcow2", &layers, &n, &err), -1);
    assert_int_equal(err->kind, kind);
    if (!strstr(err->message, text))
        fail_msg("'%s' is not in '%s'", text, err->message);
}

static void test_chains_that_cannot_be_passed_on_are_refused(void **state)
{
    struct fixture *fixture = *state;
    if (!have_qemu_img())
        skip();
    CLEANUP_FREE char *remote = make_image(fixture, "remote.qcow2", "nbd://192.0.2.1/x", "raw");
    expect_chain_refused(remote, ERROR_UNSUPPORTED,
                         "nbd://192.0.2.1/x is not a local file or block device");
    CLEANUP_FREE char *json = make_image(
        fixture, "json.qcow2", "json:{\"driver\":\"null-co\",\"read-zeroes\":true}", "raw");
    expect_chain_refused(json, ERROR_UNSUPPORTED, "is not a local file or block device");
    CLEANUP_FREE char *gone = make_image(fixture, "gone.qcow2", "/nonexistent/base", "raw");
    expect_chain_refused(gone, ERROR_NOT_FOUND, "gone.qcow2: /nonexistent/base: No such file");
    CLEANUP_FREE char *vague = make_image(fixture, "vague.qcow2", remote, "qcow2");
    forget_format(vague);
    expect_chain_refused(vague, ERROR_UNSUPPORTED, "does not record the format");
    CLEANUP_FREE char *loop = make_image(fixture, "loop.qcow2", "loop.qcow2", "qcow2");
    expect_chain_refused(loop, ERROR_INVALID, "or a loop");
    CLEANUP_FREE char *no_image = make_file(fixture, "no.qcow2");
    expect_chain_refused(no_image, ERROR_SYSTEM, "not in qcow2 format");
    expect_chain_refused("nbd://192.0.2.1/x", ERROR_UNSUPPORTED, "is not a local file");
}

static void test_a_helper_program_is_bounded_in_time_and_output(void **state)
{
    (void)state;
    CLEANUP_ERROR struct error *err = NULL;
    const char *const endless[] = {"yes", NULL};
    assert_null(child_output(endless, 100000, clock_deadline_ns(20000), &err));
    assert_string_equal(err->message, "yes: it says more than 100000 bytes");
    error_free(STEAL(err));
    const char *const slow[] = {"sleep", "1000", NULL};
    assert_null(child_output(slow, 100, clock_deadline_ns(10), &err));
    assert_int_equal(err->kind, ERROR_TIMEOUT);
    error_free(STEAL(err));
    const char *const failing[] = {"sh", "-c", "echo one >&2; echo two >&2; exit 3", NULL};
    assert_null(child_output(failing, 100, clock_deadline_ns(20000), &err));
    assert_string_equal(err->message, "sh: two");
    error_free(STEAL(err));
    const char *const missing[] = {"no-such-program", NULL};
    assert_null(child_output(missing, 100, clock_deadline_ns(20000), &err));
    assert_string_equal(err->message, "no-such-program: No such file or directory");
}

/* --- tap devices --- */

static bool own_network(void)
{
    return geteuid() == 0 && access("/dev/net/tun", F_OK) == 0 && unshare(CLONE_NEWNET) == 0;
}

static struct ifreq interface_request(const char *name)
{
    struct ifreq request = {0};
    snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
    return request;
}

static void test_a_tap_device_joins_its_bridge(void **state)
{
    struct fixture *fixture = *state;
    if (!own_network())
        skip();
    const struct qemu_host host = fixture->host;
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_CLOSE int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(ioctl(control, SIOCBRADDBR, "testbr"), 0);
    struct ifreq request = interface_request("testbr");
    request.ifr_mtu = 1400;
    assert_int_equal(ioctl(control, SIOCSIFMTU, &request), 0);

    struct domain_interface interface = {.type = INTERFACE_BRIDGE,
                                         .bridge = (char *)(uintptr_t) "testbr",
                                         .model = (char *)(uintptr_t) "virtio",
                                         .vhost_refused = true,
                                         .mac = "52:54:00:12:34:56"};
    int vhost_fd = 0;
    int fd = host.ops->tap(host.context, &interface, false, &vhost_fd, &err);
    assert_ok(fd, err);
    assert_int_equal(vhost_fd, -1);
    struct ifreq tap = {0};
    assert_int_equal(ioctl(fd, TUNGETIFF, &tap), 0);
    assert_memory_equal(tap.ifr_name, "mdz", 3);
    assert_true(tap.ifr_flags & IFF_VNET_HDR);
    assert_true(tap.ifr_flags & IFF_NO_PI);
    const unsigned index = if_nametoindex(tap.ifr_name);
    int ports[16] = {0};
    struct ifreq bridge = interface_request("testbr");
    unsigned long args[4] = {7 /* BRCTL_GET_PORT_LIST */, (unsigned long)ports, 16, 0};
    bridge.ifr_data = (char *)args;
    assert_true(ioctl(control, SIOCDEVPRIVATE, &bridge) >= 0);
    assert_int_equal(ports[1], index);
    request = interface_request(tap.ifr_name);
    assert_int_equal(ioctl(control, SIOCGIFMTU, &request), 0);
    assert_int_equal(request.ifr_mtu, 1400);
    assert_int_equal(ioctl(control, SIOCGIFFLAGS, &request), 0);
    assert_true(request.ifr_flags & IFF_UP);
    assert_int_equal(ioctl(control, SIOCGIFHWADDR, &request), 0);
    assert_memory_equal(request.ifr_hwaddr.sa_data, "\xfe", 1);

    interface.ifname = (char *)(uintptr_t) "chosen";
    assert_ok(host.ops->tap(host.context, &interface, false, &vhost_fd, &err), err);
    assert_int_not_equal(if_nametoindex("chosen"), 0);
    resources_free(fixture->resources);
    fixture->resources = NULL;
    assert_int_equal(if_nametoindex("chosen"), 0); /* it goes with its last descriptor */
}

static void test_bridges_that_are_missing_or_none_are_named(void **state)
{
    struct fixture *fixture = *state;
    if (!own_network())
        skip();
    const struct qemu_host host = fixture->host;
    CLEANUP_ERROR struct error *err = NULL;
    struct domain_interface interface = {.type = INTERFACE_BRIDGE,
                                         .bridge = (char *)(uintptr_t) "br77",
                                         .model = (char *)(uintptr_t) "virtio",
                                         .mac = "52:54:00:12:34:56"};
    int vhost_fd = 0;
    assert_int_equal(host.ops->tap(host.context, &interface, false, &vhost_fd, &err), -1);
    assert_int_equal(err->kind, ERROR_NOT_FOUND);
    assert_string_equal(err->message, "network interface 52:54:00:12:34:56: "
                                      "bridge 'br77' does not exist on this host");
    assert_non_null(strstr(err->hint, "ip link add br77 type bridge"));
    error_free(STEAL(err));
    interface.bridge = (char *)(uintptr_t) "lo";
    assert_int_equal(host.ops->tap(host.context, &interface, false, &vhost_fd, &err), -1);
    assert_int_equal(err->kind, ERROR_UNSUPPORTED);
    assert_non_null(strstr(err->message, "bridge 'lo': it is no bridge"));
}

/* As on two hosts between which a VM moves. */
static void test_tap_devices_of_one_guest_have_macs_of_their_own(void **state)
{
    struct fixture *fixture = *state;
    if (!own_network())
        skip();
    CLEANUP_ERROR struct error *err = NULL;
    struct domain_interface interface = {.type = INTERFACE_ETHERNET,
                                         .model = (char *)(uintptr_t) "virtio",
                                         .vhost_refused = true,
                                         .mac = "52:54:00:12:34:56"};
    CLEANUP_CLOSE int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq taps[2] = {0};
    int fds[2], vhost_fd;
    for (size_t i = 0; i < ARRAY_SIZE(taps); i++) {
        fds[i] = fixture->host.ops->tap(fixture->host.context, &interface, false, &vhost_fd, &err);
        assert_ok(fds[i], err);
        assert_int_equal(ioctl(fds[i], TUNGETIFF, &taps[i]), 0); /* its name */
        assert_int_equal(ioctl(control, SIOCGIFHWADDR, &taps[i]), 0);
        assert_memory_equal(taps[i].ifr_hwaddr.sa_data, "\xfe", 1);
    }
    assert_memory_not_equal(taps[0].ifr_hwaddr.sa_data, taps[1].ifr_hwaddr.sa_data, 6);
}

int main(void)
{
#define RESOURCES_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        RESOURCES_TEST(test_a_writable_image_is_open_for_both_kinds_of_access),
        RESOURCES_TEST(test_logs_are_made_and_written_only),
        RESOURCES_TEST(test_direct_io_is_asked_for),
        RESOURCES_TEST(test_files_that_cannot_be_disks_are_refused_with_path_and_cause),
        RESOURCES_TEST(test_a_listening_socket_replaces_an_old_one_but_no_file),
        RESOURCES_TEST(test_a_chain_is_followed_to_its_end),
        RESOURCES_TEST(test_chains_that_cannot_be_passed_on_are_refused),
        cmocka_unit_test(test_a_helper_program_is_bounded_in_time_and_output),
        RESOURCES_TEST(test_a_tap_device_joins_its_bridge),
        RESOURCES_TEST(test_bridges_that_are_missing_or_none_are_named),
        RESOURCES_TEST(test_tap_devices_of_one_guest_have_macs_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
