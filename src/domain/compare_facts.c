/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a guest can see of its hardware.
 *
 * In here: what QEMU shows the guest or writes into the names and sizes of a migration stream. Not
 * in here, so free to differ between hosts: paths, bridges, where a chardev leads, VNC, the kind of
 * memory, labels, actions on events, and the boot order (it counts at the next reboot; but a card
 * that the guest boots from has a ROM, and that counts).
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "domain/compare.h"
#include "domain/reader.h"

void compare_note(struct compare_facts *facts, const xmlNode *node, const char *subject,
                  const char *property, const char *value)
{
    if (!value || (!*value && *property))
        return;
    struct compare_fact *fact = MODEL_ADD(&facts->items, &facts->count);
    *fact = (struct compare_fact){text_copy(subject), property, text_copy(value), node};
}

void compare_release(struct compare_facts *facts)
{
    for (size_t i = 0; i < facts->count; i++) {
        free(facts->items[i].subject);
        free(facts->items[i].value);
    }
    free(facts->items);
}

/* One device: everything is noted under one subject. */
struct subject {
    struct compare_facts *facts;
    const xmlNode *node;
    char *name;
};

static struct subject open_subject(struct compare_facts *facts, const xmlNode *node, char *name)
{
    compare_note(facts, node, name, "", "there");
    return (struct subject){facts, node, name};
}

static void cleanup_subject(struct subject *subject)
{
    free(subject->name);
}

#define SUBJECT CLEANUP(cleanup_subject) struct subject

static void note(const struct subject *subject, const char *property, const char *value)
{
    compare_note(subject->facts, subject->node, subject->name, property, value);
}

/* A number that was not given is not noted. */
static void note_number(const struct subject *subject, const char *property, int64_t value,
                        int64_t not_given)
{
    if (value == not_given)
        return;
    CLEANUP_FREE char *text = text_format("%" PRId64, value);
    note(subject, property, text);
}

static void note_flag(const struct subject *subject, const char *property, bool value)
{
    note(subject, property, value ? "on" : NULL);
}

static void note_pci(const struct subject *subject, const struct domain_pci *pci)
{
    if (!pci->set)
        return;
    CLEANUP_FREE char *text = text_format("%02x:%02x.%x%s", pci->bus, pci->slot, pci->function,
                                          pci->multifunction ? " multifunction" : "");
    note(subject, "PCI address", text);
}

static void gather_list(struct compare_facts *facts, const xmlNode *fallback, const char *name,
                        const struct property_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        compare_note(facts, list->items[i].node ? list->items[i].node : fallback, name,
                     list->items[i].name, list->items[i].value);
}

static void gather_cpu(struct compare_facts *facts, const struct domain *domain,
                       const xmlNode *root)
{
    const struct domain_private *private = domain->private;
    const struct topology *topology = &private->topology;
    const xmlNode *node = reader_peek(root, "cpu");
    SUBJECT cpu = open_subject(facts, node ? node : root, text_copy("<cpu>"));
    note(&cpu, "mode", domain->cpu_mode);
    note(&cpu, "model", domain->cpu_model);
    note(&cpu, "vendor", domain->cpu_model ? private->cpu_vendor : NULL);
    note_number(&cpu, "sockets", topology->sockets ? topology->sockets : domain->vcpus, 0);
    note_number(&cpu, "dies", topology->dies, topology->dies == 1 ? 1 : 0);
    note_number(&cpu, "cores", topology->cores, topology->cores == 1 ? 1 : 0);
    note_number(&cpu, "threads", topology->threads, topology->threads == 1 ? 1 : 0);
    gather_list(facts, root, "<cpu>", &private->cpu);
}

