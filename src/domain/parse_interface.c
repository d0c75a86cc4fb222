/* SPDX-License-Identifier: Apache-2.0 */
/* <interface> */
#include "domain/parse.h"

#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

/* Six hex bytes with colons, not a multicast address; lower case. */
static bool parse_mac_text(const char *text, char mac[18])
{
    static const char hex[] = "0123456789abcdefABCDEF";
    if (strlen(text) != 17)
        return false;
    for (size_t i = 0; i < 17; i++) {
        if (i % 3 == 2 ? text[i] != ':' : !strchr(hex, text[i]))
            return false;
        mac[i] = (char)(text[i] >= 'A' && text[i] <= 'F' ? text[i] + 32 : text[i]);
    }
    mac[17] = '\0';
    return strchr("02468ace", mac[1]) && strcmp(mac, "00:00:00:00:00:00") != 0;
}

static void parse_mac(struct reader *reader, struct domain_interface *interface, xmlNode *node)
{
    if (!node)
        return;
    const char *address = reader_need(reader, node, "address");
    static const char *const types[] = {"static", "generated", NULL};
    reader_choice(reader, node, "type", types);
    if (address && !parse_mac_text(address, interface->mac)) {
        interface->mac[0] = '\0';
        reader_fault(reader, node, "address", ERROR_INVALID,
                     "'%s' is not the MAC address of one network card", address);
    }
}

static bool ifname_valid(const char *name)
{
    size_t length = strlen(name);
    return length > 0 && length < IFNAMSIZ && !strpbrk(name, "/ \t\r\n:%") &&
           strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static void parse_source(struct reader *reader, struct domain_interface *interface, xmlNode *node,
                         xmlNode *source)
{
    if (interface->type != INTERFACE_BRIDGE)
        return;
    if (!source) {
        reader_fault(reader, node, NULL, ERROR_INVALID, "type='bridge' needs <source bridge=...>");
        return;
    }
    const char *bridge = reader_need(reader, source, "bridge");
    if (bridge && !ifname_valid(bridge))
        reader_fault(reader, source, "bridge", ERROR_INVALID, "'%s' is no name of a bridge",
                     bridge);
    else
        interface->bridge = text_copy(bridge);
}

/* Names that libvirt made up for a running guest are not wanted again, as libvirt sees it too. */
static bool is_generated(const char *name)
{
    return strncmp(name, "vnet", 4) == 0 && name[4] &&
           strspn(name + 4, "0123456789") == strlen(name + 4);
}

static void parse_target(struct reader *reader, struct domain_interface *interface, xmlNode *target)
{
    const char *dev = reader_attribute(target, "dev");
    if (reader_flag(reader, target, "managed") == 0)
        reader_fault(reader, target, "managed", ERROR_UNSUPPORTED,
                     "managed='no' is not supported: the agent makes the tap device itself");
    if (!dev || is_generated(dev))
        return;
    if (!ifname_valid(dev))
        reader_fault(reader, target, "dev", ERROR_INVALID, "'%s' is no name of a tap device", dev);
    else
        interface->ifname = text_copy(dev);
}

static void parse_driver(struct reader *reader, struct domain_interface *interface,
                         struct interface_detail *detail, xmlNode *node)
{
    static const char *const names[] = {"vhost", "qemu", NULL};
    const char *name = reader_choice(reader, node, "name", names);
    interface->vhost_wanted = text_equal(name, "vhost");
    interface->vhost_refused = text_equal(name, "qemu");
    int64_t queues = 1;
    if (reader_number(reader, node, "queues", 1, 256, &queues) && queues != 1)
        reader_fault(reader, node, "queues", ERROR_UNSUPPORTED,
                     "more than one queue is not supported");
    reader_number(reader, node, "rx_queue_size", 256, 1024, &detail->rx_queue);
    reader_number(reader, node, "tx_queue_size", 256, 1024, &detail->tx_queue);
    if (((detail->rx_queue & (detail->rx_queue - 1)) && detail->rx_queue) ||
        ((detail->tx_queue & (detail->tx_queue - 1)) && detail->tx_queue))
        reader_fault(reader, node, NULL, ERROR_INVALID, "a queue's size is a power of two");
    bool virtio = !interface->model || strcmp(interface->model, "virtio") == 0;
    if (node && !virtio && (name || detail->rx_queue || detail->tx_queue))
        reader_fault(reader, node, NULL, ERROR_INVALID, "only a virtio interface has a <driver>");
}

static bool parse_type(struct reader *reader, struct domain_interface *interface, xmlNode *node)
{
    static const char *const types[] = {[INTERFACE_BRIDGE] = "bridge",
                                        [INTERFACE_USER] = "user",
                                        [INTERFACE_ETHERNET] = "ethernet",
                                        NULL};
    const char *type = reader_attribute(node, "type");
    for (size_t i = 0; type && types[i]; i++)
        if (strcmp(types[i], type) == 0) {
            interface->type = (enum interface_type)i;
            return true;
        }
    if (!type)
        reader_fault(reader, node, NULL, ERROR_INVALID, "attribute 'type' is missing");
    else if (strcmp(type, "network") == 0)
        reader_fault(reader, node, "type", ERROR_UNSUPPORTED,
                     "type='network' is not supported: there are no libvirt networks here; use "
                     "type='bridge' and the network's bridge");
    else
        reader_fault(reader, node, "type", ERROR_UNSUPPORTED,
                     "type='%s' is not supported (known: bridge, user, ethernet)", type);
    reader_keep(node);
    return false;
}

void parse_interface(struct reader *reader, struct domain *domain, xmlNode *node)
{
    static const char *const models[] = {"virtio", "e1000", "e1000e", "rtl8139", NULL};
    static const char *const states[] = {"up", NULL};
    size_t n = domain->n_interfaces;
    struct interface_detail *detail = MODEL_ADD(&domain->private->interfaces, &n);
    struct domain_interface *interface = MODEL_ADD(&domain->interfaces, &domain->n_interfaces);
    detail->node = node;
    interface->line = reader_line(node);
    if (!parse_type(reader, interface, node))
        return;
    parse_mac(reader, interface, reader_child(reader, node, "mac"));
    parse_source(reader, interface, node, reader_child(reader, node, "source"));
    parse_target(reader, interface, reader_child(reader, node, "target"));
    interface->model = parse_choice(reader, reader_child(reader, node, "model"), "type", models);
    parse_driver(reader, interface, detail, reader_child(reader, node, "driver"));
    reader_choice(reader, reader_child(reader, node, "link"), "state", states);
    int64_t order = 0;
    reader_number(reader, reader_child(reader, node, "boot"), "order", 1, 999, &order);
    interface->boot_order = (int)order;
    parse_device(reader, node, &interface->alias, &interface->pci);
}
