/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proof of what the agent relies on when QEMU gets its images as descriptors: two real QEMUs, one
 * qcow2 image with another behind it, QEMU's image locks, and who holds them around a migration.
 * MUDANZA_QEMU and MUDANZA_QEMU_TO choose the emulators of the source and the destination.
 */
#include "base/test.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/text.h"
#include "qemu/child.h"
#include "qemu/resources.h"
#include "qemu/testing.h"

#define ARGS_MAX 32

/* QEMU's image locks, block/file-posix.c: a held permission is a byte from 100 on, one not shared
 * with others a byte from 200 on; writing is permission 1. */
#define LOCK_WRITES          101
#define LOCK_UNSHARES_WRITES 201

struct machine {
    struct testing_qemu qemu;
    struct resources *resources;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    char status[32]; /* of the migration, from its last event */
};

struct fixture {
    char *directory, *image, *base;
    struct machine source, destination;
};

static void on_event(void *context, const char *name, const json_t *data, int64_t received_ns)
{
    struct machine *machine = context;
    (void)received_ns;
    if (strcmp(name, "MIGRATION") != 0)
        return;
    LOCK_SCOPE(&machine->lock);
    snprintf(machine->status, sizeof(machine->status), "%s", json_opt_string(data, "status", ""));
    pthread_cond_broadcast(&machine->changed);
}

static void wait_status(struct machine *machine, const char *status)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 60;
    int result = 0;
    pthread_mutex_lock(&machine->lock);
    while (strcmp(machine->status, status) != 0 && strcmp(machine->status, "failed") != 0 &&
           result == 0)
        result = pthread_cond_timedwait(&machine->changed, &machine->lock, &until);
    bool reached = strcmp(machine->status, status) == 0;
    pthread_mutex_unlock(&machine->lock);
    if (!reached)
        fail_msg("the migration is %s, not %s; log: %s", machine->status, status,
                 process_log_tail(machine->qemu.log_path));
}

static void execute(struct machine *machine, const char *command, json_t *arguments)
{
    CLEANUP_ERROR struct error *err = NULL;
    assert_ok(qmp_execute(machine->qemu.qmp, command, arguments, NULL, &err), err);
}

static const char *destination_emulator(void)
{
    const char *path = getenv("MUDANZA_QEMU_TO");
    return path ? path : testing_emulator();
}

/* --- the command line --- */

struct args {
    const char *list[ARGS_MAX + 1];
    char *owned[ARGS_MAX];
    size_t n, n_owned;
};

static void args_add(struct args *args, const char *option, char *value)
{
    assert_true(args->n + 2 <= ARGS_MAX);
    args->list[args->n++] = option;
    args->list[args->n++] = args->owned[args->n_owned++] = value;
}

/* One image as a file node over a new fd set. */
static void args_add_file(struct args *args, struct resources *resources, const char *path,
                          const char *node, bool writable)
{
    CLEANUP_ERROR struct error *err = NULL;
    const struct qemu_host host = resources_host(resources);
    int set = host.ops->file(host.context, path, writable, false, false, &err);
    assert_ok(set, err);
    size_t n;
    const int *fds = host.ops->set_fds(host.context, set, &n);
    for (size_t i = 0; i < n; i++)
        args_add(args, "-add-fd", text_format("fd=%d,set=%d", fds[i], set));
    args_add(args, "-blockdev",
             text_format("{\"driver\":\"file\",\"filename\":\"/dev/fdset/%d\","
                         "\"node-name\":\"%s\",\"read-only\":%s}",
                         set, node, writable ? "false" : "true"));
}

