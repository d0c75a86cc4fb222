/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Domain XML from anywhere: parsed, assigned, printed, parsed again and turned into arguments. What
 * was accepted once must be accepted again, unchanged, and must be the same hardware.
 */
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "domain/domain.h"
#include "domain/qemu_args.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *find_machine(void *context, const char *machine)
{
    (void)context;
    return machine && strcmp(machine, "q35") != 0 ? machine : "pc-q35-7.2";
}

static int fake_file(void *context, const char *path, bool writable, bool append, bool direct,
                     struct error **err)
{
    (void)context;
    (void)writable;
    (void)append;
    (void)direct;
    if (strstr(path, "missing"))
        return error_set(err, ERROR_NOT_FOUND, "%s: no such file", path);
    return 1;
}

static const int *fake_set_fds(void *context, int set, size_t *n)
{
    static const int fds[] = {10, 11};
    (void)context;
    (void)set;
    *n = 2;
    return fds;
}

static int fake_backing(void *context, const char *path, const char *format,
                        struct qemu_layer **layers, size_t *n, struct error **err)
{
    (void)context;
    (void)err;
    *n = 1;
    *layers = calloc(1, sizeof(**layers));
    if (!*layers)
        abort();
    (*layers)->path = text_copy(path);
    (*layers)->format = text_copy(format);
    return 0;
}

static int fake_tap(void *context, const struct domain_interface *interface, bool kvm,
                    int *vhost_fd, struct error **err)
{
    (void)context;
    (void)interface;
    (void)err;
    *vhost_fd = kvm ? 12 : -1;
    return 13;
}

static int fake_listen(void *context, const char *path, struct error **err)
{
    (void)context;
    (void)path;
    (void)err;
    return 14;
}

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void make_args(const struct domain *domain)
{
    static const struct qemu_host_ops ops = {.file = fake_file,
                                             .set_fds = fake_set_fds,
                                             .backing = fake_backing,
                                             .tap = fake_tap,
                                             .listen = fake_listen};
    const struct qemu_host host = {.ops = &ops};
    const struct qemu_args_options options = {.emulator = "/usr/bin/qemu-system-x86_64",
                                              .version = 7002,
                                              .monitor_path = "/run/monitor",
                                              .run_directory = "/run"};
    CLEANUP_ERROR struct error *err = NULL;
    char **argv = qemu_args(domain, &options, &host, &err);
    check(argv || err->kind == ERROR_NOT_FOUND); /* the missing file; anything else is ours */
    qemu_args_free(argv);
}

static struct domain *parse_and_assign(const char *xml, size_t size)
{
    static const struct domain_assign_host host = {.machine = find_machine};
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_DOMAIN struct domain *domain = domain_parse(xml, size, &err);
    check(domain || (err && err->message));
    if (!domain || domain_assign(domain, &host, &err) < 0)
        return NULL;
    return STEAL(domain);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP_DOMAIN struct domain *domain = parse_and_assign((const char *)data, size);
    if (!domain)
        return 0;
    CLEANUP_FREE char *xml = domain_format(domain);
    CLEANUP_DOMAIN struct domain *again = parse_and_assign(xml, strlen(xml));
    check(again);
    CLEANUP_FREE char *second = domain_format(again);
    check(strcmp(xml, second) == 0);
    check(domain_same_hardware(domain, again, NULL) == 0);
    make_args(domain);
    return 0;
}
