/* SPDX-License-Identifier: Apache-2.0 */
/* <controller> */
#include "domain/parse.h"

#include <string.h>

#include "base/text.h"

static const char *const pci_models[] = {"pcie-root",          "pci-root",   "pcie-root-port",
                                         "pcie-to-pci-bridge", "pci-bridge", NULL};
static const char *const usb_models[] = {"qemu-xhci",  "nec-xhci",   "piix3-uhci",
                                         "ehci",       "ich9-ehci1", "ich9-uhci1",
                                         "ich9-uhci2", "ich9-uhci3", NULL};
static const char *const scsi_models[] = {"virtio-scsi", NULL};
static const char *const no_models[] = {NULL};

static const struct {
    const char *name;
    enum controller_type type;
    const char *const *models;
} types[] = {
    {"pci", CONTROLLER_PCI, pci_models},    {"usb", CONTROLLER_USB, usb_models},
    {"sata", CONTROLLER_SATA, no_models},   {"ide", CONTROLLER_IDE, no_models},
    {"scsi", CONTROLLER_SCSI, scsi_models}, {"virtio-serial", CONTROLLER_SERIAL, no_models},
};

static const char *const type_names[] = {"pci",  "usb",           "sata", "ide",
                                         "scsi", "virtio-serial", NULL};

static bool is_model(const struct controller *controller, const char *model)
{
    return controller->model && strcmp(controller->model, model) == 0;
}

/* <model name='...'/> and <target .../> say how QEMU builds a PCI bridge. */
static void parse_pci(struct reader *reader, struct controller *controller, xmlNode *node)
{
    static const char *const port_names[] = {"pcie-root-port", NULL};
    static const char *const bridge_names[] = {"pci-bridge", NULL};
    static const char *const pcie_bridge_names[] = {"pcie-pci-bridge", NULL};
    bool port = is_model(controller, "pcie-root-port");
    bool bridge = is_model(controller, "pci-bridge");
    xmlNode *model = reader_child(reader, node, "model");
    reader_choice(reader, model, "name",
                  port     ? port_names
                  : bridge ? bridge_names
                           : pcie_bridge_names);
    xmlNode *target = reader_child(reader, node, "target");
    int64_t number = -1;
    if (port && reader_number(reader, target, "chassis", 0, 255, &number))
        controller->chassis = (int)number;
    if (port && reader_number(reader, target, "port", 0, 255, &number))
        controller->port = (int)number;
    if (port && reader_flag(reader, target, "hotplug") == 0)
        reader_fault(reader, target, "hotplug", ERROR_UNSUPPORTED,
                     "hotplug='off' is not supported");
    if (bridge && reader_number(reader, target, "chassisNr", 1, 255, &number))
        controller->chassis_number = (int)number;
    if ((is_model(controller, "pcie-root") || is_model(controller, "pci-root")) &&
        controller->index != 0)
        reader_fault(reader, node, "index", ERROR_INVALID, "the root has index 0");
    else if (!port && !bridge && !is_model(controller, "pcie-to-pci-bridge") && model)
        reader_fault(reader, model, NULL, ERROR_INVALID, "the root has no model name");
    else if ((port || bridge || is_model(controller, "pcie-to-pci-bridge")) &&
             controller->index == 0)
        reader_fault(reader, node, "index", ERROR_INVALID, "index 0 is the root");
}

static void parse_details(struct reader *reader, struct controller *controller, xmlNode *node)
{
    bool xhci = is_model(controller, "qemu-xhci") || is_model(controller, "nec-xhci");
    if (xhci)
        reader_number(reader, node, "ports", 1, 15, &controller->ports);
    if (controller->type == CONTROLLER_SERIAL) {
        reader_number(reader, node, "ports", 1, 511, &controller->ports);
        reader_number(reader, node, "vectors", 0, 128, &controller->vectors);
    }
    if (controller->type == CONTROLLER_SCSI)
        reader_number(reader, reader_child(reader, node, "driver"), "queues", 1, 1024,
                      &controller->queues);
    if (model_is_companion(controller)) {
        xmlNode *master = reader_child(reader, node, "master");
        if (!reader_number(reader, master, "startport", 0, 5, &controller->start_port))
            reader_fault(reader, node, NULL, ERROR_INVALID, "needs <master startport=...>");
    }
    if (controller->type == CONTROLLER_PCI)
        parse_pci(reader, controller, node);
}

void parse_controller(struct reader *reader, struct domain *domain, xmlNode *node)
{
    struct domain_private *private = domain->private;
    const char *name = reader_choice(reader, node, "type", type_names);
    if (!name) {
        if (!xmlHasProp(node, BAD_CAST "type"))
            reader_fault(reader, node, NULL, ERROR_INVALID, "attribute 'type' is missing");
        reader_keep(node);
        return;
    }
    struct controller *controller = MODEL_ADD(&private->controllers, &private->n_controllers);
    controller->device.node = node;
    controller->chassis = controller->port = controller->chassis_number = -1;
    controller->ports = controller->vectors = controller->queues = controller->start_port = -1;
    for (size_t i = 0; i < ARRAY_SIZE(types); i++)
        if (strcmp(types[i].name, name) == 0) {
            controller->type = types[i].type;
            if (types[i].models[0])
                controller->model = reader_choice(reader, node, "model", types[i].models);
        }
    int64_t index = -1;
    if (reader_number(reader, node, "index", 0, 255, &index))
        controller->index = (int)index;
    else if (!xmlHasProp(node, BAD_CAST "index"))
        controller->index = -1;
    if (controller->type == CONTROLLER_PCI && !xmlHasProp(node, BAD_CAST "model"))
        reader_fault(reader, node, NULL, ERROR_INVALID, "attribute 'model' is missing");
    parse_details(reader, controller, node);
    parse_device(reader, node, &controller->device.alias, &controller->device.pci);
    if (model_is_companion(controller)) { /* libvirt prints its master's */
        free(controller->device.alias);
        controller->device.alias = NULL;
    }
}
