/* SPDX-License-Identifier: Apache-2.0 */
/* Controllers, display, input and the small devices. */
#include <string.h>

#include "domain/args.h"

static bool is_model(const struct controller *controller, const char *model)
{
    return text_equal(controller->model, model);
}

/* Part of the machine: there without a -device. */
static bool is_builtin(const struct domain *domain, const struct controller *controller)
{
    return (controller->type == CONTROLLER_PCI && controller->index == 0) ||
           (controller->type == CONTROLLER_SATA && controller->index == 0 &&
            model_is_q35(domain)) ||
           controller->type == CONTROLLER_IDE;
}

static const char *controller_driver(const struct controller *controller)
{
    static const struct {
        const char *model, *driver;
    } drivers[] = {
        {"pcie-root-port", "pcie-root-port"},
        {"pcie-to-pci-bridge", "pcie-pci-bridge"},
        {"pci-bridge", "pci-bridge"},
        {"qemu-xhci", "qemu-xhci"},
        {"nec-xhci", "nec-usb-xhci"},
        {"piix3-uhci", "piix3-usb-uhci"},
        {"ehci", "usb-ehci"},
        {"ich9-ehci1", "ich9-usb-ehci1"},
        {"ich9-uhci1", "ich9-usb-uhci1"},
        {"ich9-uhci2", "ich9-usb-uhci2"},
        {"ich9-uhci3", "ich9-usb-uhci3"},
        {"virtio-scsi", "virtio-scsi-pci"},
    };
    for (size_t i = 0; controller->model && i < ARRAY_SIZE(drivers); i++)
        if (strcmp(drivers[i].model, controller->model) == 0)
            return drivers[i].driver;
    return controller->type == CONTROLLER_SATA ? "ahci" : "virtio-serial-pci";
}

static const char *master_alias(const struct domain *domain, const struct controller *companion)
{
    const struct domain_private *private = domain->private;
    for (size_t i = 0; i < private->n_controllers; i++)
        if (private->controllers[i].type == CONTROLLER_USB &&
            private->controllers[i].index == companion->index &&
            !model_is_companion(&private->controllers[i]))
            return private->controllers[i].device.alias;
    return NULL;
}

static void set_options(const struct args *args, json_t *device,
                        const struct controller *controller)
{
    if (is_model(controller, "pcie-root-port")) {
        json_object_set_new(device, "port", json_integer(controller->port));
        json_object_set_new(device, "chassis", json_integer(controller->chassis));
    }
    if (is_model(controller, "pci-bridge"))
        json_object_set_new(device, "chassis_nr", json_integer(controller->chassis_number));
    if (controller->type == CONTROLLER_USB && controller->ports > 0) {
        json_object_set_new(device, "p2", json_integer(controller->ports));
        json_object_set_new(device, "p3", json_integer(controller->ports));
    }
    if (controller->type == CONTROLLER_SERIAL && controller->ports > 0)
        json_object_set_new(device, "max_ports", json_integer(controller->ports));
    if (controller->vectors >= 0)
        json_object_set_new(device, "vectors", json_integer(controller->vectors));
    if (controller->queues > 0)
        json_object_set_new(device, "num_queues", json_integer(controller->queues));
    if (model_is_companion(controller)) {
        CLEANUP_FREE char *bus = text_format("%s.0", master_alias(args->domain, controller));
        args_text(device, "masterbus", bus);
        json_object_set_new(device, "firstport", json_integer(controller->start_port));
    }
}

static void add_controller(struct args *args, const struct controller *controller)
{
    json_t *device = args_device(controller_driver(controller), controller->device.alias);
    set_options(args, device, controller);
    args_pci(args, device, &controller->device.pci);
    args_add_json(args, "-device", device);
}

/* What another controller needs comes first: ports, then bridges (one that sits on another has the
 * higher index), then the rest, masters before their companions. */
static int rank(const struct controller *controller)
{
    enum { PORT, BRIDGE, OTHER = BRIDGE + 256, COMPANION };
    if (controller->type == CONTROLLER_PCI)
        return is_model(controller, "pcie-root-port") ? PORT : BRIDGE + controller->index;
    return model_is_companion(controller) ? COMPANION : OTHER;
}

struct ranked {
    const struct controller *controller;
};

static int compare_ranks(const void *one, const void *other)
{
    const struct ranked *a = one, *b = other;
    int order = rank(a->controller) - rank(b->controller);
    if (order)
        return order;
    return a->controller < b->controller ? -1 : a->controller > b->controller; /* of one array */
}

void args_controllers(struct args *args)
{
    const struct domain_private *private = args->private;
    size_t n = private->n_controllers;
    CLEANUP_FREE struct ranked *sorted = calloc(n, sizeof(*sorted));
    if (!sorted)
        abort(); /* as text_append does; the root is always there, so n > 0 */
    for (size_t i = 0; i < n; i++)
        sorted[i].controller = &private->controllers[i];
    qsort(sorted, n, sizeof(*sorted), compare_ranks);
    for (size_t i = 0; i < n; i++)
        if (!is_builtin(args->domain, sorted[i].controller))
            add_controller(args, sorted[i].controller);
}

static void add_video(struct args *args, const struct video *video)
{
    static const struct {
        const char *model, *driver;
    } drivers[] = {{"virtio", "virtio-vga"},
                   {"vga", "VGA"},
                   {"bochs", "bochs-display"},
                   {"cirrus", "cirrus-vga"}};
    const char *driver = NULL;
    for (size_t i = 0; i < ARRAY_SIZE(drivers); i++)
        if (strcmp(drivers[i].model, video->model) == 0)
            driver = drivers[i].driver;
    if (!driver)
        return;
    json_t *device = args_device(driver, video->device.alias);
    if (strcmp(video->model, "virtio") == 0)
        args_number(device, "max_outputs", video->heads);
    if (strcmp(video->model, "vga") == 0)
        args_number(device, "vgamem_mb", video->vram / 1024);
    if (strcmp(video->model, "bochs") == 0)
        args_number(device, "vgamem", video->vram * 1024);
    args_number(device, "xres", video->xres);
    args_number(device, "yres", video->yres);
    args_pci(args, device, &video->device.pci);
    args_add_json(args, "-device", device);
}

