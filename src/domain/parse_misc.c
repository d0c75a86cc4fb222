/* SPDX-License-Identifier: Apache-2.0 */
/* <rng>, <memballoon>, <watchdog>, <panic>; our element in <metadata> */
#include "domain/parse.h"

#include <string.h>

#include "base/text.h"

void parse_rng(struct reader *reader, struct domain *domain, xmlNode *node)
{
    static const char *const models[] = {"virtio", NULL};
    static const char *const backends[] = {"random", "builtin", NULL};
    struct rng *rng = MODEL_ADD(&domain->private->rngs, &domain->private->n_rngs);
    rng->device.node = node;
    reader_choice(reader, node, "model", models);
    xmlNode *backend = reader_child(reader, node, "backend");
    const char *model = reader_choice(reader, backend, "model", backends);
    if (!backend || (!model && !xmlHasProp(backend, BAD_CAST "model")))
        reader_fault(reader, node, NULL, ERROR_INVALID, "<backend model=...> is missing");
    if (!model && backend)
        reader_keep(backend);
    CLEANUP_FREE char *path = reader_text(reader, backend);
    if (text_equal(model, "random")) {
        /* The sources that every host has and every user may read. */
        const char *wanted = *path ? path : "/dev/urandom";
        if (strcmp(wanted, "/dev/urandom") != 0 && strcmp(wanted, "/dev/random") != 0)
            reader_fault(reader, backend, NULL, ERROR_UNSUPPORTED,
                         "'%s' is not supported (known: /dev/urandom, /dev/random)", wanted);
        rng->path = text_copy(wanted);
    } else if (model && *path) {
        reader_fault(reader, backend, NULL, ERROR_INVALID, "the builtin back end has no path");
    }
    xmlNode *rate = reader_child(reader, node, "rate");
    rng->period = 1000;
    if (rate && !reader_number(reader, rate, "bytes", 1, INT32_MAX, &rng->bytes))
        reader_fault(reader, rate, NULL, ERROR_INVALID, "attribute 'bytes' is missing");
    reader_number(reader, rate, "period", 1, INT32_MAX, &rng->period);
    parse_device(reader, node, &rng->device.alias, &rng->device.pci);
}

void parse_balloon(struct reader *reader, struct domain *domain, xmlNode *node)
{
    static const char *const models[] = {"virtio", "none", NULL};
    const char *model = reader_choice(reader, node, "model", models);
    if (!model) {
        if (!xmlHasProp(node, BAD_CAST "model"))
            reader_fault(reader, node, NULL, ERROR_INVALID, "attribute 'model' is missing");
        reader_keep(node);
        return;
    }
    if (strcmp(model, "none") == 0)
        return;
    struct balloon *balloon = MODEL_ADD(&domain->private->balloons, &domain->private->n_balloons);
    balloon->device.node = node;
    if (domain->private->n_balloons > 1)
        reader_fault(reader, node, NULL, ERROR_INVALID, "a second balloon");
    balloon->deflate_on_oom = reader_flag(reader, node, "autodeflate") == 1;
    balloon->free_page_reporting = reader_flag(reader, node, "freePageReporting") == 1;
    xmlNode *stats = reader_child(reader, node, "stats");
    if (stats) {
        reader_warn(reader, stats, "kept, but the balloon's statistics are not polled");
        reader_keep(stats);
    }
    parse_device(reader, node, &balloon->device.alias, &balloon->device.pci);
}

