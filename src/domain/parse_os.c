/* SPDX-License-Identifier: Apache-2.0 */
/* <os>: machine type, direct kernel boot, boot order, firmware. */
#include "domain/parse.h"

#include <string.h>

#include "base/text.h"

static void parse_type(struct reader *reader, struct domain *domain, xmlNode *os)
{
    static const char *const arches[] = {"x86_64", NULL};
    xmlNode *node = reader_child(reader, os, "type");
    if (!node) {
        reader_fault(reader, os, NULL, ERROR_INVALID, "<type> is missing");
        return;
    }
    reader_choice(reader, node, "arch", arches);
    domain->machine = text_copy(reader_attribute(node, "machine"));
    bool word =
        domain->machine && strspn(domain->machine, "abcdefghijklmnopqrstuvwxyz"
                                                   "0123456789-._") == strlen(domain->machine);
    if (domain->machine && (!word || (!model_is_q35(domain) && !model_is_i440fx(domain))))
        reader_fault(reader, node, "machine", ERROR_UNSUPPORTED,
                     "machine='%s' is not supported (known: q35, pc-q35-VERSION, pc, "
                     "pc-i440fx-VERSION)",
                     domain->machine);
    CLEANUP_FREE char *type = reader_text(reader, node);
    if (strcmp(type, "hvm") != 0)
        reader_fault(reader, node, NULL, ERROR_UNSUPPORTED, "'%s' is not supported (known: hvm)",
                     type);
}

static void parse_boot(struct reader *reader, struct os *os, xmlNode *node)
{
    static const char *const devices[] = {"hd", "cdrom", "network", NULL};
    for (xmlNode *each = NULL; (each = reader_next(node, each, "boot"));) {
        const char *device = reader_choice(reader, each, "dev", devices);
        bool again = false;
        for (size_t i = 0; i < os->n_boot; i++)
            again = again || os->boot[i] == device;
        if (again)
            reader_fault(reader, each, "dev", ERROR_INVALID, "dev='%s' is given twice", device);
        else if (device)
            os->boot[os->n_boot++] = device;
        else if (!xmlHasProp(each, BAD_CAST "dev"))
            reader_fault(reader, each, NULL, ERROR_INVALID, "attribute 'dev' is missing");
    }
}

static void parse_boot_options(struct reader *reader, struct os *os, xmlNode *node)
{
    xmlNode *menu = reader_child(reader, node, "bootmenu");
    os->menu = reader_flag(reader, menu, "enable") == 1;
    reader_number(reader, menu, "timeout", 0, 65535, &os->menu_timeout);
    xmlNode *bios = reader_child(reader, node, "bios");
    reader_number(reader, bios, "rebootTimeout", -1, 65535, &os->reboot_timeout);
}

static char *parse_file(struct reader *reader, xmlNode *os, const char *name)
{
    xmlNode *node = reader_child(reader, os, name);
    CLEANUP_FREE char *text = reader_text(reader, node);
    return node && *text ? parse_path(reader, node, text) : NULL;
}

static void parse_loader(struct reader *reader, struct domain *domain, xmlNode *node)
{
    static const char *const types[] = {"pflash", NULL};
    static const char *const formats[] = {"raw", "qcow2", NULL};
    struct os *os = &domain->private->os;
    xmlNode *loader = reader_child(reader, node, "loader");
    if (loader) {
        const char *type = reader_choice(reader, loader, "type", types);
        if (!type && !xmlHasProp(loader, BAD_CAST "type"))
            reader_fault(reader, loader, NULL, ERROR_UNSUPPORTED,
                         "type='rom' (the default) is not supported (known: pflash)");
        os->loader_secure = reader_flag(reader, loader, "secure") == 1;
        os->loader_format = parse_choice(reader, loader, "format", formats);
        if (reader_flag(reader, loader, "stateless") != 1 && !reader_peek(node, "nvram"))
            reader_fault(reader, loader, NULL, ERROR_INVALID,
                         "needs <nvram> with a path, or stateless='yes'");
        CLEANUP_FREE char *path = reader_text(reader, loader);
        domain->loader = parse_path(reader, loader, path);
        if (reader_flag(reader, loader, "readonly") == 0)
            reader_fault(reader, loader, "readonly", ERROR_UNSUPPORTED,
                         "readonly='no' is not supported; keep variables in <nvram>");
    }
    xmlNode *nvram = reader_child(reader, node, "nvram");
    if (!nvram)
        return;
    static const char *const sources[] = {"file", NULL};
    reader_choice(reader, nvram, "type", sources);
    domain->nvram_template = text_copy(reader_attribute(nvram, "template"));
    os->nvram_format = parse_choice(reader, nvram, "format", formats);
    CLEANUP_FREE char *template = parse_choice(reader, nvram, "templateFormat", formats);
    if (template && !text_equal(template, os->nvram_format ? os->nvram_format : "raw"))
        reader_fault(reader, nvram, "templateFormat", ERROR_UNSUPPORTED,
                     "a template in another format than the NVRAM is not supported");
    CLEANUP_FREE char *path = reader_text(reader, nvram);
    domain->nvram = parse_path(reader, nvram, path);
    if (!loader)
        reader_fault(reader, nvram, NULL, ERROR_INVALID, "<nvram> without <loader>");
}

/* libvirt prints firmware='efi' and <firmware> beside the files that it chose for them. */
static void parse_firmware(struct reader *reader, const struct domain *domain, xmlNode *node)
{
    static const char *const kinds[] = {"efi", "bios", NULL};
    const char *kind = reader_choice(reader, node, "firmware", kinds);
    if (text_equal(kind, "efi") && !domain->loader)
        reader_fault(reader, node, "firmware", ERROR_UNSUPPORTED,
                     "firmware='efi' without <loader> is not supported; name the files with "
                     "<loader readonly='yes' type='pflash'> and <nvram>");
    xmlNode *firmware = reader_child(reader, node, "firmware");
    if (firmware && domain->loader)
        reader_keep(firmware);
}

void parse_os(struct reader *reader, struct domain *domain, xmlNode *node)
{
    struct os *os = &domain->private->os;
    os->node = node;
    if (!node)
        return;
    parse_type(reader, domain, node);
    parse_boot(reader, os, node);
    parse_boot_options(reader, os, node);
    domain->kernel = parse_file(reader, node, "kernel");
    domain->initrd = parse_file(reader, node, "initrd");
    domain->cmdline = reader_text(reader, reader_child(reader, node, "cmdline"));
    if (!domain->kernel && (domain->initrd || (domain->cmdline && *domain->cmdline)))
        reader_fault(reader, node, NULL, ERROR_INVALID, "<initrd> or <cmdline> without <kernel>");
    parse_loader(reader, domain, node);
    parse_firmware(reader, domain, node);
}
