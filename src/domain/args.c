/* SPDX-License-Identifier: Apache-2.0 */
/* The list of arguments, and the order in which its parts are made. */
#include "domain/args.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void append(struct args *args, char *text)
{
    char **slot = MODEL_ADD(&args->argv, &args->count);
    *slot = text;
}

void args_flag(struct args *args, const char *option)
{
    append(args, text_copy(option));
}

void args_add(struct args *args, const char *option, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    char *value = NULL;
    if (vasprintf(&value, format, list) < 0)
        abort();
    va_end(list);
    append(args, text_copy(option));
    append(args, value);
}

void args_add_json(struct args *args, const char *option, json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT | JSON_PRESERVE_ORDER);
    json_decref(value);
    if (!text)
        abort(); /* out of memory: all strings come from libxml2 and are UTF-8 */
    append(args, text_copy(option));
    append(args, text);
}

char *args_escape(const char *text)
{
    struct text out = {0};
    text_append(&out, "%s", "");
    for (; *text; text++)
        text_append_bytes(&out, *text == ',' ? ",," : text, *text == ',' ? 2 : 1);
    return out.data;
}

json_t *args_device(const char *driver, const char *id)
{
    json_t *device = json_object();
    json_object_set_new(device, "driver", json_string(driver));
    json_object_set_new(device, "id", json_string(id));
    return device;
}

void args_text(json_t *object, const char *key, const char *value)
{
    if (value)
        json_object_set_new(object, key, json_string(value));
}

void args_number(json_t *object, const char *key, int64_t value)
{
    if (value)
        json_object_set_new(object, key, json_integer(value));
}

void args_pci(const struct args *args, json_t *device, const struct domain_pci *pci)
{
    const struct controller *bus = model_controller(args->domain, CONTROLLER_PCI, (int)pci->bus);
    CLEANUP_FREE char *address = pci->function ? text_format("0x%x.0x%x", pci->slot, pci->function)
                                               : text_format("0x%x", pci->slot);
    if (pci->multifunction)
        json_object_set_new(device, "multifunction", json_true());
    args_text(device, "bus", bus->device.alias);
    args_text(device, "addr", address);
}

char *args_file(struct args *args, const char *path, bool writable, bool append_only, bool direct,
                const char *what, struct error **err)
{
    const struct qemu_host *host = args->host;
    int set = host->ops->file(host->context, path, writable, append_only, direct, err);
    if (set < 0) {
        error_prefix(err, "%s", what);
        return NULL;
    }
    size_t n = 0;
    const int *fds = host->ops->set_fds(host->context, set, &n);
    CLEANUP_FREE char *opaque = args_escape(path);
    for (size_t i = 0; i < n; i++)
        args_add(args, "-add-fd", "fd=%d,set=%d,opaque=%s", fds[i], set, opaque);
    return text_format("/dev/fdset/%d", set);
}

static int check_assigned(const struct domain *domain, struct error **err)
{
    size_t count = 0;
    CLEANUP_FREE struct model_device *devices = model_devices(domain, &count);
    bool complete = domain->uuid[0] && (model_is_q35(domain) || model_is_i440fx(domain)) &&
                    model_controller(domain, CONTROLLER_PCI, 0);
    for (size_t i = 0; i < count; i++)
        complete = complete && *devices[i].alias && (!devices[i].uses_pci || devices[i].pci->set);
    if (!complete)
        return error_set(err, ERROR_INTERNAL, "%s: its addresses are not assigned", domain->name);
    return 0;
}

/* JSON in -device, memory-backend of -machine, -action: what this folder writes began by then. */
static int check_version(const struct qemu_args_options *options, struct error **err)
{
    if (options->version >= 7002)
        return 0;
    error_set(err, ERROR_UNSUPPORTED, "%s is QEMU %d.%d", options->emulator,
              options->version / 1000, options->version % 1000);
    return error_hint(err, "QEMU 7.2 is the oldest that is supported");
}

static void add_actions(struct args *args)
{
    static const char *const poweroff[] = {
        [DOMAIN_DESTROY] = "poweroff", [DOMAIN_RESTART] = "pause", [DOMAIN_PRESERVE] = "pause"};
    static const char *const reboot[] = {
        [DOMAIN_DESTROY] = "shutdown", [DOMAIN_RESTART] = "reset", [DOMAIN_PRESERVE] = "shutdown"};
    static const char *const crash[] = {
        [DOMAIN_DESTROY] = "shutdown", [DOMAIN_RESTART] = "shutdown", [DOMAIN_PRESERVE] = "pause"};
    const struct domain *domain = args->domain;
    args_add(args, "-action", "reboot=%s,shutdown=%s,panic=%s", reboot[domain->on_reboot],
             poweroff[domain->on_poweroff], crash[domain->on_crash]);
}

static int add_monitor(struct args *args, struct error **err)
{
    const struct qemu_host *host = args->host;
    int fd = host->ops->listen(host->context, args->options->monitor_path, err);
    if (fd < 0)
        return error_prefix(err, "monitor");
    args_add(args, "-chardev", "socket,id=charmonitor,fd=%d,server=on,wait=off", fd);
    args_add(args, "-mon", "chardev=charmonitor,id=monitor,mode=control");
    return 0;
}

static void add_start(struct args *args)
{
    CLEANUP_FREE char *name = args_escape(args->domain->name);
    args_flag(args, args->options->emulator);
    args_add(args, "-name", "guest=%s,debug-threads=on", name);
    args_flag(args, "-S");
    args_flag(args, "-nodefaults");
    args_flag(args, "-no-user-config");
    args_add(args, "-display", "none");
    args_add(args, "-sandbox",
             "on,obsolete=deny,elevateprivileges=deny,spawn=deny,"
             "resourcecontrol=deny");
    args_add(args, "-msg", "timestamp=on");
    args_add(args, "-uuid", "%s", args->domain->uuid);
}

static int build(struct args *args, struct error **err)
{
    add_start(args);
    if (args_machine(args, err) < 0 || add_monitor(args, err) < 0)
        return -1;
    args_memory(args);
    args_cpu(args);
    args_clock(args);
    args_boot(args);
    add_actions(args);
    args_controllers(args);
    if (args_disks(args, err) < 0 || args_interfaces(args, err) < 0 || args_chars(args, err) < 0)
        return -1;
    args_devices(args);
    if (args->options->incoming)
        args_add(args, "-incoming", "defer");
    return 0;
}

char **qemu_args(const struct domain *domain, const struct qemu_args_options *options,
                 const struct qemu_host *host, struct error **err)
{
    struct args args = {
        .domain = domain, .private = domain->private, .options = options, .host = host};
    int result = check_assigned(domain, err);
    if (result == 0)
        result = check_version(options, err);
    if (result == 0)
        result = build(&args, err);
    append(&args, NULL);
    if (result == 0)
        return args.argv;
    error_prefix(err, "%s", domain->name);
    qemu_args_free(args.argv);
    return NULL;
}

void qemu_args_free(char **argv)
{
    for (char **arg = argv; arg && *arg; arg++)
        free(*arg);
    free(argv);
}
