/* SPDX-License-Identifier: Apache-2.0 */
/* Aliases in libvirt's manner: they become the ids of QEMU's devices. */
#include "domain/assign.h"

#include <stdio.h>
#include <string.h>

static char *disk_alias(const struct domain *domain, size_t i)
{
    const struct domain_disk *disk = &domain->disks[i];
    const struct disk_detail *detail = &domain->private->disks[i];
    switch (disk->bus) {
    case DISK_VIRTIO:
        return text_format("virtio-disk%d", model_target_index(disk->target));
    case DISK_SCSI:
        return text_format("scsi%d-%d-%d-%d", disk->controller, detail->bus, detail->target,
                           disk->unit);
    case DISK_SATA:
        return text_format("sata%d-%d-%d", disk->controller, detail->bus, disk->unit);
    case DISK_IDE:
        break;
    }
    return text_format("ide%d-%d-%d", disk->controller, detail->bus, disk->unit);
}

static char *controller_alias(const struct domain *domain, const struct controller *controller)
{
    int index = controller->index;
    bool first = index == 0;
    switch (controller->type) {
    case CONTROLLER_PCI:
        return first && model_is_q35(domain) ? text_copy("pcie.0") : text_format("pci.%d", index);
    case CONTROLLER_USB:
        /* Companions of ich9-ehci1 share its index, not its alias. */
        if (model_is_companion(controller))
            return text_format("usb%d-uhci%s", index, controller->model + 9);
        return first ? text_copy("usb") : text_format("usb%d", index);
    case CONTROLLER_SATA:
        return first && model_is_q35(domain) ? text_copy("ide") : text_format("sata%d", index);
    case CONTROLLER_IDE:
        return text_copy("ide");
    case CONTROLLER_SCSI:
        return text_format("scsi%d", index);
    case CONTROLLER_SERIAL:
        break;
    }
    return text_format("virtio-serial%d", index);
}

static const char *chardev_stem(enum char_role role)
{
    static const char *const stems[] = {
        [CHAR_SERIAL] = "serial", [CHAR_CONSOLE] = "console", [CHAR_CHANNEL] = "channel"};
    return stems[role];
}

static bool is_used(const struct model_device *devices, size_t count, const char *alias)
{
    for (size_t i = 0; i < count; i++)
        if (text_equal(*devices[i].alias, alias))
            return true;
    return false;
}

/* stem0, stem1, ...: the first that is free. */
static char *numbered(const struct model_device *devices, size_t count, const char *stem)
{
    for (unsigned number = 0;; number++) {
        char *alias = text_format("%s%u", stem, number);
        if (!is_used(devices, count, alias))
            return alias;
        free(alias);
    }
}

static char *make_alias(const struct domain *domain, const struct model_device *devices,
                        size_t count, const struct model_device *device)
{
    static const struct {
        const char *kind, *stem;
    } stems[] = {{"interface", "net"},      {"video", "video"}, {"input", "input"},
                 {"memballoon", "balloon"}, {"rng", "rng"},     {"watchdog", "watchdog"},
                 {"panic", "panic"}};
    if (strcmp(device->kind, "controller") == 0)
        return controller_alias(domain, device->device);
    if (strcmp(device->kind, "disk") == 0)
        return disk_alias(domain, (size_t)((struct domain_disk *)device->device - domain->disks));
    if (strcmp(device->kind, "chardev") == 0) {
        const struct char_device *chardev = device->device;
        return numbered(devices, count, chardev_stem(chardev->role));
    }
    for (size_t i = 0; i < ARRAY_SIZE(stems); i++)
        if (strcmp(stems[i].kind, device->kind) == 0)
            return numbered(devices, count, stems[i].stem);
    return NULL;
}

/* QEMU names these buses itself, whatever the XML calls them. */
static void check_fixed(struct assign *assign, const struct controller *controller)
{
    const struct domain *domain = assign->domain;
    bool fixed =
        (controller->type == CONTROLLER_PCI && controller->index == 0) ||
        (controller->type == CONTROLLER_SATA && controller->index == 0 && model_is_q35(domain)) ||
        controller->type == CONTROLLER_IDE;
    CLEANUP_FREE char *expected = controller_alias(domain, controller);
    if (fixed && strcmp(controller->device.alias, expected) != 0)
        assign_fault(assign, controller->device.node, "its alias can only be '%s'", expected);
}

void assign_aliases(struct assign *assign)
{
    const struct domain *domain = assign->domain;
    size_t count = 0;
    CLEANUP_FREE struct model_device *devices = model_devices(domain, &count);
    for (size_t i = 0; i < count; i++)
        if (*devices[i].alias && is_used(devices, i, *devices[i].alias))
            assign_fault(assign, devices[i].node, "alias '%s' is used twice", *devices[i].alias);
    for (size_t i = 0; i < count; i++) {
        if (*devices[i].alias)
            continue;
        char *alias = make_alias(domain, devices, count, &devices[i]);
        if (is_used(devices, count, alias))
            assign_fault(assign, devices[i].node, "alias '%s' is taken by another device", alias);
        *devices[i].alias = alias;
        assign_write(assign_element(devices[i].node, "alias"), "name", "%s", alias);
    }
    for (size_t i = 0; i < domain->private->n_controllers; i++)
        check_fixed(assign, &domain->private->controllers[i]);
}
