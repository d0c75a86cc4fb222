/* SPDX-License-Identifier: Apache-2.0 */
/* <serial>, <console>, <channel> */
#include "domain/parse.h"

#include <string.h>
#include <sys/un.h>

#include "base/text.h"

static const char *const backends[] = {[CHAR_PTY] = "pty",
                                       [CHAR_FILE] = "file",
                                       [CHAR_UNIX] = "unix",
                                       [CHAR_TCP] = "tcp",
                                       [CHAR_UDP] = "udp",
                                       [CHAR_NULL] = "null",
                                       NULL};

static char *parse_host(struct reader *reader, xmlNode *source, const char *name)
{
    const char *host = reader_attribute(source, name);
    if (host && *host && strpbrk(host, ", \t\r\n")) {
        reader_fault(reader, source, name, ERROR_INVALID, "'%s' is no host", host);
        return NULL;
    }
    return host && *host ? text_copy(host) : NULL;
}

static char *parse_service(struct reader *reader, xmlNode *source)
{
    int64_t port = 0;
    if (!reader_number(reader, source, "service", 0, 65535, &port)) {
        if (!xmlHasProp(source, BAD_CAST "service"))
            reader_fault(reader, source, NULL, ERROR_INVALID, "attribute 'service' is missing");
        return NULL;
    }
    return text_format("%d", (int)port);
}

/* The sockets that libvirt made for a running guest's channels are not wanted again. */
static bool is_generated(const char *path)
{
    static const char *const folders[] = {"/run/libvirt/qemu/channel/",
                                          "/var/run/libvirt/qemu/channel/",
                                          "/var/lib/libvirt/qemu/channel/"};
    for (size_t i = 0; i < ARRAY_SIZE(folders); i++)
        if (strncmp(path, folders[i], strlen(folders[i])) == 0)
            return true;
    return false;
}

