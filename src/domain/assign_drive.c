/* SPDX-License-Identifier: Apache-2.0 */
/* Controllers that are implied, addresses of drives, ports of virtio-serial and USB. */
#include "domain/assign.h"

#include <stdio.h>
#include <string.h>

#define SATA_PORTS      6
#define SCSI_UNITS      15 /* per controller by libvirt's count: unit 7 is the controller's own */
#define SERIAL_PORTS    31 /* of a virtio-serial controller that does not say */
#define USB_PORTS_PIIX3 2
#define USB_PORTS_EHCI  6
#define USB_PORTS_XHCI  4 /* QEMU's default */

static void need_controller(struct assign *assign, enum controller_type type, int index,
                            const char *model)
{
    if (!model_controller(assign->domain, type, index))
        assign_add_controller(assign, type, index, model);
}

static const char *usb_model(const struct domain *domain)
{
    return model_is_q35(domain) ? "qemu-xhci" : "piix3-uhci";
}

/* Index and model where the XML leaves them out. */
static void complete_controllers(struct assign *assign)
{
    const struct domain *domain = assign->domain;
    for (size_t i = 0; i < domain->private->n_controllers; i++) {
        struct controller *controller = &domain->private->controllers[i];
        if (controller->index < 0) {
            int index = 0;
            while (model_controller(domain, controller->type, index))
                index++;
            controller->index = index;
            assign_write(controller->device.node, "index", "%d", index);
        }
        const char *model = controller->type == CONTROLLER_USB    ? usb_model(domain)
                            : controller->type == CONTROLLER_SCSI ? "virtio-scsi"
                                                                  : NULL;
        if (!controller->model && model) {
            controller->model = model;
            assign_write(controller->device.node, "model", "%s", model);
        }
    }
}

static void check_controllers(struct assign *assign)
{
    const struct domain *domain = assign->domain;
    for (size_t i = 0; i < domain->private->n_controllers; i++) {
        const struct controller *controller = &domain->private->controllers[i];
        for (size_t j = 0; j < i; j++) {
            const struct controller *other = &domain->private->controllers[j];
            if (other->type == controller->type && other->index == controller->index &&
                !model_is_companion(controller) && !model_is_companion(other))
                assign_fault(assign, controller->device.node, "%s controller %d is given twice",
                             assign_type_name(controller->type), controller->index);
        }
        if (controller->type == CONTROLLER_IDE &&
            (controller->index != 0 || !model_is_i440fx(domain)))
            assign_fault(assign, controller->device.node,
                         "a machine of type pc has one IDE controller, q35 has none");
    }
}

void assign_controllers(struct assign *assign)
{
    const struct domain *domain = assign->domain;
    complete_controllers(assign);
    check_controllers(assign);
    bool usb = false, serial = false;
    for (size_t i = 0; i < domain->private->n_inputs; i++)
        usb = usb || text_equal(domain->private->inputs[i].bus, "usb");
    for (size_t i = 0; i < domain->private->n_chars; i++)
        serial = serial || domain->private->chars[i].role != CHAR_SERIAL;
    need_controller(assign, CONTROLLER_PCI, 0, model_is_q35(domain) ? "pcie-root" : "pci-root");
    if (usb)
        need_controller(assign, CONTROLLER_USB, 0, usb_model(domain));
    if (serial)
        need_controller(assign, CONTROLLER_SERIAL, 0, NULL);
}

/* libvirt's way from the letter of the target to a place. */
static void default_place(struct domain_disk *disk, struct disk_detail *detail)
{
    int index = model_target_index(disk->target);
    if (disk->bus == DISK_SATA) {
        disk->controller = index / SATA_PORTS;
        disk->unit = index % SATA_PORTS;
    } else if (disk->bus == DISK_IDE) {
        disk->controller = index / 4;
        detail->bus = index % 4 / 2;
        disk->unit = index % 2;
    } else {
        disk->controller = index / SCSI_UNITS;
        disk->unit = index % SCSI_UNITS;
        disk->unit += disk->unit >= 7;
    }
}

static bool same_place(const struct domain *domain, size_t i, size_t j)
{
    const struct domain_disk *a = &domain->disks[i], *b = &domain->disks[j];
    const struct disk_detail *x = &domain->private->disks[i], *y = &domain->private->disks[j];
    return a->bus == b->bus && a->controller == b->controller && x->bus == y->bus &&
           x->target == y->target && a->unit == b->unit;
}

/* A disk that waits for its place is at -1, where no other is. */
static void check_place(struct assign *assign, size_t i)
{
    const struct domain *domain = assign->domain;
    for (size_t j = 0; j < domain->n_disks; j++)
        if (j != i && same_place(domain, i, j)) {
            assign_fault(assign, domain->private->disks[i].node,
                         "'%s' and '%s' have the same drive address", domain->disks[j].target,
                         domain->disks[i].target);
            return;
        }
}

static void need_disk_controller(struct assign *assign, const struct domain_disk *disk,
                                 const xmlNode *node)
{
    if (disk->bus == DISK_SATA)
        need_controller(assign, CONTROLLER_SATA, disk->controller, NULL);
    else if (disk->bus == DISK_SCSI)
        need_controller(assign, CONTROLLER_SCSI, disk->controller, "virtio-scsi");
    else if (!model_is_i440fx(assign->domain) || disk->controller != 0)
        assign_fault(assign, node,
                     "only a machine of type pc has IDE, with 4 drives; use bus='sata'");
    else
        need_controller(assign, CONTROLLER_IDE, 0, NULL);
}

