/* SPDX-License-Identifier: Apache-2.0 */
/* For the tests of this folder: real QEMU processes with a monitor, in a directory of their own. */
#include "qemu/testing.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/test.h"
#include "base/text.h"

#define ARGS_MAX 64

const char *testing_emulator(void)
{
    const char *path = getenv("MUDANZA_QEMU");
    if (!path)
        path = "/usr/bin/qemu-system-x86_64";
    return access(path, X_OK) == 0 ? path : NULL;
}

char *testing_directory(void)
{
    char *path = text_copy("/tmp/mudanza-test-XXXXXX");
    assert_non_null(mkdtemp(path));
    return path;
}

void testing_directory_remove(char *directory)
{
    DIR *list = opendir(directory);
    for (const struct dirent *entry; list && (entry = readdir(list));)
        unlinkat(dirfd(list), entry->d_name, 0);
    if (list)
        closedir(list);
    rmdir(directory);
    free(directory);
}

void testing_start(struct testing_qemu *qemu, const char *directory, const char *name,
                   const char *emulator, const char *const *args, const int *fds, size_t n_fds,
                   const struct qmp_handler *handler)
{
    int monitor[2], keep[ARGS_MAX];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, monitor), 0);
    char chardev[64];
    snprintf(chardev, sizeof(chardev), "socket,id=monitor,fd=%d", monitor[1]);
    const char *argv[ARGS_MAX] = {emulator,   "-nodefaults", "-no-user-config",
                                  "-display", "none",        "-chardev",
                                  chardev,    "-mon",        "chardev=monitor,mode=control"};
    for (size_t n = 9; *args; args++) {
        assert_true(n < ARGS_MAX - 1);
        argv[n++] = *args;
    }
    assert_true(n_fds < ARGS_MAX);
    for (size_t i = 0; i < n_fds; i++)
        keep[i] = fds[i];
    keep[n_fds] = monitor[1];

    *qemu = (struct testing_qemu){.log_path = text_format("%s/%s.log", directory, name)};
    const struct process_start start = {.argv = (char *const *)(uintptr_t)argv,
                                        .log_path = qemu->log_path,
                                        .keep_fds = keep,
                                        .n_keep_fds = n_fds + 1};
    struct error *err = NULL;
    int started = process_start(&start, &qemu->id, &err);
    close(monitor[1]);
    if (started < 0)
        close(monitor[0]);
    else
        qemu->qmp = qmp_attach(monitor[0], handler, -1, clock_deadline_ns(20000), &err);
    if (!qemu->qmp)
        fail_msg("%s; its log: %s", err->message, process_log_tail(qemu->log_path));
}

void testing_stop(struct testing_qemu *qemu)
{
    qmp_close(qemu->qmp);
    if (qemu->id.pid)
        process_end(&qemu->id, 5000, NULL);
    free(qemu->log_path);
    *qemu = (struct testing_qemu){0};
}

int testing_script_set_up(void **state)
{
    struct testing_script *script = calloc(1, sizeof(*script));
    script->directory = testing_directory();
    script->log = text_format("%s/log", script->directory);
    *state = script;
    return 0;
}

int testing_script_tear_down(void **state)
{
    struct testing_script *script = *state;
    if (script->id.pid)
        process_end(&script->id, 0, NULL);
    testing_directory_remove(script->directory);
    free(script->log);
    free(script);
    return 0;
}

int testing_script_start(struct testing_script *script, const char *text, const char *user,
                         bool need_kvm, const int *fds, size_t n_fds, struct error **err)
{
    const char *const argv[] = {"/bin/sh", "-c", text, NULL};
    const struct process_start start = {.argv = (char *const *)(uintptr_t)argv,
                                        .user = user,
                                        .log_path = script->log,
                                        .keep_fds = fds,
                                        .n_keep_fds = n_fds,
                                        .need_kvm = need_kvm};
    return process_start(&start, &script->id, err);
}
