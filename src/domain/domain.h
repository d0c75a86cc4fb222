/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A domain: libvirt's domain XML, parsed.
 *
 * The XML document is kept whole, so that what has no effect on us (metadata, seclabel, comments,
 * order) is given back unchanged; the fields here are what we act on. An element, attribute or
 * value that is neither acted on nor known to be without effect is refused with its line and
 * column, all of them in one error. Addresses, MACs, aliases, the UUID and the versioned machine
 * type are assigned once (domain_assign) and written into the document.
 */
#ifndef DOMAIN_DOMAIN_H
#define DOMAIN_DOMAIN_H

#include <libxml/tree.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

#define DOMAIN_XML_MAX ((size_t)4 << 20)
#define UUID_TEXT_SIZE 37 /* with its NUL */

/* Of our own elements in <metadata>. */
#define DOMAIN_NAMESPACE "https://mudanza.io/xmlns/domain/1"

enum domain_accelerator { DOMAIN_KVM, DOMAIN_TCG };

enum domain_action { DOMAIN_DESTROY, DOMAIN_RESTART, DOMAIN_PRESERVE };

enum disk_source { DISK_EMPTY, DISK_FILE, DISK_BLOCK };
enum disk_device { DISK_DISK, DISK_CDROM };
enum disk_bus { DISK_VIRTIO, DISK_SCSI, DISK_SATA, DISK_IDE }; /* IDE: machine "pc" only */

struct domain_pci { /* guest-visible address; valid once assigned */
    bool set;
    uint32_t domain, bus, slot, function;
    bool multifunction;
};

struct domain_disk {
    enum disk_source source;
    enum disk_device device;
    enum disk_bus bus;
    char *path;   /* NULL when empty */
    char *format; /* "raw" or "qcow2" */
    char *target; /* "vda" */
    char *serial, *cache, *io, *discard;
    bool readonly, shareable;
    int boot_order;        /* 0: none */
    struct domain_pci pci; /* virtio only */
    int controller, unit;  /* scsi, sata, ide; -1 before assignment */
    char *alias;
    long line;
};

enum interface_type { INTERFACE_BRIDGE, INTERFACE_USER, INTERFACE_ETHERNET };

struct domain_interface {
    enum interface_type type;
    char *bridge;                     /* INTERFACE_BRIDGE */
    char *ifname;                     /* wanted tap name, or NULL */
    char *model;                      /* "virtio", "e1000", "e1000e", "rtl8139" */
    bool vhost_wanted, vhost_refused; /* <driver name='vhost'|'qemu'/> */
    char mac[18];                     /* lower case; empty before assignment */
    int boot_order;
    struct domain_pci pci;
    char *alias;
    long line;
};

struct domain {
    xmlDoc *document;
    char *name, *title, *emulator; /* title, emulator: may be NULL */
    char *group;                   /* of VMs whose pages may stand in for each other; NULL: none */
    char uuid[UUID_TEXT_SIZE];     /* empty before assignment */
    enum domain_accelerator accelerator;
    uint64_t memory; /* bytes */
    unsigned vcpus;
    char *machine;              /* as written; versioned once assigned */
    char *cpu_mode, *cpu_model; /* "host-passthrough" | "host-model" | "custom" | NULL */
    enum domain_action on_poweroff, on_reboot, on_crash;
    char *kernel, *initrd, *cmdline;
    char *loader, *nvram, *nvram_template;
    struct domain_disk *disks;
    size_t n_disks;
    struct domain_interface *interfaces;
    size_t n_interfaces;
    struct domain_private *private; /* everything only the QEMU command line needs */
};

/* NULL with ERROR_INVALID (malformed, missing, out of range) or ERROR_UNSUPPORTED; the message has
 * one line a finding: "line L, column C: <element>: what". */
struct domain *domain_parse(const char *xml, size_t size, struct error **err);
void domain_free(struct domain *domain);

static inline void cleanup_domain_function(struct domain **domain)
{
    domain_free(*domain);
}
#define CLEANUP_DOMAIN CLEANUP(cleanup_domain_function)

/* What domain_assign cannot know by itself. */
struct domain_assign_host {
    /* The versioned machine type behind an alias ("q35") or a versioned one itself; NULL when the
     * emulator does not have it. `machine` may be NULL: the emulator's default. */
    const char *(*machine)(void *context, const char *machine);
    void *context;
};

/* Assigns what is missing (UUID, machine, MACs, PCI and drive addresses, aliases, controllers) and
 * writes it into the document. Assigning twice changes nothing. */
int domain_assign(struct domain *domain, const struct domain_assign_host *host, struct error **err);

/* The whole document as XML, as `virsh dumpxml` would lay it out; owned by the caller. */
char *domain_format(const struct domain *domain);

/* Renames, in the field and in the document. ERROR_INVALID when domain_name_valid says no. */
int domain_rename(struct domain *domain, const char *name, struct error **err);

/* A VM's name: 1..255 bytes, no '/', no control characters, not "." or "..". */
bool domain_name_valid(const char *name);

/*
 * May a guest that runs with `from` go on with `to`? Compares everything the guest can see
 * (machine, memory, CPUs, devices, addresses, MACs, serials); paths, bridges, chardev back ends,
 * title, metadata may differ. ERROR_INVALID lists every difference with its line in `to`.
 */
int domain_same_hardware(const struct domain *from, const struct domain *to, struct error **err);

/* Findings that do not stop anything: elements kept without effect. Borrowed, NULL-terminated. */
const char *const *domain_warnings(const struct domain *domain);

#endif
