/* SPDX-License-Identifier: Apache-2.0 */
/* Memory and look-up of the domain model. */
#include "domain/model.h"

#include <string.h>

#include "base/text.h"

void *model_grow(void *array, size_t count, size_t size)
{
    void *grown = reallocarray(array, count + 1, size);
    if (!grown)
        abort(); /* as text_copy does: a few hundred bytes */
    memset((char *)grown + count * size, 0, size);
    return grown;
}

void model_set(struct property_list *list, const char *name, const char *value, xmlNode *node)
{
    struct property *property = MODEL_ADD(&list->items, &list->count);
    *property = (struct property){text_copy(name), text_copy(value), node};
}

bool model_is_q35(const struct domain *domain)
{
    return domain->machine &&
           (strcmp(domain->machine, "q35") == 0 || strncmp(domain->machine, "pc-q35-", 7) == 0);
}

bool model_is_i440fx(const struct domain *domain)
{
    return domain->machine &&
           (strcmp(domain->machine, "pc") == 0 || strncmp(domain->machine, "pc-i440fx-", 10) == 0);
}

struct controller *model_controller(const struct domain *domain, enum controller_type type,
                                    int index)
{
    for (size_t i = 0; i < domain->private->n_controllers; i++) {
        struct controller *controller = &domain->private->controllers[i];
        if (controller->type == type && controller->index == index)
            return controller;
    }
    return NULL;
}

int model_target_index(const char *target)
{
    int index = 0;
    for (const char *c = target + 2; *c; c++)
        index = index * 26 + (*c - 'a' + 1);
    return index - 1;
}

bool model_is_companion(const struct controller *controller)
{
    return controller->model && strncmp(controller->model, "ich9-uhci", 9) == 0;
}

static void free_properties(struct property_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->items[i].name);
        free(list->items[i].value);
    }
    free(list->items);
}

static void free_disks(struct domain *domain)
{
    for (size_t i = 0; i < domain->n_disks; i++) {
        struct domain_disk *disk = &domain->disks[i];
        struct disk_detail *detail = &domain->private->disks[i];
        char *texts[] = {disk->path,
                         disk->format,
                         disk->target,
                         disk->serial,
                         disk->cache,
                         disk->io,
                         disk->discard,
                         disk->alias,
                         detail->error_policy,
                         detail->rerror_policy,
                         detail->detect_zeroes,
                         detail->wwn,
                         detail->vendor,
                         detail->product};
        for (size_t j = 0; j < ARRAY_SIZE(texts); j++)
            free(texts[j]);
    }
    free(domain->disks);
    free(domain->private->disks);
}

static void free_interfaces(struct domain *domain)
{
    for (size_t i = 0; i < domain->n_interfaces; i++) {
        struct domain_interface *interface = &domain->interfaces[i];
        free(interface->bridge);
        free(interface->ifname);
        free(interface->model);
        free(interface->alias);
    }
    free(domain->interfaces);
    free(domain->private->interfaces);
}

static void free_chars(struct domain_private *private)
{
    for (size_t i = 0; i < private->n_chars; i++) {
        struct char_device *device = &private->chars[i];
        char *texts[] = {device->device.alias, device->path,      device->host,
                         device->service,      device->bind_host, device->bind_service,
                         device->channel};
        for (size_t j = 0; j < ARRAY_SIZE(texts); j++)
            free(texts[j]);
    }
    free(private->chars);
}

#define FREE_DEVICES(array, count)                                                                 \
    do {                                                                                           \
        for (size_t each_ = 0; each_ < (count); each_++)                                           \
            free((array)[each_].device.alias);                                                     \
        free(array);                                                                               \
    } while (0)