static void gather_machine(struct compare_facts *facts, const struct domain *domain)
{
    const struct domain_private *private = domain->private;
    const xmlNode *root = xmlDocGetRootElement(domain->document);
    SUBJECT whole = open_subject(facts, root, text_copy("<domain>"));
    CLEANUP_FREE char *memory = text_format("%" PRIu64 " bytes", domain->memory);
    note(&whole, "type", domain->accelerator == DOMAIN_KVM ? "kvm" : "qemu");
    note(&whole, "uuid", domain->uuid);
    note(&whole, "memory", memory);
    note_number(&whole, "number of vCPUs", domain->vcpus, 0);
    note_number(&whole, "suspend-to-mem off", private->disable_s3, -1);
    note_number(&whole, "suspend-to-disk off", private->disable_s4, -1);
    note_flag(&whole, "clock in local time", private->clock.localtime);
    note(&whole, "RTC tick policy", private->clock.rtc_tick);
    note(&whole, "RTC track", private->clock.rtc_track);
    note(&whole, "PIT tick policy", private->clock.pit_tick);
    SUBJECT os = open_subject(facts, private->os.node, text_copy("<os>"));
    note(&os, "machine", domain->machine);
    note_flag(&os, "UEFI firmware", domain->loader);
    note_flag(&os, "UEFI variables", domain->nvram);
    note_flag(&os, "secure boot", private->os.loader_secure);
    note_flag(&os, "direct kernel boot", domain->kernel);
    const xmlNode *features = reader_peek(root, "features");
    SUBJECT machine = open_subject(facts, features ? features : root, text_copy("<features>"));
    gather_list(facts, machine.node, machine.name, &private->machine);
    gather_cpu(facts, domain, root);
}

static void gather_disk(struct compare_facts *facts, const struct domain_disk *disk,
                        const struct disk_detail *detail)
{
    static const char *const buses[] = {
        [DISK_VIRTIO] = "virtio", [DISK_SCSI] = "scsi", [DISK_SATA] = "sata", [DISK_IDE] = "ide"};
    SUBJECT subject = open_subject(facts, detail->node, text_format("<disk> %s", disk->target));
    bool through = text_equal(disk->cache, "writethrough") || text_equal(disk->cache, "directsync");
    note(&subject, "device", disk->device == DISK_CDROM ? "cdrom" : "disk");
    note(&subject, "bus", buses[disk->bus]);
    note_pci(&subject, &disk->pci);
    if (disk->bus != DISK_VIRTIO) {
        CLEANUP_FREE char *place =
            text_format("%d:%d:%d:%d", disk->controller, detail->bus, detail->target, disk->unit);
        note(&subject, "drive address", place);
    }
    note(&subject, "serial", disk->serial);
    note(&subject, "wwn", detail->wwn);
    note(&subject, "vendor", detail->vendor);
    note(&subject, "product", detail->product);
    note(&subject, "write cache", through ? "off" : "on");
    note_flag(&subject, "read-only", disk->readonly);
    note_number(&subject, "queues", detail->queues, 0);
    note_number(&subject, "logical block size", detail->logical_block, 0);
    note_number(&subject, "physical block size", detail->physical_block, 0);
    note_number(&subject, "rotation rate", detail->rotation, 0);
}

static void gather_interface(struct compare_facts *facts, const struct domain *domain, size_t i)
{
    const struct domain_interface *interface = &domain->interfaces[i];
    const struct interface_detail *detail = &domain->private->interfaces[i];
    const struct os *os = &domain->private->os;
    SUBJECT subject = open_subject(facts, detail->node, text_format("<interface> %zu", i + 1));
    bool boots = interface->boot_order > 0;
    for (size_t k = 0; k < os->n_boot; k++)
        boots = boots || (i == 0 && strcmp(os->boot[k], "network") == 0);
    note(&subject, "MAC address", interface->mac);
    note(&subject, "model", interface->model);
    note(&subject, "kind", interface->type == INTERFACE_USER ? "user" : "tap");
    note_pci(&subject, &interface->pci);
    note_number(&subject, "rx_queue_size", detail->rx_queue, 0);
    note_number(&subject, "tx_queue_size", detail->tx_queue, 0);
    note_flag(&subject, "boot ROM", boots);
}

static void gather_controller(struct compare_facts *facts, const struct controller *controller)
{
    static const char *const types[] = {
        [CONTROLLER_PCI] = "pci",   [CONTROLLER_USB] = "usb",
        [CONTROLLER_SATA] = "sata", [CONTROLLER_IDE] = "ide",
        [CONTROLLER_SCSI] = "scsi", [CONTROLLER_SERIAL] = "virtio-serial"};
    SUBJECT subject =
        open_subject(facts, controller->device.node,
                     text_format("<controller> %s %d%s%s", types[controller->type],
                                 controller->index, model_is_companion(controller) ? " " : "",
                                 model_is_companion(controller) ? controller->model : ""));
    note(&subject, "model", controller->model);
    note_pci(&subject, &controller->device.pci);
    note_number(&subject, "chassis", controller->chassis, -1);
    note_number(&subject, "port", controller->port, -1);
    note_number(&subject, "chassisNr", controller->chassis_number, -1);
    note_number(&subject, "ports", controller->ports, -1);
    note_number(&subject, "vectors", controller->vectors, -1);
    note_number(&subject, "queues", controller->queues, -1);
    note_number(&subject, "startport", controller->start_port, -1);
}