static void machine_args(struct args *args, struct resources *resources, const char *image,
                         const char *base, bool incoming)
{
    args_add(args, "-machine", text_copy("pc-q35-7.2"));
    args_add(args, "-accel", text_copy("tcg"));
    args_add(args, "-m", text_copy("64"));
    args_add_file(args, resources, base, "base-file", false);
    args_add(args, "-blockdev",
             text_copy("{\"driver\":\"qcow2\",\"file\":\"base-file\",\"node-name\":\"base\","
                       "\"read-only\":true}"));
    args_add_file(args, resources, image, "top-file", true);
    args_add(args, "-blockdev",
             text_copy("{\"driver\":\"qcow2\",\"file\":\"top-file\",\"node-name\":\"top\","
                       "\"backing\":\"base\"}"));
    args_add(args, "-device", text_copy("virtio-blk-pci,drive=top,id=disk"));
    if (incoming)
        args_add(args, "-incoming", text_copy("defer"));
    args->list[args->n++] = "-S";
    args->list[args->n] = NULL;
}

static void args_free(struct args *args)
{
    for (size_t i = 0; i < args->n_owned; i++)
        free(args->owned[i]);
}

static void machine_start(struct fixture *fixture, struct machine *machine, const char *name,
                          const char *emulator, bool incoming)
{
    struct args args = {0};
    machine->resources = resources_new();
    machine_args(&args, machine->resources, fixture->image, fixture->base, incoming);
    size_t n;
    const int *fds = resources_fds(machine->resources, &n);
    const struct qmp_handler handler = {.event = on_event, .context = machine};
    testing_start(&machine->qemu, fixture->directory, name, emulator, args.list, fds, n, &handler);
    args_free(&args);
    execute(machine, "migrate-set-capabilities",
            json_pack("{s:[{s:s,s:b},{s:s,s:b},{s:s,s:b}]}", "capabilities", "capability", "events",
                      "state", 1, "capability", "pause-before-switchover", "state", 1, "capability",
                      "late-block-activate", "state", 1));
}

/* As the agent does once QEMU has started. */
static void machine_release(struct machine *machine)
{
    resources_free(STEAL(machine->resources));
}

/* Writes `pattern` into 64 KiB at `offset`, as the guest would. */
static void machine_write(struct machine *machine, int pattern, int offset)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_FREE char *output = NULL;
    CLEANUP_FREE char *line =
        text_format("qemu-io -d /machine/peripheral/disk/virtio-backend \"write -P %d %d 64k\"",
                    pattern, offset);
    assert_ok(qmp_human(machine->qemu.qmp, line, &output, &err), err);
    if (!output || (output[0] && !strstr(output, "wrote 65536/65536")))
        fail_msg("%s: %s", line, output);
}

/* --- looking at the image from outside --- */

static void run_tool(const char *const *argv)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_FREE char *output = child_output(argv, 65536, clock_deadline_ns(60000), &err);
    if (!output)
        fail_msg("%s", err->message);
    if (output && strstr(output, "Pattern verification failed"))
        fail_msg("%s: %s", argv[2], output);
}

/* QEMU is gone: the image is sound and holds `pattern` at `offset`. */
static void assert_image_holds(const char *image, int pattern, int offset)
{
    CLEANUP_FREE char *read = text_format("read -P %d %d 64k", pattern, offset);
    const char *check[] = {"qemu-img", "check", "-q", image, NULL};
    const char *look[] = {"qemu-io", "-r", "-c", read, image, NULL};
    run_tool(check);
    run_tool(look);
}

static bool locked(const char *image, off_t byte)
{
    CLEANUP_CLOSE int fd = open(image, O_RDWR | O_CLOEXEC);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_OFD_GETLK, &lock), 0);
    return lock.l_type != F_UNLCK;
}

static bool locked_for_writing(const char *image)
{
    const bool writes = locked(image, LOCK_WRITES);
    assert_int_equal(locked(image, LOCK_UNSHARES_WRITES), writes);
    return writes;
}

