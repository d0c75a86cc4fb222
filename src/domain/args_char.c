/* SPDX-License-Identifier: Apache-2.0 */
/* Serial ports, consoles and channels: -chardev and -device. */
#include <string.h>

#include "domain/args.h"

/* A host in a key=value list; IPv6 addresses stand as they are, as QEMU wants them there. */
static void add_tcp(struct args *args, const char *id, const struct char_device *device)
{
    args_add(args, "-chardev", "socket,id=%s,host=%s,port=%s%s%s", id, device->host,
             device->service, device->listen ? ",server=on,wait=off" : "",
             device->telnet ? ",telnet=on" : "");
}

static void add_udp(struct args *args, const char *id, const struct char_device *device)
{
    args_add(args, "-chardev", "udp,id=%s,host=%s,port=%s,localaddr=%s,localport=%s", id,
             device->host, device->service, device->bind_host ? device->bind_host : "",
             device->bind_service ? device->bind_service : "0");
}

/* Channels without a path get a socket of ours, named after the VM's folder and the port. */
static char *socket_path(const struct args *args, const struct char_device *device)
{
    if (device->path)
        return text_copy(device->path);
    return text_format("%s/%s.sock", args->options->run_directory, device->device.alias);
}

static int add_unix(struct args *args, const char *id, const struct char_device *device,
                    struct error **err)
{
    const struct qemu_host *host = args->host;
    CLEANUP_FREE char *path = socket_path(args, device);
    int fd = host->ops->listen(host->context, path, err);
    if (fd < 0)
        return -1;
    args_add(args, "-chardev", "socket,id=%s,fd=%d,server=on,wait=off", id, fd);
    return 0;
}

static int add_file(struct args *args, const char *id, const struct char_device *device,
                    struct error **err)
{
    CLEANUP_FREE char *name =
        args_file(args, device->path, true, true, false, device->device.alias, err);
    if (!name)
        return -1;
    args_add(args, "-chardev", "file,id=%s,path=%s,append=on", id, name);
    return 0;
}

static int add_backend(struct args *args, const char *id, const struct char_device *device,
                       struct error **err)
{
    switch (device->backend) {
    case CHAR_PTY:
        args_add(args, "-chardev", "pty,id=%s", id);
        return 0;
    case CHAR_NULL:
        args_add(args, "-chardev", "null,id=%s", id);
        return 0;
    case CHAR_TCP:
        add_tcp(args, id, device);
        return 0;
    case CHAR_UDP:
        add_udp(args, id, device);
        return 0;
    case CHAR_FILE:
        return add_file(args, id, device, err);
    case CHAR_UNIX:
        break;
    }
    return add_unix(args, id, device, err);
}

static void add_device(struct args *args, const char *id, const struct char_device *device)
{
    static const char *const drivers[] = {[CHAR_SERIAL] = "isa-serial",
                                          [CHAR_CONSOLE] = "virtconsole",
                                          [CHAR_CHANNEL] = "virtserialport"};
    json_t *object = args_device(drivers[device->role], device->device.alias);
    args_text(object, "chardev", id);
    if (device->role == CHAR_SERIAL) {
        json_object_set_new(object, "index", json_integer(device->port));
    } else {
        const struct controller *controller =
            model_controller(args->domain, CONTROLLER_SERIAL, device->controller);
        CLEANUP_FREE char *bus = text_format("%s.0", controller->device.alias);
        args_text(object, "bus", bus);
        json_object_set_new(object, "nr", json_integer(device->port));
        args_text(object, "name", device->channel);
    }
    args_add_json(args, "-device", object);
}

int args_chars(struct args *args, struct error **err)
{
    for (size_t i = 0; i < args->private->n_chars; i++) {
        const struct char_device *device = &args->private->chars[i];
        CLEANUP_FREE char *id = text_format("char%s", device->device.alias);
        if (add_backend(args, id, device, err) < 0)
            return error_prefix(err, "%s", device->device.alias);
        add_device(args, id, device);
    }
    return 0;
}
