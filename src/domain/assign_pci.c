/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The PCI topology, as libvirt would lay it out.
 *
 * q35: express devices sit behind a pcie-root-port each, conventional ones behind a
 * pcie-to-pci-bridge, the video card at 00:01.0; root ports share the slots from 2 on, eight
 * functions each. i440fx: everything on pci.0, the video card in slot 2, the rest from slot 3 on.
 * Addresses in the XML are honoured; two devices at one address are refused. The number of the bus
 * in an address is the index of its controller.
 */
#include "domain/assign.h"

#include <string.h>

#define BUSES     256
#define SLOTS     32
#define FUNCTIONS 8

enum bus_kind { BUS_NONE, BUS_ROOT, BUS_PORT, BUS_BRIDGE };

struct bus {
    enum bus_kind kind;
    unsigned char used[SLOTS];  /* a bit for each function */
    unsigned char ports[SLOTS]; /* the same, root ports only */
};

struct pci_map {
    struct assign *assign;
    bool q35;
    struct bus bus[BUSES];
};

enum fit { FIT_PORT, FIT_BRIDGE, FIT_ROOT, FIT_VIDEO, FIT_ROOT_PORT, FIT_NONE };

static bool is_in(const char *word, const char *const *words)
{
    for (; *words; words++)
        if (word && strcmp(*words, word) == 0)
            return true;
    return false;
}

static enum fit controller_fit(const struct controller *controller)
{
    static const char *const ich9[] = {"ich9-ehci1", "ich9-uhci1", "ich9-uhci2", "ich9-uhci3",
                                       NULL};
    static const char *const bridged[] = {"piix3-uhci", "ehci", NULL};
    if (is_in(controller->model, ich9))
        return FIT_NONE;
    if (is_in(controller->model, bridged))
        return FIT_BRIDGE;
    if (text_equal(controller->model, "pcie-root-port"))
        return FIT_ROOT_PORT;
    bool root = controller->type == CONTROLLER_SATA || text_equal(controller->model, "pci-bridge");
    return root ? FIT_ROOT : FIT_PORT;
}

/* Where a device belongs on q35. */
static enum fit device_fit(const struct model_device *device)
{
    static const char *const conventional[] = {"e1000", "rtl8139", NULL};
    if (strcmp(device->kind, "controller") == 0)
        return controller_fit(device->device);
    if (strcmp(device->kind, "video") == 0)
        return FIT_VIDEO;
    if (strcmp(device->kind, "interface") == 0) {
        const struct domain_interface *interface = device->device;
        return is_in(interface->model, conventional) ? FIT_BRIDGE : FIT_PORT;
    }
    bool legacy = strcmp(device->kind, "watchdog") == 0 || strcmp(device->kind, "panic") == 0;
    return legacy ? FIT_BRIDGE : FIT_PORT;
}

static bool is_port(const struct model_device *device)
{
    return strcmp(device->kind, "controller") == 0 &&
           text_equal(((struct controller *)device->device)->model, "pcie-root-port");
}

static bool is_bridge(const struct model_device *device)
{
    return strcmp(device->kind, "controller") == 0 &&
           ((struct controller *)device->device)->type == CONTROLLER_PCI && !is_port(device);
}

static void take(struct pci_map *map, const struct model_device *device)
{
    struct domain_pci *pci = device->pci;
    map->bus[pci->bus].used[pci->slot] |= (unsigned char)(1U << pci->function);
    if (is_port(device))
        map->bus[pci->bus].ports[pci->slot] |= (unsigned char)(1U << pci->function);
}

static void write_address(const struct model_device *device)
{
    const struct domain_pci *pci = device->pci;
    xmlNode *address = assign_element(device->node, "address");
    assign_write(address, "type", "pci");
    assign_write(address, "domain", "0x0000");
    assign_write(address, "bus", "0x%02x", pci->bus);
    assign_write(address, "slot", "0x%02x", pci->slot);
    assign_write(address, "function", "0x%x", pci->function);
}

static void place(struct pci_map *map, const struct model_device *device, unsigned bus,
                  unsigned slot, unsigned function)
{
    *device->pci = (struct domain_pci){.set = true, .bus = bus, .slot = slot, .function = function};
    take(map, device);
    write_address(device);
}

/* Buses */

static enum bus_kind bus_kind(const struct controller *controller)
{
    if (controller->index == 0)
        return BUS_ROOT;
    return strcmp(controller->model, "pcie-root-port") == 0 ? BUS_PORT : BUS_BRIDGE;
}