static void free_private(struct domain_private *private)
{
    for (char **warning = private->warnings; warning && *warning; warning++)
        free(*warning);
    free(private->warnings);
    free_properties(&private->cpu);
    free_properties(&private->machine);
    free(private->cpu_vendor);
    free(private->os.loader_format);
    free(private->os.nvram_format);
    free_chars(private);
    for (size_t i = 0; i < private->n_inputs; i++)
        free(private->inputs[i].usb_port);
    for (size_t i = 0; i < private->n_rngs; i++)
        free(private->rngs[i].path);
    for (size_t i = 0; i < private->n_graphics; i++) {
        free(private->graphics[i].listen);
        free(private->graphics[i].keymap);
    }
    free(private->graphics);
    FREE_DEVICES(private->controllers, private->n_controllers);
    FREE_DEVICES(private->inputs, private->n_inputs);
    FREE_DEVICES(private->videos, private->n_videos);
    FREE_DEVICES(private->rngs, private->n_rngs);
    FREE_DEVICES(private->balloons, private->n_balloons);
    FREE_DEVICES(private->watchdogs, private->n_watchdogs);
    FREE_DEVICES(private->panics, private->n_panics);
    free(private);
}

void domain_free(struct domain *domain)
{
    if (!domain)
        return;
    free_disks(domain);
    free_interfaces(domain);
    free_private(domain->private);
    char *texts[] = {domain->name,          domain->title,    domain->group,     domain->emulator,
                     domain->machine,       domain->cpu_mode, domain->cpu_model, domain->kernel,
                     domain->initrd,        domain->cmdline,  domain->loader,    domain->nvram,
                     domain->nvram_template};
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        free(texts[i]);
    if (domain->document)
        xmlFreeDoc(domain->document);
    free(domain);
}

struct list {
    struct model_device *items;
    size_t count;
};

static void add(struct list *list, const char *kind, xmlNode *node, char **alias,
                struct domain_pci *pci, void *device)
{
    struct model_device *item = MODEL_ADD(&list->items, &list->count);
    *item = (struct model_device){node, alias, pci, pci != NULL, kind, device};
}

static void add_device(struct list *list, const char *kind, struct device *device, bool uses_pci,
                       void *whole)
{
    add(list, kind, device->node, &device->alias, uses_pci ? &device->pci : NULL, whole);
}

static bool controller_uses_pci(const struct controller *controller)
{
    return !(controller->type == CONTROLLER_PCI && controller->index == 0);
}

struct model_device *model_devices(const struct domain *domain, size_t *count)
{
    struct domain_private *private = domain->private;
    struct list list = {0};
    for (size_t i = 0; i < private->n_controllers; i++)
        add_device(&list, "controller", &private->controllers[i].device,
                   controller_uses_pci(&private->controllers[i]), &private->controllers[i]);
    for (size_t i = 0; i < private->n_videos; i++)
        add_device(&list, "video", &private->videos[i].device,
                   !text_equal(private->videos[i].model, "none"), &private->videos[i]);
    for (size_t i = 0; i < domain->n_interfaces; i++)
        add(&list, "interface", private->interfaces[i].node, &domain->interfaces[i].alias,
            &domain->interfaces[i].pci, &domain->interfaces[i]);
    for (size_t i = 0; i < domain->n_disks; i++)
        add(&list, "disk", private->disks[i].node, &domain->disks[i].alias,
            domain->disks[i].bus == DISK_VIRTIO ? &domain->disks[i].pci : NULL, &domain->disks[i]);
    for (size_t i = 0; i < private->n_chars; i++)
        add_device(&list, "chardev", &private->chars[i].device, false, &private->chars[i]);
    for (size_t i = 0; i < private->n_inputs; i++)
        add_device(&list, "input", &private->inputs[i].device,
                   text_equal(private->inputs[i].bus, "virtio"), &private->inputs[i]);
    for (size_t i = 0; i < private->n_balloons; i++)
        add_device(&list, "memballoon", &private->balloons[i].device, true, &private->balloons[i]);
    for (size_t i = 0; i < private->n_rngs; i++)
        add_device(&list, "rng", &private->rngs[i].device, true, &private->rngs[i]);
    for (size_t i = 0; i < private->n_watchdogs; i++)
        add_device(&list, "watchdog", &private->watchdogs[i].device,
                   text_equal(private->watchdogs[i].model, "i6300esb"), &private->watchdogs[i]);
    for (size_t i = 0; i < private->n_panics; i++)
        add_device(&list, "panic", &private->panics[i].device,
                   text_equal(private->panics[i].model, "pvpanic"), &private->panics[i]);
    *count = list.count;
    return list.items;
}
