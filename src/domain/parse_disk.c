/* SPDX-License-Identifier: Apache-2.0 */
/* <disk> */
#include "domain/parse.h"

#include <string.h>

#include "base/text.h"

#define VIRTIO_SERIAL_MAX 20 /* VIRTIO_BLK_ID_BYTES: QEMU cuts off the rest */

static void parse_driver(struct reader *reader, struct domain_disk *disk,
                         struct disk_detail *detail, xmlNode *node)
{
    static const char *const names[] = {"qemu", NULL};
    static const char *const formats[] = {"raw", "qcow2", NULL};
    static const char *const caches[] = {"default",    "none",   "writeback", "writethrough",
                                         "directsync", "unsafe", NULL};
    static const char *const ios[] = {"native", "threads", "io_uring", NULL};
    static const char *const discards[] = {"unmap", "ignore", NULL};
    static const char *const zeroes[] = {"off", "on", "unmap", NULL};
    static const char *const errors[] = {"stop", "report", "ignore", "enospace", NULL};
    static const char *const read_errors[] = {"stop", "report", "ignore", NULL};
    reader_choice(reader, node, "name", names);
    disk->format = parse_choice(reader, node, "type", formats);
    disk->cache = parse_choice(reader, node, "cache", caches);
    disk->io = parse_choice(reader, node, "io", ios);
    disk->discard = parse_choice(reader, node, "discard", discards);
    detail->detect_zeroes = parse_choice(reader, node, "detect_zeroes", zeroes);
    detail->error_policy = parse_choice(reader, node, "error_policy", errors);
    detail->rerror_policy = parse_choice(reader, node, "rerror_policy", read_errors);
    if (reader_number(reader, node, "queues", 1, 1024, &detail->queues) && disk->bus != DISK_VIRTIO)
        reader_fault(reader, node, "queues", ERROR_INVALID, "only a virtio disk has queues");
    bool direct = text_equal(disk->cache, "none") || text_equal(disk->cache, "directsync");
    if (text_equal(disk->io, "native") && !direct)
        reader_fault(reader, node, "io", ERROR_INVALID,
                     "io='native' needs cache='none' or 'directsync'");
    if (!disk->format)
        disk->format = text_copy("raw");
}

static void parse_source(struct reader *reader, struct domain_disk *disk, xmlNode *node)
{
    static const char *const policies[] = {"mandatory", NULL};
    const char *path = reader_attribute(node, disk->source == DISK_BLOCK ? "dev" : "file");
    reader_attribute(node, "index");
    reader_choice(reader, node, "startupPolicy", policies);
    for (xmlNode *label = NULL; (label = reader_next(node, label, "seclabel"));)
        reader_keep(label);
    if (path && *path)
        disk->path = parse_path(reader, node, path);
    else
        disk->source = DISK_EMPTY;
}

static enum disk_bus parse_bus(struct reader *reader, xmlNode *target, const char *dev)
{
    static const char *const buses[] = {[DISK_VIRTIO] = "virtio",
                                        [DISK_SCSI] = "scsi",
                                        [DISK_SATA] = "sata",
                                        [DISK_IDE] = "ide",
                                        NULL};
    const char *bus = reader_choice(reader, target, "bus", buses);
    for (size_t i = 0; bus && buses[i]; i++)
        if (buses[i] == bus)
            return (enum disk_bus)i;
    return strncmp(dev, "vd", 2) == 0 ? DISK_VIRTIO : *dev == 'h' ? DISK_IDE : DISK_SCSI;
}

static void parse_target(struct reader *reader, struct domain_disk *disk,
                         struct disk_detail *detail, xmlNode *target)
{
    static const char *const trays[] = {"closed", "open", NULL};
    const char *dev = target ? reader_need(reader, target, "dev") : NULL;
    if (!dev)
        return;
    size_t letters = strlen(dev) > 2 ? strspn(dev + 2, "abcdefghijklmnopqrstuvwxyz") : 0;
    bool known =
        strncmp(dev, "vd", 2) == 0 || strncmp(dev, "sd", 2) == 0 || strncmp(dev, "hd", 2) == 0;
    if (!known || letters != strlen(dev) - 2 || letters < 1 || letters > 2) {
        reader_fault(reader, target, "dev", ERROR_UNSUPPORTED,
                     "dev='%s' is not supported (known: vda, sda, hda, ... with one or two "
                     "letters)",
                     dev);
        return;
    }
    disk->target = text_copy(dev);
    disk->bus = parse_bus(reader, target, dev);
    reader_number(reader, target, "rotation_rate", 1, 65534, &detail->rotation);
    const char *tray = reader_choice(reader, target, "tray", trays);
    if (text_equal(tray, "open") && (disk->device != DISK_CDROM || disk->source != DISK_EMPTY))
        reader_fault(reader, target, "tray", ERROR_UNSUPPORTED,
                     "tray='open' is supported for an empty CD-ROM drive only");
    if (disk->device == DISK_CDROM && disk->bus == DISK_VIRTIO)
        reader_fault(reader, target, NULL, ERROR_INVALID, "a CD-ROM drive cannot be on bus virtio");
    if (detail->rotation && (disk->bus == DISK_VIRTIO || disk->device == DISK_CDROM))
        reader_fault(reader, target, "rotation_rate", ERROR_INVALID,
                     "only scsi, sata and ide disks have a rotation rate");
}

/* A word for a SCSI or ATA identity field. */
static char *parse_identity(struct reader *reader, xmlNode *disk, const char *name, size_t max)
{
    xmlNode *node = reader_child(reader, disk, name);
    char *text = reader_text(reader, node);
    if (!text)
        return NULL;
    bool printable = *text != '\0';
    for (const char *c = text; *c; c++)
        printable = printable && *c >= 0x20 && *c < 0x7f;
    if (!printable || strlen(text) > max)
        reader_fault(reader, node, NULL, ERROR_INVALID, "'%s' is not 1 to %zu printable characters",
                     text, max);
    return text;
}