void assign_drives(struct assign *assign)
{
    struct domain *domain = assign->domain;
    for (size_t i = 0; i < domain->n_disks; i++) {
        struct domain_disk *disk = &domain->disks[i];
        struct disk_detail *detail = &domain->private->disks[i];
        if (disk->bus == DISK_VIRTIO)
            continue;
        bool fresh = !detail->addressed;
        if (fresh) {
            default_place(disk, detail);
            detail->addressed = true;
        }
        check_place(assign, i);
        need_disk_controller(assign, disk, detail->node);
        if (!fresh)
            continue;
        xmlNode *address = assign_element(detail->node, "address");
        assign_write(address, "type", "drive");
        assign_write(address, "controller", "%d", disk->controller);
        assign_write(address, "bus", "%d", detail->bus);
        assign_write(address, "target", "%d", detail->target);
        assign_write(address, "unit", "%d", disk->unit);
    }
}

/* virtio-serial: port 0 is for a console, as old guests expect. */

static const struct char_device *port_user(const struct domain *domain, int controller, int port,
                                           const struct char_device *except)
{
    for (size_t i = 0; i < domain->private->n_chars; i++) {
        const struct char_device *other = &domain->private->chars[i];
        if (other != except && other->role != CHAR_SERIAL && other->controller == controller &&
            other->port == port)
            return other;
    }
    return NULL;
}

static int max_ports(const struct controller *controller)
{
    return controller && controller->ports > 0 ? (int)controller->ports : SERIAL_PORTS;
}

static void assign_serial_port(struct assign *assign, struct char_device *device)
{
    const struct domain *domain = assign->domain;
    bool fresh = device->controller < 0 || device->port < 0;
    if (device->controller < 0)
        device->controller = 0;
    need_controller(assign, CONTROLLER_SERIAL, device->controller, NULL);
    int end = max_ports(model_controller(domain, CONTROLLER_SERIAL, device->controller));
    if (device->port < 0)
        for (int port = device->role == CHAR_CHANNEL; port < end && device->port < 0; port++)
            if (!port_user(domain, device->controller, port, device))
                device->port = port;
    if (device->port < 0 || device->port >= end)
        assign_fault(assign, device->device.node, "virtio-serial controller %d has %d ports",
                     device->controller, end);
    else if (port_user(domain, device->controller, device->port, device))
        assign_fault(assign, device->device.node, "port %d of controller %d is used twice",
                     device->port, device->controller);
    else if (device->role == CHAR_CHANNEL && device->port == 0)
        assign_fault(assign, device->device.node, "port 0 is for a console");
    if (!fresh)
        return;
    xmlNode *address = assign_element(device->device.node, "address");
    assign_write(address, "type", "virtio-serial");
    assign_write(address, "controller", "%d", device->controller);
    assign_write(address, "bus", "0");
    assign_write(address, "port", "%d", device->port);
}

static int usb_ports(const struct controller *controller)
{
    if (strcmp(controller->model, "piix3-uhci") == 0)
        return USB_PORTS_PIIX3;
    if (strstr(controller->model, "ehci"))
        return USB_PORTS_EHCI;
    return controller->ports > 0 ? (int)controller->ports : USB_PORTS_XHCI;
}

static const struct controller *usb_controller(const struct domain *domain, int index)
{
    for (size_t i = 0; i < domain->private->n_controllers; i++) {
        const struct controller *controller = &domain->private->controllers[i];
        if (controller->type == CONTROLLER_USB && controller->index == index &&
            !model_is_companion(controller))
            return controller;
    }
    return NULL;
}

static bool usb_port_used(const struct domain *domain, int bus, const char *port,
                          const struct input *except)
{
    for (size_t i = 0; i < domain->private->n_inputs; i++) {
        const struct input *other = &domain->private->inputs[i];
        if (other != except && text_equal(other->bus, "usb") && other->usb_bus == bus &&
            text_equal(other->usb_port, port))
            return true;
    }
    return false;
}

static void assign_usb_port(struct assign *assign, struct input *input)
{
    const struct domain *domain = assign->domain;
    const struct controller *controller = usb_controller(domain, input->usb_bus);
    if (!controller) {
        assign_fault(assign, input->device.node, "there is no USB controller %d", input->usb_bus);
        return;
    }
    int end = usb_ports(controller);
    if (input->usb_port) {
        if (atoi(input->usb_port) > end) /* NOLINT(cert-err34-c): one to three digits */
            assign_fault(assign, input->device.node, "USB controller %d has %d ports",
                         input->usb_bus, end);
        else if (usb_port_used(domain, input->usb_bus, input->usb_port, input))
            assign_fault(assign, input->device.node, "USB port %s is used twice", input->usb_port);
        return;
    }
    for (int port = 1; port <= end && !input->usb_port; port++) {
        CLEANUP_FREE char *text = text_format("%d", port);
        if (!usb_port_used(domain, input->usb_bus, text, input))
            input->usb_port = STEAL(text);
    }
    if (!input->usb_port) {
        assign_fault(assign, input->device.node, "all %d ports of USB controller %d are used", end,
                     input->usb_bus);
        return;
    }
    xmlNode *address = assign_element(input->device.node, "address");
    assign_write(address, "type", "usb");
    assign_write(address, "bus", "%d", input->usb_bus);
    assign_write(address, "port", "%s", input->usb_port);
}

void assign_ports(struct assign *assign)
{
    struct domain_private *private = assign->domain->private;
    for (size_t i = 0; i < private->n_chars; i++)
        if (private->chars[i].role != CHAR_SERIAL)
            assign_serial_port(assign, &private->chars[i]);
    for (size_t i = 0; i < private->n_inputs; i++)
        if (text_equal(private->inputs[i].bus, "usb"))
            assign_usb_port(assign, &private->inputs[i]);
}