void parse_watchdog(struct reader *reader, struct domain *domain, xmlNode *node)
{
    static const char *const models[] = {"itco", "i6300esb", NULL};
    static const char *const actions[] = {"reset", "shutdown",   "poweroff", "pause",
                                          "none",  "inject-nmi", NULL};
    struct domain_private *private = domain->private;
    struct watchdog *watchdog = MODEL_ADD(&private->watchdogs, &private->n_watchdogs);
    watchdog->device.node = node;
    watchdog->model = reader_choice(reader, node, "model", models);
    const char *action = reader_choice(reader, node, "action", actions);
    watchdog->action = action ? action : "reset";
    if (!watchdog->model && !xmlHasProp(node, BAD_CAST "model"))
        reader_fault(reader, node, NULL, ERROR_INVALID, "attribute 'model' is missing");
    for (size_t i = 0; i + 1 < private->n_watchdogs; i++) {
        if (strcmp(private->watchdogs[i].action, watchdog->action) != 0)
            reader_fault(reader, node, "action", ERROR_INVALID,
                         "QEMU has one action for all watchdogs, and '%s' was given before",
                         private->watchdogs[i].action);
        if (private->watchdogs[i].model == watchdog->model)
            reader_fault(reader, node, NULL, ERROR_INVALID, "a second watchdog of this model");
    }
    if (text_equal(watchdog->model, "i6300esb"))
        parse_device(reader, node, &watchdog->device.alias, &watchdog->device.pci);
    else
        parse_alias(reader, node, &watchdog->device.alias);
}

static void parse_isa_address(struct reader *reader, struct panic *panic, xmlNode *node)
{
    static const char *const types[] = {"isa", NULL};
    xmlNode *address = reader_child(reader, node, "address");
    panic->iobase = 0x505;
    if (address && reader_choice(reader, address, "type", types))
        reader_number(reader, address, "iobase", 1, 0xffff, &panic->iobase);
}

void parse_panic(struct reader *reader, struct domain *domain, xmlNode *node)
{
    static const char *const models[] = {"isa", "pvpanic", "hyperv", NULL};
    struct domain_private *private = domain->private;
    struct panic *panic = MODEL_ADD(&private->panics, &private->n_panics);
    panic->device.node = node;
    panic->model = reader_choice(reader, node, "model", models);
    if (!panic->model && !xmlHasProp(node, BAD_CAST "model"))
        panic->model = "isa";
    for (size_t i = 0; i + 1 < private->n_panics; i++)
        if (private->panics[i].model == panic->model)
            reader_fault(reader, node, NULL, ERROR_INVALID, "a second panic device of this model");
    if (text_equal(panic->model, "hyperv")) {
        if (domain->accelerator != DOMAIN_KVM)
            reader_fault(reader, node, "model", ERROR_UNSUPPORTED,
                         "only a domain of type='kvm' has model='hyperv'");
        model_set(&private->cpu, "hv-crash", "on", node);
    }
    if (text_equal(panic->model, "pvpanic")) {
        parse_device(reader, node, &panic->device.alias, &panic->device.pci);
        return;
    }
    parse_alias(reader, node, &panic->device.alias);
    if (text_equal(panic->model, "isa"))
        parse_isa_address(reader, panic, node);
}

#define GROUP_MAX 64

static bool is_group_name(const char *text)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t length = strlen(text);
    return length > 0 && length <= GROUP_MAX && strspn(text, allowed) == length;
}

static void parse_group(struct reader *reader, struct domain *domain, xmlNode *node)
{
    CLEANUP_FREE char *name = reader_text(reader, node);
    if (domain->group)
        reader_fault(reader, node, NULL, ERROR_INVALID, "a VM is in one group only");
    else if (node->properties || xmlFirstElementChild(node))
        reader_fault(reader, node, NULL, ERROR_INVALID, "takes a name and nothing else");
    else if (!is_group_name(name))
        reader_fault(reader, node, NULL, ERROR_INVALID,
                     "'%s' is no name for a group: 1 to %d letters, digits, '.', '_', '-'", name,
                     GROUP_MAX);
    else
        domain->group = STEAL(name);
}

void parse_metadata(struct reader *reader, struct domain *domain, xmlNode *node)
{
    if (!node)
        return;
    reader_keep(node);
    for (xmlNode *child = xmlFirstElementChild(node); child; child = xmlNextElementSibling(child)) {
        if (!child->ns || strcmp((const char *)child->ns->href, DOMAIN_NAMESPACE) != 0)
            continue;
        if (strcmp((const char *)child->name, "group") == 0)
            parse_group(reader, domain, child);
        else
            reader_fault(reader, child, NULL, ERROR_UNSUPPORTED,
                         "not supported; of this namespace there is <group>");
    }
}