static void parse_identities(struct reader *reader, struct domain_disk *disk,
                             struct disk_detail *detail, xmlNode *node)
{
    size_t serial_max = disk->bus == DISK_SCSI ? 36 : VIRTIO_SERIAL_MAX;
    disk->serial = parse_identity(reader, node, "serial", serial_max);
    detail->vendor = parse_identity(reader, node, "vendor", 8);
    detail->product = parse_identity(reader, node, "product", 16);
    if ((detail->vendor || detail->product) && disk->bus != DISK_SCSI)
        reader_fault(reader, node, NULL, ERROR_INVALID, "only a SCSI disk has vendor and product");
    detail->wwn = parse_identity(reader, node, "wwn", 16);
    if (!detail->wwn)
        return;
    if (strlen(detail->wwn) != 16 ||
        strspn(detail->wwn, "0123456789abcdefABCDEF") != strlen(detail->wwn))
        reader_fault(reader, reader_peek(node, "wwn"), NULL, ERROR_INVALID,
                     "'%s' is not 16 hex digits", detail->wwn);
    if (disk->bus == DISK_VIRTIO)
        reader_fault(reader, reader_peek(node, "wwn"), NULL, ERROR_INVALID,
                     "a virtio disk has no WWN");
}

static void parse_block_size(struct reader *reader, xmlNode *node, const char *name, int64_t *size)
{
    if (reader_number(reader, node, name, 512, 32768, size) && (*size & (*size - 1)))
        reader_fault(reader, node, name, ERROR_INVALID, "%s is not a power of two", name);
}

static void parse_drive_address(struct reader *reader, struct domain_disk *disk,
                                struct disk_detail *detail, xmlNode *node)
{
    xmlNode *address = reader_child(reader, node, "address");
    static const char *const types[] = {"drive", NULL};
    if (!address || !reader_choice(reader, address, "type", types))
        return;
    int64_t controller = 0, bus = 0, target = 0, unit = 0;
    bool scsi = disk->bus == DISK_SCSI, ide = disk->bus == DISK_IDE;
    reader_number(reader, address, "controller", 0, 255, &controller);
    reader_number(reader, address, "bus", 0, ide ? 1 : 0, &bus);
    reader_number(reader, address, "target", 0, scsi ? 255 : 0, &target);
    reader_number(reader, address, "unit", 0, scsi ? 16383 : ide ? 1 : 5, &unit);
    disk->controller = (int)controller;
    disk->unit = (int)unit;
    detail->bus = (int)bus;
    detail->target = (int)target;
    detail->addressed = true;
}

void parse_disk(struct reader *reader, struct domain *domain, xmlNode *node)
{
    static const char *const types[] = {"file", "block", NULL};
    static const char *const devices[] = {"disk", "cdrom", NULL};
    size_t n = domain->n_disks;
    struct disk_detail *detail = MODEL_ADD(&domain->private->disks, &n);
    struct domain_disk *disk = MODEL_ADD(&domain->disks, &domain->n_disks);
    detail->node = node;
    disk->line = reader_line(node);
    disk->controller = disk->unit = -1;
    const char *type = reader_choice(reader, node, "type", types);
    if (!type) {
        if (xmlHasProp(node, BAD_CAST "type")) {
            reader_keep(node); /* one finding says it all */
            return;
        }
        type = "file";
    }
    disk->source = strcmp(type, "block") == 0 ? DISK_BLOCK : DISK_FILE;
    disk->device = text_equal(reader_choice(reader, node, "device", devices), "cdrom") ? DISK_CDROM
                                                                                       : DISK_DISK;
    reader_attribute(node, "snapshot"); /* for libvirt's snapshots only */
    xmlNode *target = reader_child(reader, node, "target");
    if (!target)
        reader_fault(reader, node, NULL, ERROR_INVALID, "<target> is missing");
    parse_source(reader, disk, reader_child(reader, node, "source"));
    parse_target(reader, disk, detail, target);
    parse_driver(reader, disk, detail, reader_child(reader, node, "driver"));
    if (disk->source == DISK_EMPTY && disk->device == DISK_DISK)
        reader_fault(reader, node, NULL, ERROR_INVALID, "a disk needs a <source>");
    disk->readonly = reader_child(reader, node, "readonly") || disk->device == DISK_CDROM;
    if (disk->readonly && disk->device == DISK_DISK &&
        (disk->bus == DISK_SATA || disk->bus == DISK_IDE))
        reader_fault(reader, reader_peek(node, "readonly"), NULL, ERROR_UNSUPPORTED,
                     "a hard disk on bus sata or ide cannot be read-only; use bus='scsi'");
    disk->shareable = reader_child(reader, node, "shareable");
    parse_identities(reader, disk, detail, node);
    xmlNode *blockio = reader_child(reader, node, "blockio");
    parse_block_size(reader, blockio, "logical_block_size", &detail->logical_block);
    parse_block_size(reader, blockio, "physical_block_size", &detail->physical_block);
    int64_t order = 0;
    reader_number(reader, reader_child(reader, node, "boot"), "order", 1, 999, &order);
    disk->boot_order = (int)order;
    reader_keep_child(reader, node, "backingStore"); /* the images themselves name theirs */
    if (disk->bus == DISK_VIRTIO) {
        parse_device(reader, node, &disk->alias, &disk->pci);
    } else {
        parse_alias(reader, node, &disk->alias);
        parse_drive_address(reader, disk, detail, node);
    }
}
