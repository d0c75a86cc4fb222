/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of a domain that stay inside this folder: what only the QEMU command line needs. */
#ifndef DOMAIN_MODEL_H
#define DOMAIN_MODEL_H

#include "domain/domain.h"

#define MODEL_DEVICES_MAX 1024 /* of all kinds together */

/* What every device has. */
struct device {
    xmlNode *node;
    char *alias; /* NULL before assignment */
    struct domain_pci pci;
};

/* name=value for a -cpu, -machine or similar list. */
struct property {
    char *name, *value;
    xmlNode *node; /* where it comes from */
};

struct property_list {
    struct property *items;
    size_t count;
};

struct disk_detail { /* beside struct domain_disk, same index */
    xmlNode *node;
    bool addressed; /* <address type='drive'> is there */
    int bus, target;
    char *error_policy, *rerror_policy, *detect_zeroes;
    char *wwn, *vendor, *product;
    int64_t queues, logical_block, physical_block, rotation; /* 0: not given */
};

struct interface_detail { /* beside struct domain_interface, same index */
    xmlNode *node;
    int64_t rx_queue, tx_queue; /* 0: not given */
};

enum controller_type {
    CONTROLLER_PCI,
    CONTROLLER_USB,
    CONTROLLER_SATA,
    CONTROLLER_IDE,
    CONTROLLER_SCSI,
    CONTROLLER_SERIAL, /* virtio-serial */
};

struct controller {
    struct device device;
    enum controller_type type;
    int index;
    const char *model;  /* static; NULL only for sata, ide, virtio-serial and before assignment */
    int chassis, port;  /* pcie-root-port; -1: not yet */
    int chassis_number; /* pci-bridge; -1: not yet */
    int64_t ports, vectors, queues, start_port; /* -1: not given */
};

enum char_role { CHAR_SERIAL, CHAR_CONSOLE, CHAR_CHANNEL };
enum char_backend { CHAR_PTY, CHAR_FILE, CHAR_UNIX, CHAR_TCP, CHAR_UDP, CHAR_NULL };

struct char_device {
    struct device device;
    enum char_role role;
    enum char_backend backend;
    char *path; /* file, unix */
    bool append, listen, telnet;
    char *host, *service;           /* tcp; udp: where to */
    char *bind_host, *bind_service; /* udp */
    char *channel;                  /* name of the port in the guest */
    int controller;                 /* virtio: -1 before assignment */
    int port;                       /* isa: index; virtio: nr; -1 before assignment */
};

struct input {
    struct device device;
    const char *type, *bus; /* tablet mouse keyboard; usb virtio ps2 */
    char *usb_port;         /* "1" or "1.2"; NULL before assignment */
    int usb_bus;
};

struct video {
    struct device device;
    const char *model;               /* virtio vga bochs cirrus none */
    int64_t vram, heads, xres, yres; /* vram in KiB; 0: not given */
};

struct graphics {
    xmlNode *node;
    char *listen; /* address */
    char *keymap;
    const char *share;
    int port; /* -1: any */
};

struct rng {
    struct device device;
    char *path;            /* NULL: QEMU's own (builtin) */
    int64_t bytes, period; /* per period in ms; 0: no limit */
};

struct balloon {
    struct device device;
    bool deflate_on_oom, free_page_reporting;
};

struct watchdog {
    struct device device;
    const char *model, *action;
};

struct panic {
    struct device device;
    const char *model; /* isa pvpanic hyperv */
    int64_t iobase;
};

struct memory_backing {
    bool hugepages, memfd, shared, locked, no_merge, prealloc;
    uint64_t page_size; /* bytes; 0: the host's default */
};

struct os {
    const char *boot[3]; /* hd cdrom network, in order */
    size_t n_boot;
    bool menu, loader_secure;
    char *loader_format, *nvram_format;
    int64_t menu_timeout, reboot_timeout; /* ms; -1: not given */
    xmlNode *node;
};

struct clock {
    bool localtime;
    const char *rtc_tick, *rtc_track, *pit_tick; /* NULL: not given */
};

struct topology {
    unsigned sockets, dies, cores, threads; /* 0: not given */
};

struct domain_private {
    char **warnings; /* NULL-terminated, or NULL */
    xmlNode *devices;
    struct property_list cpu;     /* features of -cpu */
    struct property_list machine; /* of -machine */
    bool cpu_enforce;
    char *cpu_vendor;
    struct topology topology;
    int disable_s3, disable_s4; /* -1: not given */
    struct memory_backing backing;
    struct os os;
    struct clock clock;
    struct disk_detail *disks;           /* domain->n_disks of them */
    struct interface_detail *interfaces; /* domain->n_interfaces */
    struct controller *controllers;
    size_t n_controllers;
    struct char_device *chars;
    size_t n_chars;
    struct input *inputs;
    size_t n_inputs;
    struct video *videos;
    size_t n_videos;
    struct graphics *graphics;
    size_t n_graphics;
    struct rng *rngs;
    size_t n_rngs;
    struct balloon *balloons;
    size_t n_balloons;
    struct watchdog *watchdogs;
    size_t n_watchdogs;
    struct panic *panics;
    size_t n_panics;
};

/* Adds a zeroed element to an array and returns it. Use: MODEL_ADD(&p->rngs, &p->n_rngs). */
void *model_grow(void *array, size_t count, size_t size);
#define MODEL_ADD(array, count)                                                                    \
    ({                                                                                             \
        *(array) = model_grow(*(array), *(count), sizeof(**(array)));                              \
        &(*(array))[(*(count))++];                                                                 \
    })

void model_set(struct property_list *list, const char *name, const char *value, xmlNode *node);

/* "pc-q35-7.2", "q35"; "pc-i440fx-7.2", "pc". */
bool model_is_q35(const struct domain *domain);
bool model_is_i440fx(const struct domain *domain);

struct controller *model_controller(const struct domain *domain, enum controller_type type,
                                    int index);

/* vda -> 0, vdb -> 1, vdaa -> 26. */
int model_target_index(const char *target);

/* A UHCI that belongs to an EHCI controller of the same index. */
bool model_is_companion(const struct controller *controller);

/* One entry for every place that holds an alias, a PCI address and a node. */
struct model_device {
    xmlNode *node;
    char **alias;
    struct domain_pci *pci;
    bool uses_pci;    /* has a PCI address, set or to be assigned */
    const char *kind; /* "disk", "controller", ... */
    void *device;     /* struct domain_disk, struct controller, ... */
};

/* All devices in one list (owned by the caller; it lends from the domain). */
struct model_device *model_devices(const struct domain *domain, size_t *count);

#endif
