/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of qemu_args: each appends its options to one list. */
#ifndef DOMAIN_ARGS_H
#define DOMAIN_ARGS_H

#include "base/json.h"
#include "base/text.h"
#include "domain/model.h"
#include "domain/qemu_args.h"

struct args {
    const struct domain *domain;
    const struct domain_private *private;
    const struct qemu_args_options *options;
    const struct qemu_host *host;
    char **argv;
    size_t count;
};

/* One option, or an option and its value. */
void args_flag(struct args *args, const char *option);
void args_add(struct args *args, const char *option, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Takes over `value` and prints it as the option's value. */
void args_add_json(struct args *args, const char *option, json_t *value);

/* A text for a key=value list: commas are doubled. Owned by the caller. */
char *args_escape(const char *text);

/* A -device object with driver and id; `args_pci` puts bus and addr into it, when it has one. */
json_t *args_device(const char *driver, const char *id);
void args_pci(const struct args *args, json_t *device, const struct domain_pci *pci);
/* Sets members unless the text is NULL or the number 0 (a default that nobody asked for). */
void args_text(json_t *object, const char *key, const char *value);
void args_number(json_t *object, const char *key, int64_t value);

/* Opens `path` through the host, adds the -add-fd options of its fd set, and returns the name that
 * QEMU opens, "/dev/fdset/N"; NULL on error. Owned by the caller. */
char *args_file(struct args *args, const char *path, bool writable, bool append, bool direct,
                const char *what, struct error **err);

/* The boot index of the device: its own, or the place of its class in <os>; 0 for none. */
int args_disk_boot(const struct args *args, size_t disk);
int args_interface_boot(const struct args *args, size_t interface);

int args_machine(struct args *args, struct error **err);
void args_memory(struct args *args);
void args_cpu(struct args *args);
void args_clock(struct args *args);
void args_boot(struct args *args);
void args_controllers(struct args *args);
int args_disks(struct args *args, struct error **err);
int args_interfaces(struct args *args, struct error **err);
int args_chars(struct args *args, struct error **err);
void args_devices(struct args *args);

/* A layer: file node `NODE-file`, format node `NODE`. backing: the node behind it, or NULL. */
struct args_layer {
    const char *node, *path, *format, *backing;
    bool block, writable, shareable;
    const struct domain_disk *disk; /* cache, io, discard; NULL for firmware */
    const char *detect_zeroes;
};
int args_blockdev(struct args *args, const struct args_layer *layer, struct error **err);

#endif
