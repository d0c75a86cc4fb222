/* SPDX-License-Identifier: Apache-2.0 */
/* Network interfaces: -netdev and -device. */
#include "domain/args.h"

static int add_netdev(struct args *args, const struct domain_interface *interface,
                      struct error **err)
{
    const struct qemu_host *host = args->host;
    if (interface->type == INTERFACE_USER) {
        args_add(args, "-netdev", "user,id=host%s", interface->alias);
        return 0;
    }
    int vhost_fd = -1;
    bool kvm = args->domain->accelerator == DOMAIN_KVM;
    int fd = host->ops->tap(host->context, interface, kvm, &vhost_fd, err);
    if (fd < 0)
        return -1;
    if (vhost_fd >= 0)
        args_add(args, "-netdev", "tap,fd=%d,vhost=on,vhostfd=%d,id=host%s", fd, vhost_fd,
                 interface->alias);
    else
        args_add(args, "-netdev", "tap,fd=%d,id=host%s", fd, interface->alias);
    return 0;
}

static void add_device(struct args *args, size_t index)
{
    const struct domain_interface *interface = &args->domain->interfaces[index];
    const struct interface_detail *detail = &args->private->interfaces[index];
    bool virtio = text_equal(interface->model, "virtio");
    json_t *device = args_device(virtio ? "virtio-net-pci" : interface->model, interface->alias);
    CLEANUP_FREE char *netdev = text_format("host%s", interface->alias);
    args_text(device, "netdev", netdev);
    args_text(device, "mac", interface->mac);
    int boot = args_interface_boot(args, index);
    args_number(device, "bootindex", boot);
    /*
     * A card's boot ROM is a RAM block in the migration stream, with the size of the file in the
     * host's package; where two hosts differ, the stream does not load. Only a card that the guest
     * boots from needs it.
     */
    if (!boot)
        args_text(device, "romfile", "");
    args_number(device, "rx_queue_size", detail->rx_queue);
    args_number(device, "tx_queue_size", detail->tx_queue);
    args_pci(args, device, &interface->pci);
    args_add_json(args, "-device", device);
}

int args_interfaces(struct args *args, struct error **err)
{
    for (size_t i = 0; i < args->domain->n_interfaces; i++) {
        const struct domain_interface *interface = &args->domain->interfaces[i];
        if (add_netdev(args, interface, err) < 0)
            return error_prefix(err, "interface %s", interface->mac);
        add_device(args, i);
    }
    return 0;
}
