/* SPDX-License-Identifier: Apache-2.0 */
/* Tap devices on bridges, and vhost-net beside them. */
#include "qemu/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <linux/sockios.h>

#include "base/text.h"

#define TAP_NAME     "mdz%d" /* the kernel puts a number in */
#define TUN_DEVICE   "/dev/net/tun"
#define VHOST_DEVICE "/dev/vhost-net"

static int tap_denied(struct error **err, const char *what, int errnum)
{
    if (errnum != EPERM && errnum != EACCES)
        return error_errno(err, errnum, "%s", what);
    error_set(err, ERROR_DENIED, "%s: %s", what, strerror(errnum));
    return error_hint(err, "run the agent as root, or use <interface type='user'>");
}

/* Fills in a request's name; a name too long is refused. */
static int tap_name(struct ifreq *request, const char *name, struct error **err)
{
    *request = (struct ifreq){0};
    if (strlen(name) >= sizeof(request->ifr_name))
        return error_set(err, ERROR_INVALID, "'%s' is too long a name for a network device", name);
    memcpy(request->ifr_name, name, strlen(name));
    return 0;
}

/* A tap device; its name, as the kernel made it, is left in `name`. */
static int tap_create(const char *wanted, char name[IFNAMSIZ], struct error **err)
{
    struct ifreq request;
    if (tap_name(&request, wanted ? wanted : TAP_NAME, err) < 0)
        return -1;
    CLEANUP_CLOSE int fd = open(TUN_DEVICE, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return tap_denied(err, TUN_DEVICE, errno);
    request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    if (ioctl(fd, TUNSETIFF, &request) < 0)
        return tap_denied(err, "making a tap device", errno);
    memcpy(name, request.ifr_name, IFNAMSIZ);
    return STEAL_FD(fd);
}

static int tap_bring_up(int control, const char *name, struct error **err)
{
    struct ifreq request;
    if (tap_name(&request, name, err) < 0)
        return -1;
    if (ioctl(control, SIOCGIFFLAGS, &request) < 0)
        return error_errno(err, errno, "%s", name);
    request.ifr_flags |= IFF_UP;
    if (ioctl(control, SIOCSIFFLAGS, &request) < 0)
        return tap_denied(err, "bringing the tap device up", errno);
    return 0;
}

/* The kernel gave the device a random MAC. With such a high first byte a bridge, which takes the
 * lowest MAC of its ports, keeps its own. It is not derived from the guest's: while a VM moves,
 * both hosts have a tap device for it, and a bridge that did take such a MAC (its uplink's may be
 * higher still) could not be reached from the other, which would take the MAC for its own tap's. */
static int tap_raise_mac(int control, const char *name, struct error **err)
{
    struct ifreq request;
    if (tap_name(&request, name, err) < 0)
        return -1;
    if (ioctl(control, SIOCGIFHWADDR, &request) < 0)
        return error_errno(err, errno, "%s", name);
    request.ifr_hwaddr.sa_data[0] = (char)0xfe;
    if (ioctl(control, SIOCSIFHWADDR, &request) < 0)
        return tap_denied(err, "setting the tap device's MAC", errno);
    return 0;
}

static int tap_set_mtu(int control, const char *name, const char *bridge, struct error **err)
{
    struct ifreq request;
    if (tap_name(&request, bridge, err) < 0)
        return -1;
    if (ioctl(control, SIOCGIFMTU, &request) < 0)
        return error_errno(err, errno, "reading its MTU");
    const int mtu = request.ifr_mtu;
    if (tap_name(&request, name, err) < 0)
        return -1;
    request.ifr_mtu = mtu;
    return ioctl(control, SIOCSIFMTU, &request) < 0
               ? tap_denied(err, "setting the tap device's MTU", errno)
               : 0;
}

/*
 * Puts the device on the bridge, with the bridge's MTU (a smaller one would lower the bridge's).
 * Taking it off first does nothing on a bridge, as it is not on it, but only a bridge knows how to.
 */
static int tap_attach(int control, const char *name, const char *bridge, struct error **err)
{
    struct ifreq request;
    if (tap_name(&request, bridge, err) < 0)
        return -1;
    request.ifr_ifindex = (int)if_nametoindex(name);
    if (ioctl(control, SIOCBRDELIF, &request) < 0 && errno == EOPNOTSUPP) {
        error_set(err, ERROR_UNSUPPORTED, "it is no bridge of the kernel's own");
        return error_hint(err, "name a bridge as `ip link add NAME type bridge` makes it");
    }
    if (tap_set_mtu(control, name, bridge, err) < 0)
        return -1;
    if (ioctl(control, SIOCBRADDIF, &request) < 0)
        return tap_denied(err, "attaching a tap device", errno);
    return 0;
}

static int tap_check_bridge(const char *bridge, struct error **err)
{
    if (if_nametoindex(bridge) != 0)
        return 0;
    error_set(err, ERROR_NOT_FOUND, "bridge '%s' does not exist on this host", bridge);
    return error_hint(err,
                      "create it (ip link add %s type bridge), or name another one in "
                      "<source bridge='...'/>",
                      bridge);
}

static int tap_open_vhost(const struct domain_interface *interface, bool kvm, int *vhost_fd,
                          struct error **err)
{
    *vhost_fd = -1;
    if (interface->vhost_refused || !text_equal(interface->model, "virtio") ||
        (!kvm && !interface->vhost_wanted))
        return 0;
    *vhost_fd = open(VHOST_DEVICE, O_RDWR | O_CLOEXEC);
    if (*vhost_fd >= 0 || !interface->vhost_wanted)
        return 0;
    error_errno(err, errno, VHOST_DEVICE);
    return error_hint(err, "modprobe vhost_net, or leave out <driver name='vhost'/>");
}

int tap_open(const struct domain_interface *interface, bool kvm, int *vhost_fd, struct error **err)
{
    char name[IFNAMSIZ];
    const char *bridge = interface->type == INTERFACE_BRIDGE ? interface->bridge : NULL;
    *vhost_fd = -1;
    if (bridge && tap_check_bridge(bridge, err) < 0)
        return -1;
    CLEANUP_CLOSE int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (control < 0)
        return error_errno(err, errno, "socket");
    CLEANUP_CLOSE int fd = tap_create(interface->ifname, name, err);
    if (fd < 0 || tap_raise_mac(control, name, err) < 0)
        return -1;
    if (bridge && tap_attach(control, name, bridge, err) < 0)
        return error_prefix(err, "bridge '%s'", bridge);
    if (tap_bring_up(control, name, err) < 0 || tap_open_vhost(interface, kvm, vhost_fd, err) < 0)
        return -1;
    return STEAL_FD(fd);
}