static void add_bus(struct pci_map *map, const struct controller *controller)
{
    static const char *const express[] = {"pcie-root", "pcie-root-port", "pcie-to-pci-bridge",
                                          NULL};
    if (is_in(controller->model, express) != map->q35 &&
        strcmp(controller->model, "pci-bridge") != 0)
        assign_fault(map->assign, controller->device.node, "machine type '%s' cannot have a '%s'",
                     map->assign->domain->machine, controller->model);
    map->bus[controller->index].kind = bus_kind(controller);
}

static void add_new_bus(struct pci_map *map, const char *model)
{
    unsigned index = 1;
    while (index < BUSES && map->bus[index].kind != BUS_NONE)
        index++;
    if (index < BUSES)
        add_bus(map, assign_add_controller(map->assign, CONTROLLER_PCI, (int)index, model));
}

/* A bus that an address names but no controller makes: a port for it, as libvirt would add. */
static void fill_buses(struct pci_map *map)
{
    size_t count = 0;
    bool named[BUSES] = {false};
    CLEANUP_FREE struct model_device *devices = model_devices(map->assign->domain, &count);
    for (size_t i = 0; i < count; i++)
        if (devices[i].uses_pci && devices[i].pci->set)
            named[devices[i].pci->bus] = true;
    for (unsigned index = 1; index < BUSES && map->q35; index++)
        if (named[index] && map->bus[index].kind == BUS_NONE)
            add_bus(map, assign_add_controller(map->assign, CONTROLLER_PCI, (int)index,
                                               "pcie-root-port"));
}

static unsigned free_places(const struct pci_map *map, enum bus_kind kind)
{
    unsigned count = 0;
    for (unsigned bus = 1; bus < BUSES; bus++) {
        if (map->bus[bus].kind != kind)
            continue;
        unsigned first = kind == BUS_BRIDGE, last = kind == BUS_BRIDGE ? SLOTS - 1 : 0;
        for (unsigned slot = first; slot <= last; slot++)
            count += map->bus[bus].used[slot] == 0;
    }
    return count;
}

/* How many devices still look for a place of that kind. */
static unsigned wanted_places(const struct domain *domain, enum fit fit)
{
    size_t count = 0;
    unsigned wanted = 0;
    CLEANUP_FREE struct model_device *devices = model_devices(domain, &count);
    for (size_t i = 0; i < count; i++)
        wanted += devices[i].uses_pci && !devices[i].pci->set && device_fit(&devices[i]) == fit;
    return wanted;
}

/* All buses must be there before places are given out: a new controller moves the others. */
static void add_buses(struct pci_map *map)
{
    const struct domain *domain = map->assign->domain;
    while (map->q35 && wanted_places(domain, FIT_BRIDGE) > free_places(map, BUS_BRIDGE)) {
        size_t before = domain->private->n_controllers;
        add_new_bus(map, "pcie-root-port"); /* libvirt wants a bridge above the bus it sits on */
        add_new_bus(map, "pcie-to-pci-bridge");
        if (domain->private->n_controllers == before)
            return;
    }
    while (map->q35 && wanted_places(domain, FIT_PORT) > free_places(map, BUS_PORT)) {
        size_t before = domain->private->n_controllers;
        add_new_bus(map, "pcie-root-port");
        if (domain->private->n_controllers == before)
            return;
    }
}

/* Addresses that are there */

static bool is_builtin(const struct pci_map *map, const struct model_device *device, unsigned *slot,
                       unsigned *function)
{
    if (strcmp(device->kind, "controller") != 0)
        return false;
    const struct controller *controller = device->device;
    bool sata = map->q35 && controller->type == CONTROLLER_SATA && controller->index == 0;
    bool ide = !map->q35 && controller->type == CONTROLLER_IDE;
    *slot = sata ? 0x1f : 1;
    *function = sata ? 2 : 1;
    return sata || ide;
}

/* Also true for the one device that may be there. */
static bool is_reserved(const struct pci_map *map, const struct model_device *device)
{
    const struct domain_pci *pci = device->pci;
    if (pci->bus != 0)
        return false;
    if (pci->slot == 0)
        return true;
    if (map->q35)
        return pci->slot == 0x1f;
    bool uhci = strcmp(device->kind, "controller") == 0 &&
                text_equal(((struct controller *)device->device)->model, "piix3-uhci");
    return pci->slot == 1 && !(uhci && pci->function == 2);
}