/* An automatic port is the first free one of this host: another host may have others in use. */
static void add_vnc(struct args *args, const struct graphics *graphics)
{
    const char *address = graphics->listen ? graphics->listen : "127.0.0.1";
    bool ipv6 = strchr(address, ':');
    CLEANUP_TEXT struct text vnc = {0};
    text_append(&vnc, "%s%s%s:%d", ipv6 ? "[" : "", address, ipv6 ? "]" : "",
                graphics->port < 0 ? 0 : graphics->port - 5900);
    if (graphics->port < 0)
        text_append(&vnc, ",to=%d", 65535 - 5900);
    if (graphics->share)
        text_append(&vnc, ",share=%s", graphics->share);
    args_add(args, "-vnc", "%s", vnc.data);
    if (graphics->keymap)
        args_add(args, "-k", "%s", graphics->keymap);
}

static void add_usb_input(struct args *args, const struct input *input)
{
    const char *driver = strcmp(input->type, "tablet") == 0  ? "usb-tablet"
                         : strcmp(input->type, "mouse") == 0 ? "usb-mouse"
                                                             : "usb-kbd";
    json_t *device = args_device(driver, input->device.alias);
    const char *alias = NULL;
    for (size_t i = 0; i < args->private->n_controllers; i++) {
        const struct controller *controller = &args->private->controllers[i];
        if (controller->type == CONTROLLER_USB && controller->index == input->usb_bus &&
            !model_is_companion(controller))
            alias = controller->device.alias;
    }
    CLEANUP_FREE char *bus = text_format("%s.0", alias);
    args_text(device, "bus", bus);
    args_text(device, "port", input->usb_port);
    args_add_json(args, "-device", device);
}

static void add_input(struct args *args, const struct input *input)
{
    if (strcmp(input->bus, "usb") == 0) {
        add_usb_input(args, input);
    } else if (strcmp(input->bus, "virtio") == 0) {
        CLEANUP_FREE char *driver = text_format("virtio-%s-pci", input->type);
        json_t *device = args_device(driver, input->device.alias);
        args_pci(args, device, &input->device.pci);
        args_add_json(args, "-device", device);
    } /* PS/2 devices are part of the machine */
}

static void add_rng(struct args *args, const struct rng *rng)
{
    CLEANUP_FREE char *id = text_format("obj%s", rng->device.alias);
    json_t *object =
        json_pack("{s:s, s:s}", "qom-type", rng->path ? "rng-random" : "rng-builtin", "id", id);
    args_text(object, "filename", rng->path);
    args_add_json(args, "-object", object);
    json_t *device = args_device("virtio-rng-pci", rng->device.alias);
    args_text(device, "rng", id);
    if (rng->bytes) {
        args_number(device, "max-bytes", rng->bytes);
        args_number(device, "period", rng->period);
    }
    args_pci(args, device, &rng->device.pci);
    args_add_json(args, "-device", device);
}

static void add_balloon(struct args *args, const struct balloon *balloon)
{
    json_t *device = args_device("virtio-balloon-pci", balloon->device.alias);
    if (balloon->deflate_on_oom)
        json_object_set_new(device, "deflate-on-oom", json_true());
    if (balloon->free_page_reporting)
        json_object_set_new(device, "free-page-reporting", json_true());
    args_pci(args, device, &balloon->device.pci);
    args_add_json(args, "-device", device);
}

static void add_watchdog(struct args *args, const struct watchdog *watchdog)
{
    if (strcmp(watchdog->model, "itco") == 0) { /* in q35's chip set, strapped off by default */
        args_add(args, "-global", "ICH9-LPC.noreboot=off");
    } else {
        json_t *device = args_device("i6300esb", watchdog->device.alias);
        args_pci(args, device, &watchdog->device.pci);
        args_add_json(args, "-device", device);
    }
    args_add(args, "-action", "watchdog=%s", watchdog->action);
}

static void add_panic(struct args *args, const struct panic *panic)
{
    if (strcmp(panic->model, "hyperv") == 0)
        return; /* a feature of the CPUs */
    bool isa = strcmp(panic->model, "isa") == 0;
    json_t *device = args_device(isa ? "pvpanic" : "pvpanic-pci", panic->device.alias);
    if (isa)
        json_object_set_new(device, "ioport", json_integer(panic->iobase));
    else
        args_pci(args, device, &panic->device.pci);
    args_add_json(args, "-device", device);
}

void args_devices(struct args *args)
{
    const struct domain_private *private = args->private;
    for (size_t i = 0; i < private->n_inputs; i++)
        add_input(args, &private->inputs[i]);
    for (size_t i = 0; i < private->n_graphics; i++)
        add_vnc(args, &private->graphics[i]);
    for (size_t i = 0; i < private->n_videos; i++)
        add_video(args, &private->videos[i]);
    for (size_t i = 0; i < private->n_watchdogs; i++)
        add_watchdog(args, &private->watchdogs[i]);
    for (size_t i = 0; i < private->n_balloons; i++)
        add_balloon(args, &private->balloons[i]);
    for (size_t i = 0; i < private->n_rngs; i++)
        add_rng(args, &private->rngs[i]);
    for (size_t i = 0; i < private->n_panics; i++)
        add_panic(args, &private->panics[i]);
}
