/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of domain_assign. All add what is missing and never change what is there. */
#ifndef DOMAIN_ASSIGN_H
#define DOMAIN_ASSIGN_H

#include "base/text.h"
#include "domain/model.h"

struct assign {
    struct domain *domain;
    struct text problems; /* one line each */
};

void assign_fault(struct assign *assign, const xmlNode *node, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* A new controller in model and document; pointers into the list of controllers go stale. */
struct controller *assign_add_controller(struct assign *assign, enum controller_type type,
                                         int index, const char *model);

/* Controllers that disks, channels, USB devices ask for; indices and models left out. */
void assign_controllers(struct assign *assign);
/* Drive addresses, ports of virtio-serial controllers and USB. */
void assign_drives(struct assign *assign);
void assign_ports(struct assign *assign);
/* Root ports, bridges, and the PCI address of every device. */
void assign_pci(struct assign *assign);
void assign_aliases(struct assign *assign);

/* Sets an attribute of an existing element, or adds it. */
void assign_write(xmlNode *node, const char *attribute, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The child of that name, made when missing. */
xmlNode *assign_element(xmlNode *parent, const char *name);

/* "pci", "usb", "sata", ... */
const char *assign_type_name(enum controller_type type);

#endif