static void honour(struct pci_map *map, const struct model_device *device)
{
    const struct domain_pci *pci = device->pci;
    unsigned slot = 0, function = 0;
    if (is_builtin(map, device, &slot, &function)) {
        if (pci->set && (pci->bus != 0 || pci->slot != slot || pci->function != function))
            assign_fault(map->assign, device->node,
                         "this controller is part of the machine, at 00:%02x.%x", slot, function);
        else if (!pci->set)
            place(map, device, 0, slot, function);
        return;
    }
    if (!pci->set)
        return;
    const struct bus *bus = &map->bus[pci->bus];
    if (bus->kind == BUS_NONE)
        assign_fault(map->assign, device->node, "there is no PCI controller %u", pci->bus);
    else if (is_reserved(map, device))
        assign_fault(map->assign, device->node, "00:%02x.%x belongs to the machine itself",
                     pci->slot, pci->function);
    else if (bus->kind == BUS_PORT && pci->slot != 0)
        assign_fault(map->assign, device->node, "a pcie-root-port has only slot 0");
    else if (bus->kind == BUS_BRIDGE && pci->slot == 0)
        assign_fault(map->assign, device->node, "a bridge has slots from 1 on");
    else if (is_port(device) && pci->bus != 0)
        assign_fault(map->assign, device->node, "a pcie-root-port belongs on bus 0");
    else if (bus->kind == BUS_BRIDGE && is_bridge(device) &&
             (int)pci->bus >= ((struct controller *)device->device)->index)
        assign_fault(map->assign, device->node, "a bridge sits on a bus with a lower number");
    else if (bus->used[pci->slot] & 1U << pci->function)
        assign_fault(map->assign, device->node,
                     "PCI address %02x:%02x.%x is used by another device", pci->bus, pci->slot,
                     pci->function);
    else
        take(map, device);
}

/* Addresses to give out */

static bool place_on(struct pci_map *map, const struct model_device *device, unsigned bus,
                     unsigned first, unsigned last)
{
    for (unsigned slot = first; slot <= last; slot++)
        if (map->bus[bus].used[slot] == 0) {
            place(map, device, bus, slot, 0);
            return true;
        }
    return false;
}

static bool place_kind(struct pci_map *map, const struct model_device *device, enum bus_kind kind)
{
    unsigned first = kind == BUS_BRIDGE, last = kind == BUS_BRIDGE ? SLOTS - 1 : 0;
    unsigned own = is_bridge(device) ? (unsigned)((struct controller *)device->device)->index : 0;
    for (unsigned i = 1; i < BUSES + own; i++) {
        unsigned bus = i < own ? i : i - own; /* a bridge looks below its own number first */
        if (map->bus[bus].kind == kind && place_on(map, device, bus, first, last))
            return true;
    }
    return false;
}

/* Eight root ports to a slot, in a slot of their own. */
static bool place_port(struct pci_map *map, const struct model_device *device)
{
    struct bus *root = &map->bus[0];
    for (unsigned slot = 2; slot < 0x1f; slot++)
        for (unsigned function = 0; function < FUNCTIONS; function++)
            if (root->used[slot] == root->ports[slot] && !(root->used[slot] & 1U << function) &&
                (function == 0 || root->used[slot] & 1U)) {
                place(map, device, 0, slot, function);
                return true;
            }
    return false;
}

static bool place_q35(struct pci_map *map, const struct model_device *device)
{
    switch (device_fit(device)) {
    case FIT_ROOT_PORT:
        return place_port(map, device);
    case FIT_VIDEO:
    case FIT_ROOT:
        return place_on(map, device, 0, device_fit(device) == FIT_VIDEO ? 1 : 2, 0x1e);
    case FIT_BRIDGE:
        return place_kind(map, device, BUS_BRIDGE);
    case FIT_PORT:
        return place_kind(map, device, BUS_PORT);
    case FIT_NONE:
        break;
    }
    return false;
}

static bool place_i440fx(struct pci_map *map, const struct model_device *device)
{
    const struct controller *controller = device->device;
    if (strcmp(device->kind, "video") == 0)
        return place_on(map, device, 0, 2, SLOTS - 1);
    if (strcmp(device->kind, "controller") == 0 && text_equal(controller->model, "piix3-uhci") &&
        controller->index == 0 && !(map->bus[0].used[1] & 1U << 2)) {
        place(map, device, 0, 1, 2);
        return true;
    }
    bool bridge =
        strcmp(device->kind, "controller") == 0 && text_equal(controller->model, "pci-bridge");
    return place_on(map, device, 0, 3, SLOTS - 1) ||
           (!bridge && place_kind(map, device, BUS_BRIDGE));
}

static void place_missing(struct pci_map *map, const struct model_device *device)
{
    if (!device->uses_pci || device->pci->set)
        return;
    bool placed = false;
    if (device_fit(device) != FIT_NONE)
        placed = map->q35 ? place_q35(map, device) : place_i440fx(map, device);
    else
        assign_fault(map->assign, device->node,
                     "this model needs an <address>: its functions "
                     "belong into one slot");
    if (!placed && device_fit(device) != FIT_NONE)
        assign_fault(map->assign, device->node, "no free PCI slot is left for it");
}

