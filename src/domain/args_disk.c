/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disks: a chain of -blockdev nodes for each, then its -device.
 *
 * Node names are what block jobs and reports go by, so they are stable: for the disk with target
 * vda, `disk-vda` is the image as the guest sees it and `disk-vda-file` the file below; the images
 * behind it are `disk-vda-b1` (and `-b1-file`), `disk-vda-b2`, ... They are built from the target
 * and not from the alias, because QEMU allows 31 bytes and aliases can be longer.
 */
#include <stdio.h>
#include <string.h>

#include "domain/args.h"

static bool is_direct(const char *cache)
{
    return text_equal(cache, "none") || text_equal(cache, "directsync");
}

static json_t *cache_of(const struct domain_disk *disk)
{
    return json_pack("{s:b, s:b}", "direct", is_direct(disk->cache), "no-flush",
                     text_equal(disk->cache, "unsafe"));
}

/* Whether the guest sees a write cache: not with writethrough and directsync. */
static const char *write_cache(const char *cache)
{
    if (!cache || strcmp(cache, "default") == 0)
        return NULL;
    bool through = strcmp(cache, "writethrough") == 0 || strcmp(cache, "directsync") == 0;
    return through ? "off" : "on";
}

/*
 * QEMU's default for `locking` (auto) stays: it keeps two writers off one image, and the handover
 * of a migration passes the lock on. auto-read-only is off, as a file that cannot be opened as
 * asked must be an error, not a disk that refuses writes later.
 */
static json_t *file_node(const struct args_layer *layer, const char *name)
{
    json_t *file = json_pack("{s:s, s:s, s:s, s:b, s:b}", "driver",
                             layer->block ? "host_device" : "file", "filename", name, "node-name",
                             "", "auto-read-only", 0, "read-only", !layer->writable);
    CLEANUP_FREE char *node = text_format("%s-file", layer->node);
    json_object_set_new(file, "node-name", json_string(node));
    const struct domain_disk *disk = layer->disk;
    if (disk) {
        args_text(file, "discard", disk->discard);
        args_text(file, "aio", disk->io);
        if (disk->cache && strcmp(disk->cache, "default") != 0)
            json_object_set_new(file, "cache", cache_of(disk));
    }
    return file;
}

static json_t *format_node(const struct args_layer *layer)
{
    json_t *node = json_pack("{s:s, s:s, s:b}", "driver", layer->format, "node-name", layer->node,
                             "read-only", !layer->writable);
    CLEANUP_FREE char *file = text_format("%s-file", layer->node);
    const struct domain_disk *disk = layer->disk;
    if (disk) {
        args_text(node, "discard", disk->discard);
        args_text(node, "detect-zeroes", layer->detect_zeroes);
        if (disk->cache && strcmp(disk->cache, "default") != 0)
            json_object_set_new(node, "cache", cache_of(disk));
    }
    args_text(node, "file", file);
    /* Never what the image's header says: the chain was opened layer by layer. */
    if (layer->backing)
        args_text(node, "backing", layer->backing);
    else if (strcmp(layer->format, "qcow2") == 0)
        json_object_set_new(node, "backing", json_null());
    return node;
}

int args_blockdev(struct args *args, const struct args_layer *layer, struct error **err)
{
    bool direct = layer->disk && is_direct(layer->disk->cache);
    CLEANUP_FREE char *name =
        args_file(args, layer->path, layer->writable, false, direct, layer->node, err);
    if (!name)
        return -1;
    args_add_json(args, "-blockdev", file_node(layer, name));
    args_add_json(args, "-blockdev", format_node(layer));
    return 0;
}

static void free_layers(struct qemu_layer *layers, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(layers[i].path);
        free(layers[i].format);
    }
    free(layers);
}

static char *layer_node(const struct domain_disk *disk, size_t depth)
{
    return depth ? text_format("disk-%s-b%zu", disk->target, depth)
                 : text_format("disk-%s", disk->target);
}

/* From the far end: a node must exist before another one names it as its backing. */
static int add_layers(struct args *args, size_t index, const struct qemu_layer *behind, size_t n,
                      struct error **err)
{
    const struct domain_disk *disk = &args->domain->disks[index];
    CLEANUP_FREE char *backing = NULL;
    for (size_t depth = n + 1; depth-- > 0;) {
        bool top = depth == 0;
        char *node = layer_node(disk, depth);
        const char *path = top ? disk->path : behind[depth - 1].path;
        const struct args_layer layer = {
            .node = node,
            .path = path,
            .format = top ? disk->format : behind[depth - 1].format,
            .backing = backing,
            .block = top ? disk->source == DISK_BLOCK : strncmp(path, "/dev/", 5) == 0,
            .writable = top && !disk->readonly,
            .disk = disk,
            .detect_zeroes = top ? args->private->disks[index].detect_zeroes : NULL,
        };
        int result = args_blockdev(args, &layer, err);
        free(backing);
        backing = node;
        if (result < 0)
            return -1;
    }
    return 0;
}

