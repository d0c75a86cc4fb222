/* SPDX-License-Identifier: Apache-2.0 */
/* What a guest must find again on every host: assigned once, and written into the document. */
#include "domain/assign.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

void assign_fault(struct assign *assign, const xmlNode *node, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    CLEANUP_FREE char *what = NULL;
    if (vasprintf(&what, format, args) < 0)
        abort();
    va_end(args);
    long line = (long)((uintptr_t)node->_private >> 32);
    text_append(&assign->problems, "%s", assign->problems.length ? "\n" : "");
    if (line)
        text_append(&assign->problems, "line %ld, column %ld: ", line,
                    (long)((uintptr_t)node->_private & UINT32_MAX));
    text_append(&assign->problems, "<%s>: %s", (const char *)node->name, what);
}

void assign_write(xmlNode *node, const char *attribute, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    CLEANUP_FREE char *value = NULL;
    if (vasprintf(&value, format, args) < 0)
        abort();
    va_end(args);
    if (!xmlSetProp(node, BAD_CAST attribute, BAD_CAST value))
        abort();
}

static xmlNode *find_element(const xmlNode *parent, const char *name)
{
    for (xmlNode *child = parent->children; child; child = child->next)
        if (child->type == XML_ELEMENT_NODE && !child->ns &&
            strcmp((const char *)child->name, name) == 0)
            return child;
    return NULL;
}

/* libvirt's order: <mac> first, <alias> and <address> last. */
xmlNode *assign_element(xmlNode *parent, const char *name)
{
    xmlNode *found = find_element(parent, name);
    if (found)
        return found;
    xmlNode *made = xmlNewDocNode(parent->doc, NULL, BAD_CAST name, NULL);
    if (!made)
        abort();
    xmlNode *alias = find_element(parent, "alias"), *address = find_element(parent, "address");
    xmlNode *before = NULL;
    if (strcmp(name, "mac") == 0)
        before = parent->children;
    else if (strcmp(name, "alias") == 0)
        before = address;
    else if (strcmp(name, "address") != 0)
        before = alias ? alias : address;
    if (before)
        xmlAddPrevSibling(before, made);
    else
        xmlAddChild(parent, made);
    return made;
}

static int random_bytes(uint8_t *bytes, size_t size, struct error **err)
{
    if (getrandom(bytes, size, 0) != (ssize_t)size)
        return error_set(err, ERROR_SYSTEM, "no random numbers from the kernel");
    return 0;
}

static xmlNode *root_of(const struct domain *domain)
{
    return xmlDocGetRootElement(domain->document);
}

/* Puts `made` after the last of `names` in order of appearance there, or first. */
static void insert_after(xmlNode *parent, xmlNode *made, const char *const *names)
{
    for (; *names; names++)
        for (xmlNode *child = parent->last; child; child = child->prev)
            if (child->type == XML_ELEMENT_NODE && strcmp((const char *)child->name, *names) == 0) {
                xmlAddNextSibling(child, made);
                return;
            }
    if (parent->children)
        xmlAddPrevSibling(parent->children, made);
    else
        xmlAddChild(parent, made);
}

static int assign_uuid(struct domain *domain, struct error **err)
{
    if (domain->uuid[0])
        return 0;
    uint8_t bytes[16];
    if (random_bytes(bytes, sizeof(bytes), err) < 0)
        return -1;
    bytes[6] = (uint8_t)((bytes[6] & 0x0f) | 0x40); /* version 4, variant 1 (RFC 4122) */
    bytes[8] = (uint8_t)((bytes[8] & 0x3f) | 0x80);
    char hex[33];
    text_hex(bytes, sizeof(bytes), hex);
    snprintf(domain->uuid, sizeof(domain->uuid), "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8,
             hex + 12, hex + 16, hex + 20);
    static const char *const after[] = {"name", NULL};
    xmlNode *node = xmlNewDocNode(domain->document, NULL, BAD_CAST "uuid", BAD_CAST domain->uuid);
    if (!node)
        abort();
    insert_after(root_of(domain), node, after);
    return 0;
}

static int assign_machine(struct domain *domain, const struct domain_assign_host *host,
                          struct error **err)
{
    const char *machine = host->machine(host->context, domain->machine);
    xmlNode *type = assign_element(domain->private->os.node, "type");
    if (!machine) {
        error_set(err, ERROR_NOT_FOUND, "line %ld: <type>: the emulator has no machine type '%s'",
                  (long)((uintptr_t)type->_private >> 32),
                  domain->machine ? domain->machine : "(default)");
        return error_hint(err, "see the list that `qemu-system-x86_64 -machine help` prints");
    }
    if (!text_equal(domain->machine, machine)) {
        char *copy = text_copy(machine);
        free(domain->machine);
        domain->machine = copy;
        assign_write(type, "machine", "%s", machine);
    }
    if (!xmlHasProp(type, BAD_CAST "arch"))
        assign_write(type, "arch", "x86_64");
    if (!model_is_q35(domain) && !model_is_i440fx(domain))
        return error_set(err, ERROR_UNSUPPORTED,
                         "machine type '%s' is not supported; use q35 or pc", machine);
    return 0;
}