static void gather_char(struct compare_facts *facts, const struct char_device *device)
{
    CLEANUP_FREE char *place = text_format("%d.%d", device->controller, device->port);
    if (device->role == CHAR_SERIAL) {
        CLEANUP_FREE char *name = text_format("<serial> %d", device->port);
        compare_note(facts, device->device.node, name, "", "there");
        return;
    }
    bool console = device->role == CHAR_CONSOLE;
    SUBJECT subject =
        open_subject(facts, device->device.node,
                     text_format("%s %s", console ? "<console>" : "<channel>", place));
    note(&subject, "name", device->channel);
}

static void gather_input(struct compare_facts *facts, const struct input *input, size_t i)
{
    if (strcmp(input->bus, "ps2") == 0)
        return; /* part of every machine */
    SUBJECT subject = open_subject(facts, input->device.node, text_format("<input> %zu", i + 1));
    note(&subject, "type", input->type);
    note(&subject, "bus", input->bus);
    note_pci(&subject, &input->device.pci);
    if (input->usb_port)
        note_number(&subject, "USB bus", input->usb_bus, -1);
    note(&subject, "USB port", input->usb_port);
}

static void gather_video(struct compare_facts *facts, const struct video *video)
{
    if (strcmp(video->model, "none") == 0)
        return;
    SUBJECT subject = open_subject(facts, video->device.node, text_copy("<video>"));
    bool vram = strcmp(video->model, "vga") == 0 || strcmp(video->model, "bochs") == 0;
    note(&subject, "model", video->model);
    note_pci(&subject, &video->device.pci);
    note_number(&subject, "vram", vram ? video->vram : 0, 0);
    if (strcmp(video->model, "virtio") == 0)
        note_number(&subject, "heads", video->heads, video->heads == 1 ? 1 : 0);
    note_number(&subject, "width", video->xres, 0);
    note_number(&subject, "height", video->yres, 0);
}

static void gather_small(struct compare_facts *facts, const struct domain_private *private)
{
    for (size_t i = 0; i < private->n_rngs; i++) {
        SUBJECT rng =
            open_subject(facts, private->rngs[i].device.node, text_format("<rng> %zu", i + 1));
        note_pci(&rng, &private->rngs[i].device.pci);
    }
    for (size_t i = 0; i < private->n_balloons; i++) {
        const struct balloon *balloon = &private->balloons[i];
        SUBJECT subject = open_subject(facts, balloon->device.node, text_copy("<memballoon>"));
        note_pci(&subject, &balloon->device.pci);
        note_flag(&subject, "autodeflate", balloon->deflate_on_oom);
        note_flag(&subject, "freePageReporting", balloon->free_page_reporting);
    }
    for (size_t i = 0; i < private->n_watchdogs; i++) {
        const struct watchdog *watchdog = &private->watchdogs[i];
        SUBJECT subject = open_subject(facts, watchdog->device.node,
                                       text_format("<watchdog> %s", watchdog->model));
        note_pci(&subject, &watchdog->device.pci);
    }
    for (size_t i = 0; i < private->n_panics; i++) {
        const struct panic *panic = &private->panics[i];
        SUBJECT subject =
            open_subject(facts, panic->device.node, text_format("<panic> %s", panic->model));
        note_pci(&subject, &panic->device.pci);
        note_number(&subject, "iobase", panic->iobase, 0);
    }
}

void compare_gather(const struct domain *domain, struct compare_facts *facts)
{
    const struct domain_private *private = domain->private;
    gather_machine(facts, domain);
    for (size_t i = 0; i < domain->n_disks; i++)
        gather_disk(facts, &domain->disks[i], &private->disks[i]);
    for (size_t i = 0; i < domain->n_interfaces; i++)
        gather_interface(facts, domain, i);
    for (size_t i = 0; i < private->n_controllers; i++)
        gather_controller(facts, &private->controllers[i]);
    for (size_t i = 0; i < private->n_chars; i++)
        gather_char(facts, &private->chars[i]);
    for (size_t i = 0; i < private->n_inputs; i++)
        gather_input(facts, &private->inputs[i], i);
    for (size_t i = 0; i < private->n_videos; i++)
        gather_video(facts, &private->videos[i]);
    gather_small(facts, private);
}