static int add_chain(struct args *args, size_t index, struct error **err)
{
    const struct domain_disk *disk = &args->domain->disks[index];
    const struct qemu_host *host = args->host;
    struct qemu_layer *behind = NULL;
    size_t n = 0;
    if (strcmp(disk->format, "raw") != 0 &&
        host->ops->backing(host->context, disk->path, disk->format, &behind, &n, err) < 0)
        return -1;
    int result = add_layers(args, index, behind, n, err);
    free_layers(behind, n);
    return result;
}

static const char *driver_of(const struct domain_disk *disk)
{
    bool cdrom = disk->device == DISK_CDROM;
    switch (disk->bus) {
    case DISK_VIRTIO:
        return "virtio-blk-pci";
    case DISK_SCSI:
        return cdrom ? "scsi-cd" : "scsi-hd";
    case DISK_SATA:
    case DISK_IDE:
        break;
    }
    return cdrom ? "ide-cd" : "ide-hd";
}

static void set_place(const struct args *args, json_t *device, size_t index)
{
    const struct domain_disk *disk = &args->domain->disks[index];
    const struct disk_detail *detail = &args->private->disks[index];
    if (disk->bus == DISK_VIRTIO) {
        args_pci(args, device, &disk->pci);
        return;
    }
    enum controller_type type = disk->bus == DISK_SCSI   ? CONTROLLER_SCSI
                                : disk->bus == DISK_SATA ? CONTROLLER_SATA
                                                         : CONTROLLER_IDE;
    const char *alias = model_controller(args->domain, type, disk->controller)->device.alias;
    CLEANUP_FREE char *bus = NULL;
    if (disk->bus == DISK_SATA) {
        bus = text_format("%s.%d", alias, disk->unit);
    } else if (disk->bus == DISK_IDE) {
        bus = text_format("ide.%d", detail->bus);
        json_object_set_new(device, "unit", json_integer(disk->unit));
    } else {
        bus = text_format("%s.0", alias);
        json_object_set_new(device, "channel", json_integer(detail->bus));
        json_object_set_new(device, "scsi-id", json_integer(detail->target));
        json_object_set_new(device, "lun", json_integer(disk->unit));
    }
    args_text(device, "bus", bus);
}

static void set_identity(json_t *device, const struct domain_disk *disk,
                         const struct disk_detail *detail)
{
    args_text(device, "serial", disk->serial);
    args_text(device, "vendor", detail->vendor);
    args_text(device, "product", detail->product);
    if (detail->wwn)
        json_object_set_new(device, "wwn",
                            json_integer((json_int_t)strtoull(detail->wwn, NULL, 16)));
    args_number(device, "logical_block_size", detail->logical_block);
    args_number(device, "physical_block_size", detail->physical_block);
    args_number(device, "rotation_rate", detail->rotation);
    args_number(device, "num-queues", detail->queues);
}

/* The name that a SCSI disk goes by in a guest's /dev/disk/by-id: its serial, or else libvirt's
 * name for the place it is at, so that a guest that comes from libvirt finds its disks. */
static void set_scsi_id(json_t *device, const struct domain_disk *disk,
                        const struct disk_detail *detail)
{
    CLEANUP_FREE char *place = text_format("drive-scsi%d-%d-%d-%d", disk->controller, detail->bus,
                                           detail->target, disk->unit);
    if (disk->bus == DISK_SCSI)
        args_text(device, "device_id", disk->serial ? disk->serial : place);
}

static void set_policies(json_t *device, const struct domain_disk *disk,
                         const struct disk_detail *detail)
{
    /* libvirt's word for QEMU's "enospc" */
    bool full = text_equal(detail->error_policy, "enospace");
    const char *read_policy = detail->rerror_policy ? detail->rerror_policy
                              : full                ? NULL
                                                    : detail->error_policy;
    args_text(device, "werror", full ? "enospc" : detail->error_policy);
    args_text(device, "rerror", read_policy);
    args_text(device, "write-cache", write_cache(disk->cache));
    if (disk->shareable)
        json_object_set_new(device, "share-rw", json_true());
}

static void add_device(struct args *args, size_t index)
{
    const struct domain_disk *disk = &args->domain->disks[index];
    const struct disk_detail *detail = &args->private->disks[index];
    json_t *device = args_device(driver_of(disk), disk->alias);
    set_place(args, device, index);
    if (disk->source != DISK_EMPTY) {
        CLEANUP_FREE char *node = layer_node(disk, 0);
        args_text(device, "drive", node);
    }
    args_number(device, "bootindex", args_disk_boot(args, index));
    set_identity(device, disk, detail);
    set_scsi_id(device, disk, detail);
    if (disk->source != DISK_EMPTY)
        set_policies(device, disk, detail);
    args_add_json(args, "-device", device);
}

int args_disks(struct args *args, struct error **err)
{
    const struct domain *domain = args->domain;
    for (size_t i = 0; i < domain->n_disks; i++) {
        if (domain->disks[i].source != DISK_EMPTY && add_chain(args, i, err) < 0)
            return error_prefix(err, "disk %s", domain->disks[i].target);
        add_device(args, i);
    }
    return 0;
}
