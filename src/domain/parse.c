/* SPDX-License-Identifier: Apache-2.0 */
/* Domain XML to struct domain: the top level, and what is too small for a file of its own. */
#include "domain/parse.h"

#include <inttypes.h>
#include <string.h>

#include "base/text.h"

#define VCPUS_MAX  1024
#define MEMORY_MAX (UINT64_C(1) << 46)
#define MIB        (UINT64_C(1) << 20)

bool domain_name_valid(const char *name)
{
    size_t length = strlen(name);
    if (length == 0 || length > 255 || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return false;
    for (const char *c = name; *c; c++)
        if (*c == '/' || (unsigned char)*c < 0x20 || *c == 0x7f)
            return false;
    return true;
}

char *parse_path(struct reader *reader, const xmlNode *node, const char *text)
{
    if (!text || text[0] != '/') {
        reader_fault(reader, node, NULL, ERROR_INVALID, "'%s' is not an absolute path",
                     text ? text : "");
        return NULL;
    }
    return text_copy(text);
}

char *parse_choice(struct reader *reader, xmlNode *node, const char *name,
                   const char *const *choices)
{
    return text_copy(reader_choice(reader, node, name, choices));
}

/* Without white space around it; owned. */
static char *trimmed_text(struct reader *reader, xmlNode *node)
{
    char *text = reader_text(reader, node);
    if (!text)
        return NULL;
    static const char space[] = " \t\r\n";
    size_t start = strspn(text, space), end = strlen(text);
    while (end > start && strchr(space, text[end - 1]))
        end--;
    memmove(text, text + start, end - start);
    text[end - start] = '\0';
    return text;
}

bool parse_size(struct reader *reader, const xmlNode *node, const char *text, const char *unit,
                uint64_t *bytes)
{
    static const struct {
        const char *name;
        uint64_t bytes;
    } units[] = {
        {"b", 1},           {"bytes", 1},          {"k", 1024},
        {"KiB", 1024},      {"KB", 1000},          {"M", MIB},
        {"MiB", MIB},       {"MB", 1000000},       {"G", MIB << 10},
        {"GiB", MIB << 10}, {"GB", 1000000000},    {"T", MIB << 20},
        {"TiB", MIB << 20}, {"TB", 1000000000000},
    };
    uint64_t factor = 0;
    for (size_t i = 0; i < ARRAY_SIZE(units); i++)
        if (strcmp(units[i].name, unit ? unit : "KiB") == 0)
            factor = units[i].bytes;
    if (!factor) {
        reader_fault(reader, node, "unit", ERROR_INVALID, "unit='%s' is not known", unit);
        return false;
    }
    int64_t number = 0;
    uint64_t product = 0;
    if (text_parse_int(text, 0, INT64_MAX, &number, NULL) < 0 ||
        __builtin_mul_overflow((uint64_t)number, factor, &product)) {
        reader_fault(reader, node, NULL, ERROR_INVALID, "'%s' is not a size%s", text,
                     *text && strspn(text, "0123456789") == strlen(text) ? ": too large" : "");
        return false;
    }
    *bytes = product;
    return true;
}

static void parse_name(struct reader *reader, struct domain *domain, xmlNode *root)
{
    xmlNode *node = reader_child(reader, root, "name");
    domain->name = reader_text(reader, node);
    if (!node)
        reader_fault(reader, root, NULL, ERROR_INVALID, "<name> is missing");
    else if (!domain_name_valid(domain->name))
        reader_fault(reader, node, NULL, ERROR_INVALID,
                     "'%s' is no name for a VM: 1 to 255 bytes, no '/', no control characters",
                     domain->name);
    domain->title = reader_text(reader, reader_child(reader, root, "title"));
    if (domain->title && strchr(domain->title, '\n'))
        reader_fault(reader, reader_peek(root, "title"), NULL, ERROR_INVALID,
                     "a title has one line");
}

/* Hyphens may stand anywhere or be missing, as libvirt reads it; canonical afterwards. */
static bool canonical_uuid(const char *text, char uuid[UUID_TEXT_SIZE])
{
    size_t digits = 0, out = 0;
    for (; *text; text++) {
        if (*text == '-')
            continue;
        if (digits == 32 || !strchr("0123456789abcdefABCDEF", *text))
            return false;
        if (digits == 8 || digits == 12 || digits == 16 || digits == 20)
            uuid[out++] = '-';
        uuid[out++] = (char)(*text >= 'A' && *text <= 'F' ? *text + 32 : *text);
        digits++;
    }
    uuid[out] = '\0';
    return digits == 32;
}

static void parse_uuid(struct reader *reader, struct domain *domain, xmlNode *root)
{
    xmlNode *node = reader_child(reader, root, "uuid");
    CLEANUP_FREE char *text = trimmed_text(reader, node);
    char uuid[UUID_TEXT_SIZE + 4];
    if (!text)
        return;
    if (canonical_uuid(text, uuid))
        memcpy(domain->uuid, uuid, UUID_TEXT_SIZE);
    else
        reader_fault(reader, node, NULL, ERROR_INVALID, "'%s' is not a UUID", text);
}

static uint64_t whole_mib(uint64_t bytes)
{
    return bytes / MIB * MIB + (bytes % MIB ? MIB : 0); /* as libvirt rounds */
}

static void parse_current_memory(struct reader *reader, const struct domain *domain, xmlNode *node)
{
    CLEANUP_FREE char *text = trimmed_text(reader, node);
    uint64_t current = 0;
    if (node && parse_size(reader, node, text, reader_attribute(node, "unit"), &current) &&
        whole_mib(current) < domain->memory)
        reader_fault(reader, node, NULL, ERROR_UNSUPPORTED,
                     "less than <memory> is not supported: nothing here sets the balloon's target; "
                     "make both equal");
}

static void parse_memory(struct reader *reader, struct domain *domain, xmlNode *root)
{
    xmlNode *node = reader_child(reader, root, "memory");
    CLEANUP_FREE char *text = trimmed_text(reader, node);
    if (!node) {
        reader_fault(reader, root, NULL, ERROR_INVALID, "<memory> is missing");
    } else if (parse_size(reader, node, text, reader_attribute(node, "unit"), &domain->memory)) {
        if (domain->memory == 0 || domain->memory > MEMORY_MAX)
            reader_fault(reader, node, NULL, ERROR_INVALID, "%" PRIu64 " bytes is out of range",
                         domain->memory);
        domain->memory = whole_mib(domain->memory);
    }
    parse_current_memory(reader, domain, reader_child(reader, root, "currentMemory"));
}

static void parse_vcpu(struct reader *reader, struct domain *domain, xmlNode *root)
{
    static const char *const placements[] = {"static", NULL};
    xmlNode *node = reader_child(reader, root, "vcpu");
    domain->vcpus = 1;
    if (!node)
        return;
    CLEANUP_FREE char *text = trimmed_text(reader, node);
    reader_choice(reader, node, "placement", placements);
    int64_t count = 0, current = 0;
    if (text_parse_int(text, 1, VCPUS_MAX, &count, NULL) < 0)
        reader_fault(reader, node, NULL, ERROR_INVALID, "'%s' is not a number from 1 to %d", text,
                     VCPUS_MAX);
    else
        domain->vcpus = (unsigned)count;
    if (reader_number(reader, node, "current", 1, VCPUS_MAX, &current) && current != count)
        reader_fault(reader, node, "current", ERROR_UNSUPPORTED,
                     "current='%" PRId64 "': adding vCPUs to a running guest is not supported",
                     current);
    /* Printed for running guests, where every vCPU is online. */
    xmlNode *vcpus = reader_child(reader, root, "vcpus");
    for (xmlNode *each = NULL; (each = reader_next(vcpus, each, "vcpu"));) {
        reader_attribute(each, "id");
        reader_attribute(each, "hotpluggable");
        reader_attribute(each, "order");
        if (reader_flag(reader, each, "enabled") == 0)
            reader_fault(reader, each, "enabled", ERROR_UNSUPPORTED,
                         "a vCPU that is off is not supported");
    }
}

static enum domain_action parse_action(struct reader *reader, xmlNode *root, const char *name,
                                       const char *const *words, enum domain_action fallback)
{
    static const char *const known[] = {
        [DOMAIN_DESTROY] = "destroy", [DOMAIN_RESTART] = "restart", [DOMAIN_PRESERVE] = "preserve"};
    xmlNode *node = reader_child(reader, root, name);
    CLEANUP_FREE char *text = trimmed_text(reader, node);
    if (!text)
        return fallback;
    for (; *words; words++)
        for (size_t i = 0; i < ARRAY_SIZE(known); i++)
            if (strcmp(*words, text) == 0 && strcmp(known[i], text) == 0)
                return (enum domain_action)i;
    reader_fault(reader, node, NULL, ERROR_UNSUPPORTED, "'%s' is not supported here", text);
    return fallback;
}

/* Only what QEMU carries out by itself (-action), so that it also holds while no agent runs. */
static void parse_actions(struct reader *reader, struct domain *domain, xmlNode *root)
{
    static const char *const poweroff[] = {"destroy", "preserve", NULL};
    static const char *const reboot[] = {"destroy", "restart", NULL};
    static const char *const crash[] = {"destroy", "restart", "preserve", NULL};
    domain->on_poweroff = parse_action(reader, root, "on_poweroff", poweroff, DOMAIN_DESTROY);
    domain->on_reboot = parse_action(reader, root, "on_reboot", reboot, DOMAIN_RESTART);
    domain->on_crash = parse_action(reader, root, "on_crash", crash, DOMAIN_DESTROY);
    /* QEMU turns a reboot or crash that ends the guest into a power-off, which would be kept. */
    bool ends = domain->on_reboot == DOMAIN_DESTROY ||
                (domain->on_crash != DOMAIN_PRESERVE && domain->private->n_panics);
    if (domain->on_poweroff == DOMAIN_PRESERVE && ends)
        reader_fault(reader, reader_peek(root, "on_poweroff"), NULL, ERROR_UNSUPPORTED,
                     "'preserve' is supported with <on_reboot> restart and, where there is a "
                     "<panic>, <on_crash> preserve only");
    if (domain->on_crash == DOMAIN_RESTART && domain->private->n_panics)
        reader_fault(reader, reader_peek(root, "on_crash"), NULL, ERROR_UNSUPPORTED,
                     "'restart' is not supported together with <panic>; use destroy or preserve");
}

void parse_pm(struct reader *reader, struct domain *domain, xmlNode *node)
{
    int mem = reader_flag(reader, reader_child(reader, node, "suspend-to-mem"), "enabled");
    int disk = reader_flag(reader, reader_child(reader, node, "suspend-to-disk"), "enabled");
    domain->private->disable_s3 = mem < 0 ? -1 : !mem;
    domain->private->disable_s4 = disk < 0 ? -1 : !disk;
    const xmlNode *features = node ? reader_peek(node->parent, "features") : NULL;
    if ((mem >= 0 || disk >= 0) && !reader_peek(features, "acpi"))
        reader_fault(reader, node, NULL, ERROR_INVALID, "needs <features> with <acpi/>");
}

static void parse_hugepages(struct reader *reader, struct memory_backing *backing, xmlNode *node)
{
    if (!node)
        return;
    backing->hugepages = true;
    xmlNode *page = reader_child(reader, node, "page");
    const char *size = reader_attribute(page, "size");
    if (page && !size)
        reader_fault(reader, page, NULL, ERROR_INVALID, "attribute 'size' is missing");
    if (size &&
        parse_size(reader, page, size, reader_attribute(page, "unit"), &backing->page_size) &&
        (backing->page_size < 65536 || (backing->page_size & (backing->page_size - 1))))
        reader_fault(reader, page, "size", ERROR_INVALID, "%" PRIu64 " bytes is no page size",
                     backing->page_size);
}

void parse_memory_backing(struct reader *reader, struct domain *domain, xmlNode *node)
{
    static const char *const sources[] = {"anonymous", "memfd", NULL};
    static const char *const modes[] = {"private", "shared", NULL};
    static const char *const times[] = {"ondemand", "immediate", NULL};
    struct memory_backing *backing = &domain->private->backing;
    parse_hugepages(reader, backing, reader_child(reader, node, "hugepages"));
    backing->locked = reader_child(reader, node, "locked");
    backing->no_merge = reader_child(reader, node, "nosharepages");
    const char *source =
        reader_choice(reader, reader_child(reader, node, "source"), "type", sources);
    backing->memfd = text_equal(source, "memfd") || backing->hugepages;
    xmlNode *access = reader_child(reader, node, "access");
    backing->shared = text_equal(reader_choice(reader, access, "mode", modes), "shared");
    const char *time =
        reader_choice(reader, reader_child(reader, node, "allocation"), "mode", times);
    backing->prealloc = text_equal(time, "immediate");
    if (backing->shared && !backing->memfd)
        reader_fault(reader, access, "mode", ERROR_INVALID,
                     "shared memory needs <source type='memfd'/> or <hugepages/>");
}

/* What libvirt prints and no one here acts on. */
static void parse_kept(struct reader *reader, xmlNode *root)
{
    reader_attribute(root, "id");
    reader_keep_child(reader, root, "description");
    for (xmlNode *label = NULL; (label = reader_next(root, label, "seclabel"));) {
        const char *type = reader_attribute(label, "type");
        if (!text_equal(type, "none"))
            reader_warn(reader, label, "kept, but no label is applied to QEMU or the disks");
        reader_keep(label);
    }
    xmlNode *resource = reader_child(reader, root, "resource");
    xmlNode *partition = reader_child(reader, resource, "partition");
    if (partition) {
        CLEANUP_FREE char *path = reader_text(reader, partition);
        if (!text_equal(path, "/machine"))
            reader_warn(reader, partition, "kept, but QEMU is not put into this control group");
    }
}

static void parse_root(struct reader *reader, struct domain *domain, xmlNode *root)
{
    static const char *const types[] = {"kvm", "qemu", NULL};
    const char *type = reader_choice(reader, root, "type", types);
    if (!type && !xmlHasProp(root, BAD_CAST "type"))
        reader_fault(reader, root, NULL, ERROR_INVALID, "attribute 'type' is missing");
    domain->accelerator = text_equal(type, "qemu") ? DOMAIN_TCG : DOMAIN_KVM;
    parse_name(reader, domain, root);
    parse_uuid(reader, domain, root);
    parse_memory(reader, domain, root);
    parse_vcpu(reader, domain, root);
    parse_memory_backing(reader, domain, reader_child(reader, root, "memoryBacking"));
    parse_os(reader, domain, reader_child(reader, root, "os"));
    if (!domain->private->os.node)
        reader_fault(reader, root, NULL, ERROR_INVALID, "<os> is missing");
    parse_features(reader, domain, reader_child(reader, root, "features"));
    parse_cpu(reader, domain, reader_child(reader, root, "cpu"));
    parse_clock(reader, domain, reader_child(reader, root, "clock"));
    parse_pm(reader, domain, reader_child(reader, root, "pm"));
    parse_devices(reader, domain, reader_child(reader, root, "devices"));
    parse_actions(reader, domain, root);
    parse_metadata(reader, domain, reader_child(reader, root, "metadata"));
    parse_kept(reader, root);
}

static struct domain *new_domain(void)
{
    struct domain *domain = calloc(1, sizeof(*domain));
    if (!domain)
        return NULL;
    domain->private = calloc(1, sizeof(*domain->private));
    if (!domain->private) {
        free(domain);
        return NULL;
    }
    domain->private->disable_s3 = domain->private->disable_s4 = -1;
    domain->private->os.menu_timeout = domain->private->os.reboot_timeout = -1;
    return domain;
}

static void cleanup_reader(struct reader *reader)
{
    reader_release(reader);
}

struct domain *domain_parse(const char *xml, size_t size, struct error **err)
{
    CLEANUP(cleanup_reader) struct reader reader = {0};
    CLEANUP_DOMAIN struct domain *domain = new_domain();
    if (!domain) {
        error_set(err, ERROR_SYSTEM, "no memory for a domain");
        return NULL;
    }
    if (reader_load(&reader, xml, size, err) < 0)
        return NULL;
    xmlNode *root = xmlDocGetRootElement(reader.document);
    if (root->ns || strcmp((const char *)root->name, "domain") != 0) {
        error_set(err, ERROR_INVALID, "line %ld, column 1: <%s> is not a <domain>",
                  reader_line(root), (const char *)root->name);
        return NULL;
    }
    parse_root(&reader, domain, root);
    if (reader_finish(&reader, root, err) < 0)
        return NULL;
    domain->document = STEAL(reader.document);
    domain->private->warnings = STEAL(reader.warnings);
    reader.n_warnings = 0;
    return STEAL(domain);
}

const char *const *domain_warnings(const struct domain *domain)
{
    static const char *const none[] = {NULL};
    return domain->private->warnings ? (const char *const *)domain->private->warnings : none;
}