/* --- tests --- */

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    *state = fixture;
    for (int i = 0; i < 2; i++) {
        struct machine *machine = i ? &fixture->destination : &fixture->source;
        pthread_mutex_init(&machine->lock, NULL);
        pthread_cond_init(&machine->changed, NULL);
    }
    fixture->directory = testing_directory();
    fixture->base = text_format("%s/base.qcow2", fixture->directory);
    fixture->image = text_format("%s/image.qcow2", fixture->directory);
    const char *base[] = {"qemu-img", "create", "-q", "-f", "qcow2", fixture->base, "8M", NULL};
    const char *fill[] = {"qemu-io", "-f", "qcow2", "-c", "write -P 9 1M 64k", fixture->base, NULL};
    const char *image[] = {"qemu-img",    "create", "-q",    "-f",           "qcow2", "-b",
                           fixture->base, "-F",     "qcow2", fixture->image, NULL};
    run_tool(base);
    run_tool(fill);
    run_tool(image);
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    for (int i = 0; i < 2; i++) {
        struct machine *machine = i ? &fixture->destination : &fixture->source;
        testing_stop(&machine->qemu);
        resources_free(machine->resources);
        pthread_cond_destroy(&machine->changed);
        pthread_mutex_destroy(&machine->lock);
    }
    testing_directory_remove(fixture->directory);
    free(fixture->base);
    free(fixture->image);
    free(fixture);
    return 0;
}

static void test_a_second_qemu_is_refused_the_write_lock(void **state)
{
    struct fixture *fixture = *state;
    machine_start(fixture, &fixture->source, "first", testing_emulator(), false);
    machine_release(&fixture->source);
    assert_true(locked_for_writing(fixture->image));
    assert_false(locked(fixture->base, LOCK_WRITES));

    struct args args = {0};
    struct resources *resources = resources_new();
    machine_args(&args, resources, fixture->image, fixture->base, false);
    size_t n;
    const int *fds = resources_fds(resources, &n);
    const char *argv[ARGS_MAX + 8] = {destination_emulator(), "-nodefaults", "-display", "none"};
    for (size_t i = 0; i <= args.n; i++)
        argv[4 + i] = args.list[i];
    CLEANUP_FREE char *log = text_format("%s/second.log", fixture->directory);
    const struct process_start start = {
        .argv = (char *const *)(uintptr_t)argv, .log_path = log, .keep_fds = fds, .n_keep_fds = n};
    CLEANUP_ERROR struct error *err = NULL;
    assert_ok(process_start(&start, &fixture->destination.qemu.id, &err), err);
    CLEANUP_CLOSE int second = process_open(&fixture->destination.qemu.id, NULL);
    if (second >= 0)
        assert_ok(fd_wait(second, POLLIN, -1, clock_deadline_ns(60000), &err), err);
    CLEANUP_FREE char *said = process_log_tail(log);
    if (!strstr(said, "Failed to get \"write\" lock"))
        fail_msg("the second QEMU said: %s", said);
    args_free(&args);
    resources_free(resources);
}

static void test_locks_last_as_long_as_qemu_or_the_agents_copies(void **state)
{
    struct fixture *fixture = *state;
    struct machine *machine = &fixture->source;
    machine_start(fixture, machine, "first", testing_emulator(), false);
    machine_release(machine);
    machine_write(machine, 5, 0);
    assert_true(locked_for_writing(fixture->image));
    testing_stop(&machine->qemu);
    assert_false(locked_for_writing(fixture->image));

    /* A QEMU that is killed cannot unlock: this is why the agent must let go of its copies. */
    machine_start(fixture, machine, "second", testing_emulator(), false);
    assert_int_equal(kill(machine->qemu.id.pid, SIGKILL), 0);
    testing_stop(&machine->qemu);
    assert_true(locked_for_writing(fixture->image));
    machine_release(machine);
    assert_false(locked_for_writing(fixture->image));
    assert_image_holds(fixture->image, 5, 0);
    assert_image_holds(fixture->image, 9, 1 << 20);
}

