/* SPDX-License-Identifier: Apache-2.0 */
/* <devices>: hands every device to its parser, then checks what concerns them together. */
#include "domain/parse.h"

#include <string.h>

#include "base/text.h"

static const struct {
    const char *name;
    void (*parse)(struct reader *reader, struct domain *domain, xmlNode *node);
} parsers[] = {
    {"disk", parse_disk},         {"controller", parse_controller}, {"interface", parse_interface},
    {"serial", parse_serial},     {"console", parse_console},       {"channel", parse_channel},
    {"graphics", parse_graphics}, {"video", parse_video},           {"input", parse_input},
    {"rng", parse_rng},           {"memballoon", parse_balloon},    {"watchdog", parse_watchdog},
    {"panic", parse_panic},
};

static bool alias_valid(const char *alias)
{
    size_t length = strlen(alias);
    bool letter = (*alias >= 'a' && *alias <= 'z') || (*alias >= 'A' && *alias <= 'Z');
    return letter && length <= 64 &&
           strspn(alias, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") ==
               length;
}

void parse_alias(struct reader *reader, xmlNode *node, char **alias)
{
    xmlNode *element = reader_child(reader, node, "alias");
    const char *name = element ? reader_need(reader, element, "name") : NULL;
    if (name && !alias_valid(name))
        reader_fault(reader, element, "name", ERROR_INVALID,
                     "'%s' is no alias: a letter, then at most 63 of a-z, A-Z, 0-9, '-', '_', '.'",
                     name);
    else if (name)
        *alias = text_copy(name);
}

static void parse_pci(struct reader *reader, xmlNode *address, struct domain_pci *pci)
{
    int64_t number[4] = {0};
    static const struct {
        const char *name;
        int64_t max;
    } parts[] = {{"domain", 0}, {"bus", 255}, {"slot", 31}, {"function", 7}};
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        reader_number(reader, address, parts[i].name, 0, parts[i].max, &number[i]);
    pci->set = true;
    pci->domain = (uint32_t)number[0];
    pci->bus = (uint32_t)number[1];
    pci->slot = (uint32_t)number[2];
    pci->function = (uint32_t)number[3];
    pci->multifunction = reader_flag(reader, address, "multifunction") == 1;
}

void parse_device(struct reader *reader, xmlNode *node, char **alias, struct domain_pci *pci)
{
    static const char *const types[] = {"pci", NULL};
    parse_alias(reader, node, alias);
    xmlNode *address = reader_child(reader, node, "address");
    if (address && reader_choice(reader, address, "type", types))
        parse_pci(reader, address, pci);
    else if (address && !xmlHasProp(address, BAD_CAST "type"))
        reader_fault(reader, address, NULL, ERROR_INVALID, "attribute 'type' is missing");
}

static void check_targets(struct reader *reader, const struct domain *domain)
{
    for (size_t i = 0; i < domain->n_disks; i++)
        for (size_t j = 0; j < i; j++)
            if (domain->disks[i].target &&
                text_equal(domain->disks[i].target, domain->disks[j].target)) {
                reader_fault(reader, domain->private->disks[i].node, NULL, ERROR_INVALID,
                             "target '%s' is given twice", domain->disks[i].target);
                break;
            }
}

struct boot_user {
    const xmlNode *node;
    int order;
};

static void check_boot(struct reader *reader, struct domain *domain)
{
    struct domain_private *private = domain->private;
    struct boot_user users[MODEL_DEVICES_MAX];
    size_t n = 0;
    for (size_t i = 0; i < domain->n_disks; i++)
        users[n++] = (struct boot_user){private->disks[i].node, domain->disks[i].boot_order};
    for (size_t i = 0; i < domain->n_interfaces; i++)
        users[n++] =
            (struct boot_user){private->interfaces[i].node, domain->interfaces[i].boot_order};
    bool ordered = false;
    for (size_t i = 0; i < n; i++) {
        ordered = ordered || users[i].order;
        if (users[i].order && private->os.n_boot)
            reader_fault(reader, users[i].node, NULL, ERROR_INVALID,
                         "<boot order> and <os><boot dev> exclude each other");
        for (size_t j = 0; j < i; j++)
            if (users[i].order && users[i].order == users[j].order) {
                reader_fault(reader, users[i].node, NULL, ERROR_INVALID,
                             "boot order %d is given twice", users[i].order);
                break;
            }
    }
    /* libvirt's default; without any, strict=on would let the firmware boot nothing at all. */
    if (!ordered && !private->os.n_boot)
    private->os.boot[private->os.n_boot++] = "hd";
}

static void parse_audio(struct reader *reader, xmlNode *devices)
{
    static const char *const types[] = {"none", NULL};
    for (xmlNode *audio = NULL; (audio = reader_next(devices, audio, "audio"));) {
        reader_attribute(audio, "id");
        reader_choice(reader, audio, "type", types);
    }
}

void parse_devices(struct reader *reader, struct domain *domain, xmlNode *node)
{
    domain->private->devices = node;
    if (!node) {
        reader_fault(reader, xmlDocGetRootElement(reader->document), NULL, ERROR_INVALID,
                     "<devices> is missing");
        return;
    }
    xmlNode *emulator = reader_child(reader, node, "emulator");
    CLEANUP_FREE char *path = reader_text(reader, emulator);
    if (emulator)
        domain->emulator = parse_path(reader, emulator, path);
    parse_audio(reader, node);
    size_t count = 0;
    for (xmlNode *child = node->children; child; child = child->next)
        for (size_t i = 0; i < ARRAY_SIZE(parsers); i++)
            if (child->type == XML_ELEMENT_NODE && !child->ns &&
                strcmp((const char *)child->name, parsers[i].name) == 0) {
                if (count++ == MODEL_DEVICES_MAX) {
                    reader_fault(reader, child, NULL, ERROR_INVALID, "more than %d devices",
                                 MODEL_DEVICES_MAX);
                    reader_keep(node);
                    return;
                }
                child->psvi = child;
                parsers[i].parse(reader, domain, child);
            }
    check_targets(reader, domain);
    check_boot(reader, domain);
}