static bool mac_used(const struct domain *domain, const char *mac)
{
    for (size_t i = 0; i < domain->n_interfaces; i++)
        if (strcmp(domain->interfaces[i].mac, mac) == 0)
            return true;
    return false;
}

static int assign_interfaces(struct assign *assign, struct error **err)
{
    struct domain *domain = assign->domain;
    for (size_t i = 0; i < domain->n_interfaces; i++) {
        struct domain_interface *interface = &domain->interfaces[i];
        xmlNode *node = domain->private->interfaces[i].node;
        if (!interface->model) {
            interface->model = text_copy("rtl8139"); /* libvirt's default on x86 */
            assign_write(assign_element(node, "model"), "type", "%s", interface->model);
        }
        if (interface->mac[0]) {
            for (size_t j = 0; j < i; j++)
                if (strcmp(domain->interfaces[j].mac, interface->mac) == 0)
                    assign_fault(assign, node, "MAC address %s is used twice", interface->mac);
            continue;
        }
        char mac[18];
        do {
            uint8_t bytes[3];
            if (random_bytes(bytes, sizeof(bytes), err) < 0)
                return -1;
            snprintf(mac, sizeof(mac), "52:54:00:%02x:%02x:%02x", bytes[0], bytes[1], bytes[2]);
        } while (mac_used(domain, mac));
        memcpy(interface->mac, mac, sizeof(mac));
        assign_write(assign_element(node, "mac"), "address", "%s", mac);
    }
    return 0;
}

const char *assign_type_name(enum controller_type type)
{
    static const char *const names[] = {
        [CONTROLLER_PCI] = "pci", [CONTROLLER_USB] = "usb",   [CONTROLLER_SATA] = "sata",
        [CONTROLLER_IDE] = "ide", [CONTROLLER_SCSI] = "scsi", [CONTROLLER_SERIAL] = "virtio-serial",
    };
    return names[type];
}

struct controller *assign_add_controller(struct assign *assign, enum controller_type type,
                                         int index, const char *model)
{
    static const char *const after[] = {"controller", "disk", "emulator", NULL};
    struct domain_private *private = assign->domain->private;
    xmlNode *node = xmlNewDocNode(assign->domain->document, NULL, BAD_CAST "controller", NULL);
    if (!node)
        abort();
    insert_after(private->devices, node, after);
    struct controller *controller = MODEL_ADD(&private->controllers, &private->n_controllers);
    controller->type = type;
    controller->index = index;
    controller->model = model;
    controller->chassis = controller->port = controller->chassis_number = -1;
    controller->ports = controller->vectors = controller->queues = controller->start_port = -1;
    controller->device.node = node;
    assign_write(node, "type", "%s", assign_type_name(type));
    assign_write(node, "index", "%d", index);
    if (model)
        assign_write(node, "model", "%s", model);
    return controller;
}

int domain_assign(struct domain *domain, const struct domain_assign_host *host, struct error **err)
{
    CLEANUP_TEXT struct text problems = {0};
    struct assign assign = {.domain = domain};
    if (assign_machine(domain, host, err) < 0 || assign_uuid(domain, err) < 0)
        return -1;
    int result = assign_interfaces(&assign, err);
    if (result == 0) {
        assign_controllers(&assign);
        assign_drives(&assign);
        assign_ports(&assign);
        if (!assign.problems.length)
            assign_pci(&assign);
        assign_aliases(&assign);
    }
    problems = assign.problems;
    if (result == 0 && problems.length)
        result = error_set(err, ERROR_INVALID, "%s", problems.data);
    return result;
}

int domain_rename(struct domain *domain, const char *name, struct error **err)
{
    if (!domain_name_valid(name))
        return error_set(err, ERROR_INVALID,
                         "'%s' is no name for a VM: 1 to 255 bytes, no '/', no control characters",
                         name);
    char *copy = text_copy(name);
    free(domain->name);
    domain->name = copy;
    xmlNode *node = assign_element(root_of(domain), "name");
    xmlNodeSetContent(node, BAD_CAST ""); /* SetContent would read entities: AddContent does not */
    xmlNodeAddContent(node, BAD_CAST name);
    return 0;
}