/* Source runs, destination waits, the migration stops at its gate. */
static void migrate_to_the_gate(struct fixture *fixture)
{
    struct machine *source = &fixture->source, *destination = &fixture->destination;
    machine_start(fixture, source, "source", testing_emulator(), false);
    machine_release(source);
    execute(source, "cont", NULL);
    machine_write(source, 1, 0);
    machine_start(fixture, destination, "destination", destination_emulator(), true);
    machine_release(destination);
    CLEANUP_FREE char *uri = text_format("unix:%s/migration", fixture->directory);
    execute(destination, "migrate-incoming", json_pack("{s:s}", "uri", uri));
    execute(source, "migrate", json_pack("{s:s}", "uri", uri));
    wait_status(source, "pre-switchover");
    assert_true(locked_for_writing(fixture->image));
}

static void pass_the_gate(struct fixture *fixture)
{
    execute(&fixture->source, "migrate-continue", json_pack("{s:s}", "state", "pre-switchover"));
    wait_status(&fixture->source, "completed");
    wait_status(&fixture->destination, "completed");
    assert_false(locked_for_writing(fixture->image)); /* the source let go, nobody has it yet */
}

static void test_the_write_lock_moves_with_a_migration(void **state)
{
    struct fixture *fixture = *state;
    migrate_to_the_gate(fixture);
    pass_the_gate(fixture);
    execute(&fixture->destination, "cont", NULL);
    assert_true(locked_for_writing(fixture->image));
    testing_stop(&fixture->source.qemu);
    assert_true(locked_for_writing(fixture->image));
    machine_write(&fixture->destination, 2, 1 << 16);
    testing_stop(&fixture->destination.qemu);
    assert_false(locked_for_writing(fixture->image));
    assert_image_holds(fixture->image, 1, 0);
    assert_image_holds(fixture->image, 2, 1 << 16);
    assert_image_holds(fixture->image, 9, 1 << 20);
}

static void test_the_source_goes_on_when_cancelled_at_the_gate(void **state)
{
    struct fixture *fixture = *state;
    migrate_to_the_gate(fixture);
    execute(&fixture->source, "migrate_cancel", NULL);
    wait_status(&fixture->source, "cancelled");
    testing_stop(&fixture->destination.qemu);
    assert_true(locked_for_writing(fixture->image));
    execute(&fixture->source, "cont", NULL);
    machine_write(&fixture->source, 3, 1 << 16);
    testing_stop(&fixture->source.qemu);
    assert_image_holds(fixture->image, 3, 1 << 16);
}

static void test_the_source_takes_the_image_back_when_the_destination_never_ran(void **state)
{
    struct fixture *fixture = *state;
    migrate_to_the_gate(fixture);
    pass_the_gate(fixture);
    testing_stop(&fixture->destination.qemu);
    execute(&fixture->source, "cont", NULL);
    assert_true(locked_for_writing(fixture->image));
    machine_write(&fixture->source, 4, 1 << 16);
    testing_stop(&fixture->source.qemu);
    assert_image_holds(fixture->image, 4, 1 << 16);
}

static void test_a_late_source_cannot_have_it_back(void **state)
{
    struct fixture *fixture = *state;
    migrate_to_the_gate(fixture);
    pass_the_gate(fixture);
    execute(&fixture->destination, "cont", NULL);
    CLEANUP_ERROR struct error *err = NULL;
    assert_int_equal(qmp_execute(fixture->source.qemu.qmp, "cont", NULL, NULL, &err), -1);
    assert_non_null(strstr(err->message, "Failed to get"));
}

int main(void)
{
    if (!testing_emulator() || access("/usr/bin/qemu-img", X_OK) < 0)
        return 77;
#define FDSET_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        FDSET_TEST(test_a_second_qemu_is_refused_the_write_lock),
        FDSET_TEST(test_locks_last_as_long_as_qemu_or_the_agents_copies),
        FDSET_TEST(test_the_write_lock_moves_with_a_migration),
        FDSET_TEST(test_the_source_goes_on_when_cancelled_at_the_gate),
        FDSET_TEST(test_the_source_takes_the_image_back_when_the_destination_never_ran),
        FDSET_TEST(test_a_late_source_cannot_have_it_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