/* Bridges and the video card first, so that they get the places they are known for. */
static void place_all(struct pci_map *map, const struct model_device *devices, size_t count)
{
    static const char *const kinds[] = {"controller", "video", "interface",  "controller",
                                        "disk",       "input", "memballoon", "rng",
                                        "watchdog",   "panic"};
    for (size_t k = 0; k < ARRAY_SIZE(kinds); k++)
        for (size_t i = 0; i < count; i++) {
            if (strcmp(devices[i].kind, kinds[k]) != 0)
                continue;
            const struct controller *controller = devices[i].device;
            if (k == 0 && (controller->type != CONTROLLER_PCI || controller->index == 0))
                continue;
            place_missing(map, &devices[i]);
        }
}

/* What goes with an address: multifunction, and a port's numbers. */

static void set_multifunction(const struct pci_map *map, const struct model_device *device)
{
    struct domain_pci *pci = device->pci;
    if (!device->uses_pci || !pci->set || pci->function != 0 || pci->multifunction ||
        (map->bus[pci->bus].used[pci->slot] & ~1U) == 0)
        return;
    pci->multifunction = true;
    assign_write(assign_element(device->node, "address"), "multifunction", "on");
}

static bool chassis_used(const struct domain *domain, int chassis)
{
    for (size_t i = 0; i < domain->private->n_controllers; i++)
        if (domain->private->controllers[i].chassis == chassis)
            return true;
    return false;
}

/* QEMU's name for the model, which libvirt prints beside its own. */
static const char *qemu_name(const struct controller *controller)
{
    return strcmp(controller->model, "pcie-to-pci-bridge") == 0 ? "pcie-pci-bridge"
                                                                : controller->model;
}

static void set_port_numbers(struct pci_map *map, struct controller *controller)
{
    const struct domain *domain = map->assign->domain;
    const struct domain_pci *pci = &controller->device.pci;
    xmlNode *target = NULL;
    if (controller->index != 0)
        assign_write(assign_element(controller->device.node, "model"), "name", "%s",
                     qemu_name(controller));
    if (text_equal(controller->model, "pcie-root-port")) {
        target = assign_element(controller->device.node, "target");
        if (controller->chassis < 0) {
            int chassis = controller->index;
            while (chassis_used(domain, chassis))
                chassis++;
            controller->chassis = chassis;
            assign_write(target, "chassis", "%d", chassis);
        }
        if (controller->port < 0) {
            controller->port = (int)(pci->slot << 3 | pci->function);
            assign_write(target, "port", "0x%x", (unsigned)controller->port);
        }
    } else if (text_equal(controller->model, "pci-bridge") && controller->chassis_number < 0) {
        controller->chassis_number = controller->index;
        target = assign_element(controller->device.node, "target");
        assign_write(target, "chassisNr", "%d", controller->index);
    }
}

static void check_chassis(struct pci_map *map)
{
    const struct domain_private *private = map->assign->domain->private;
    for (size_t i = 0; i < private->n_controllers; i++)
        for (size_t j = 0; j < i; j++)
            if (private->controllers[i].chassis >= 0 &&
                private->controllers[i].chassis == private->controllers[j].chassis &&
                private->controllers[i].port == private->controllers[j].port)
                assign_fault(map->assign, private->controllers[i].device.node,
                             "chassis %d with port 0x%x is used twice",
                             private->controllers[i].chassis,
                             (unsigned)private->controllers[i].port);
}

void assign_pci(struct assign *assign)
{
    struct domain *domain = assign->domain;
    struct pci_map map = {.assign = assign, .q35 = model_is_q35(domain)};
    for (size_t i = 0; i < domain->private->n_controllers; i++)
        if (domain->private->controllers[i].type == CONTROLLER_PCI)
            add_bus(&map, &domain->private->controllers[i]);
    fill_buses(&map);
    size_t count = 0;
    CLEANUP_FREE struct model_device *given = model_devices(domain, &count);
    for (size_t i = 0; i < count; i++)
        if (given[i].uses_pci)
            honour(&map, &given[i]);
    add_buses(&map);
    CLEANUP_FREE struct model_device *devices = model_devices(domain, &count);
    place_all(&map, devices, count);
    for (size_t i = 0; i < count; i++)
        set_multifunction(&map, &devices[i]);
    for (size_t i = 0; i < domain->private->n_controllers; i++)
        if (domain->private->controllers[i].type == CONTROLLER_PCI)
            set_port_numbers(&map, &domain->private->controllers[i]);
    check_chassis(&map);
}