static void parse_unix(struct reader *reader, struct char_device *device, xmlNode *source)
{
    static const char *const modes[] = {"bind", "connect", NULL};
    const char *mode = reader_choice(reader, source, "mode", modes);
    const char *path = reader_attribute(source, "path");
    device->listen = !text_equal(mode, "connect");
    if (path && *path && !(device->role == CHAR_CHANNEL && is_generated(path)))
        device->path = parse_path(reader, source, path);
    if (device->path && strlen(device->path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
        reader_fault(reader, source, "path", ERROR_INVALID,
                     "'%s' is longer than a UNIX socket's path can be", device->path);
    if (!device->listen)
        reader_fault(reader, source, "mode", ERROR_UNSUPPORTED,
                     "mode='connect' is not supported (known: bind)");
}

static void parse_tcp(struct reader *reader, struct char_device *device, xmlNode *node)
{
    static const char *const modes[] = {"bind", "connect", NULL};
    static const char *const protocols[] = {"raw", "telnet", NULL};
    xmlNode *source = reader_child(reader, node, "source");
    if (!source) {
        reader_fault(reader, node, NULL, ERROR_INVALID, "<source> is missing");
        return;
    }
    device->listen = text_equal(reader_choice(reader, source, "mode", modes), "bind");
    device->host = parse_host(reader, source, "host");
    device->service = parse_service(reader, source);
    if (!device->host)
        reader_fault(reader, source, NULL, ERROR_INVALID, "attribute 'host' is missing");
    if (reader_flag(reader, source, "tls") == 1)
        reader_fault(reader, source, "tls", ERROR_UNSUPPORTED, "TLS is not supported here");
    xmlNode *protocol = reader_child(reader, node, "protocol");
    device->telnet = text_equal(reader_choice(reader, protocol, "type", protocols), "telnet");
}

/* Two <source>: mode='connect' says where to send, mode='bind' where to listen. */
static void parse_udp(struct reader *reader, struct char_device *device, xmlNode *node)
{
    static const char *const modes[] = {"bind", "connect", NULL};
    for (xmlNode *source = NULL; (source = reader_next(node, source, "source"));) {
        bool bind = text_equal(reader_choice(reader, source, "mode", modes), "bind");
        char **host = bind ? &device->bind_host : &device->host;
        char **service = bind ? &device->bind_service : &device->service;
        if (*host || *service) {
            reader_fault(reader, source, NULL, ERROR_INVALID, "a second source of this mode");
            continue;
        }
        *host = parse_host(reader, source, "host");
        *service = parse_service(reader, source);
    }
    if (!device->service)
        reader_fault(reader, node, NULL, ERROR_INVALID, "<source mode='connect'> is missing");
    else if (!device->host)
        device->host = text_copy("127.0.0.1");
}

static void parse_file(struct reader *reader, struct char_device *device, xmlNode *node,
                       xmlNode *source)
{
    const char *path = reader_attribute(source, "path");
    if (source)
        device->path = parse_path(reader, source, path);
    else
        reader_fault(reader, node, NULL, ERROR_INVALID, "<source path=...> is missing");
    if (reader_flag(reader, source, "append") == 0)
        reader_fault(reader, source, "append", ERROR_UNSUPPORTED,
                     "append='off' is not supported: what the source host wrote would be lost at "
                     "the next move");
    device->append = true;
}

/* False when the kind of back end is not ours: one finding says it all. */
static bool parse_backend(struct reader *reader, struct char_device *device, xmlNode *node)
{
    const char *type = reader_choice(reader, node, "type", backends);
    if (!type) {
        if (!xmlHasProp(node, BAD_CAST "type"))
            reader_fault(reader, node, NULL, ERROR_INVALID, "attribute 'type' is missing");
        reader_keep(node);
        return false;
    }
    for (size_t i = 0; backends[i]; i++)
        if (backends[i] == type)
            device->backend = (enum char_backend)i;
    if (device->backend == CHAR_TCP) {
        parse_tcp(reader, device, node);
        return true;
    }
    if (device->backend == CHAR_UDP) {
        parse_udp(reader, device, node);
        return true;
    }
    xmlNode *source = reader_child(reader, node, "source");
    if (device->backend == CHAR_PTY) { /* a running guest's: another one each time */
        reader_attribute(node, "tty");
        reader_attribute(source, "path");
    } else if (device->backend == CHAR_FILE) {
        parse_file(reader, device, node, source);
    } else if (device->backend == CHAR_UNIX) {
        parse_unix(reader, device, source);
        if (!device->path && device->role != CHAR_CHANNEL)
            reader_fault(reader, node, NULL, ERROR_INVALID, "<source path=...> is missing");
    }
    for (xmlNode *label = NULL; (label = reader_next(source, label, "seclabel"));)
        reader_keep(label);
    return true;
}

static struct char_device *add_device(struct domain *domain, xmlNode *node, enum char_role role)
{
    struct char_device *device = MODEL_ADD(&domain->private->chars, &domain->private->n_chars);
    device->device.node = node;
    device->role = role;
    device->controller = device->port = -1;
    return device;
}

static void parse_port_address(struct reader *reader, struct char_device *device, xmlNode *node)
{
    static const char *const types[] = {"virtio-serial", NULL};
    parse_alias(reader, node, &device->device.alias);
    xmlNode *address = reader_child(reader, node, "address");
    int64_t controller = 0, bus = 0, port = -1;
    if (!address || !reader_choice(reader, address, "type", types))
        return;
    reader_number(reader, address, "controller", 0, 255, &controller);
    reader_number(reader, address, "bus", 0, 0, &bus);
    reader_number(reader, address, "port", 0, 511, &port);
    device->controller = (int)controller;
    device->port = (int)port;
}

static size_t count_role(const struct domain *domain, enum char_role role)
{
    size_t count = 0;
    for (size_t i = 0; i < domain->private->n_chars; i++)
        count += domain->private->chars[i].role == role;
    return count;
}

static void parse_isa(struct reader *reader, struct domain *domain, struct char_device *device,
                      xmlNode *node)
{
    static const char *const types[] = {"isa-serial", "serial", NULL};
    static const char *const models[] = {"isa-serial", NULL};
    xmlNode *target = reader_child(reader, node, "target");
    reader_choice(reader, target, "type", types);
    reader_choice(reader, reader_child(reader, target, "model"), "name", models);
    int64_t port = (int64_t)count_role(domain, CHAR_SERIAL) - 1;
    reader_number(reader, target, "port", 0, 3, &port);
    device->port = (int)port;
    parse_alias(reader, node, &device->device.alias);
    if (port > 3)
        reader_fault(reader, node, NULL, ERROR_INVALID, "a machine has at most 4 serial ports");
    for (size_t i = 0; i + 1 < domain->private->n_chars; i++)
        if (domain->private->chars[i].role == CHAR_SERIAL &&
            domain->private->chars[i].port == device->port)
            reader_fault(reader, node, NULL, ERROR_INVALID, "serial port %d is given twice",
                         device->port);
}

void parse_serial(struct reader *reader, struct domain *domain, xmlNode *node)
{
    struct char_device *device = add_device(domain, node, CHAR_SERIAL);
    if (parse_backend(reader, device, node))
        parse_isa(reader, domain, device, node);
}

/*
 * A console on a serial port is the first <serial> said again, as libvirt prints it for old
 * clients; where there is no <serial>, it is the serial port itself.
 */
static void parse_serial_console(struct reader *reader, struct domain *domain, xmlNode *node)
{
    if (reader_peek(node->parent, "serial")) {
        if (reader_peek(node->parent, "console") != node)
            reader_fault(reader, node, NULL, ERROR_UNSUPPORTED,
                         "only the first <console> can stand for a <serial>; use <serial>");
        reader_keep(node);
        return;
    }
    parse_serial(reader, domain, node);
}

void parse_console(struct reader *reader, struct domain *domain, xmlNode *node)
{
    static const char *const types[] = {"serial", "virtio", NULL};
    xmlNode *target = reader_child(reader, node, "target");
    const char *type = reader_choice(reader, target, "type", types);
    if (!text_equal(type, "virtio")) {
        if (type || !target || !xmlHasProp(target, BAD_CAST "type"))
            parse_serial_console(reader, domain, node);
        else
            reader_keep(node);
        return;
    }
    struct char_device *device = add_device(domain, node, CHAR_CONSOLE);
    reader_attribute(target, "port"); /* counts consoles; the address says which port it is */
    if (parse_backend(reader, device, node))
        parse_port_address(reader, device, node);
}

void parse_channel(struct reader *reader, struct domain *domain, xmlNode *node)
{
    static const char *const types[] = {"virtio", NULL};
    static const char *const states[] = {"connected", "disconnected", NULL};
    if (text_equal(reader_attribute(node, "type"), "spicevmc")) {
        reader_fault(reader, node, "type", ERROR_UNSUPPORTED,
                     "type='spicevmc' is not supported, as there is no SPICE here; remove it");
        reader_keep(node);
        return;
    }
    struct char_device *device = add_device(domain, node, CHAR_CHANNEL);
    if (!parse_backend(reader, device, node))
        return;
    xmlNode *target = reader_child(reader, node, "target");
    if (!target || !xmlHasProp(target, BAD_CAST "type")) {
        reader_fault(reader, node, NULL, ERROR_INVALID,
                     "<target type='virtio' name=...> is missing");
        return;
    }
    reader_choice(reader, target, "type", types);
    device->channel = text_copy(reader_need(reader, target, "name"));
    reader_choice(reader, target, "state", states); /* of the agent in a running guest */
    parse_port_address(reader, device, node);
}
