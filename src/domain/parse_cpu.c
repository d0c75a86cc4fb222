/* SPDX-License-Identifier: Apache-2.0 */
/* <cpu>: mode, model, features, topology. */
#include "domain/parse.h"

#include <inttypes.h>
#include <string.h>

#include "base/text.h"

#define NAME_MAX_CPU 64

/* Names go into a comma-separated list of QEMU's. */
static bool is_word(const char *text)
{
    size_t length = strlen(text);
    return length > 0 && length < NAME_MAX_CPU &&
           strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") ==
               length;
}

static void parse_topology(struct reader *reader, struct domain *domain, xmlNode *node)
{
    if (!node)
        return;
    int64_t sockets = 1, dies = 1, cores = 1, threads = 1, clusters = 1;
    reader_number(reader, node, "sockets", 1, 1024, &sockets);
    reader_number(reader, node, "dies", 1, 1024, &dies);
    reader_number(reader, node, "clusters", 1, 1, &clusters); /* printed as 1 since libvirt 10 */
    reader_number(reader, node, "cores", 1, 1024, &cores);
    reader_number(reader, node, "threads", 1, 1024, &threads);
    if (sockets * dies * cores * threads != domain->vcpus)
        reader_fault(reader, node, NULL, ERROR_INVALID,
                     "sockets x dies x cores x threads is %" PRId64 ", but there are %u vCPUs",
                     sockets * dies * cores * threads, domain->vcpus);
    domain->private->topology =
        (struct topology){(unsigned)sockets, (unsigned)dies, (unsigned)cores, (unsigned)threads};
}

static void parse_feature(struct reader *reader, struct domain *domain, xmlNode *node)
{
    static const char *const policies[] = {"force", "require", "optional", "disable", NULL};
    const char *name = reader_need(reader, node, "name");
    const char *policy = reader_choice(reader, node, "policy", policies);
    if (!name)
        return;
    if (!is_word(name)) {
        reader_fault(reader, node, "name", ERROR_INVALID, "'%s' is no CPU feature", name);
        return;
    }
    model_set(&domain->private->cpu, name, text_equal(policy, "disable") ? "off" : "on", node);
}

static void parse_model(struct reader *reader, struct domain *domain, xmlNode *cpu)
{
    static const char *const fallbacks[] = {"forbid", "allow", NULL};
    xmlNode *node = reader_child(reader, cpu, "model");
    bool custom = text_equal(domain->cpu_mode, "custom");
    if (!node) {
        if (custom)
            reader_fault(reader, cpu, NULL, ERROR_INVALID, "mode='custom' needs a <model>");
        return;
    }
    reader_choice(reader, node, "fallback", fallbacks); /* we never choose another model */
    CLEANUP_FREE char *name = reader_text(reader, node);
    if (custom && !is_word(name))
        reader_fault(reader, node, NULL, ERROR_INVALID, "'%s' is no CPU model", name);
    else if (custom)
        domain->cpu_model = STEAL(name);
    else if (*name)
        reader_fault(reader, node, NULL, ERROR_INVALID, "a model is named with mode='custom' only");
}

static void parse_vendor(struct reader *reader, struct domain *domain, xmlNode *cpu)
{
    static const struct {
        const char *name, *id;
    } vendors[] = {{"Intel", "GenuineIntel"}, {"AMD", "AuthenticAMD"}, {"Hygon", "HygonGenuine"}};
    xmlNode *node = reader_child(reader, cpu, "vendor");
    CLEANUP_FREE char *name = reader_text(reader, node);
    if (!name)
        return;
    for (size_t i = 0; i < ARRAY_SIZE(vendors); i++)
        if (strcmp(vendors[i].name, name) == 0)
            domain->private->cpu_vendor = text_copy(vendors[i].id);
    if (!domain->private->cpu_vendor)
        reader_fault(reader, node, NULL, ERROR_UNSUPPORTED,
                     "'%s' is not supported (known: Intel, AMD, Hygon)", name);
}

static void parse_address_bits(struct reader *reader, struct domain *domain, xmlNode *cpu)
{
    xmlNode *address = reader_child(reader, cpu, "maxphysaddr");
    static const char *const modes[] = {"emulate", NULL};
    int64_t bits = 0;
    if (address && reader_choice(reader, address, "mode", modes) &&
        reader_number(reader, address, "bits", 32, 64, &bits)) {
        CLEANUP_FREE char *text = text_format("%" PRId64, bits);
        model_set(&domain->private->cpu, "phys-bits", text, address);
    }
}

void parse_cpu(struct reader *reader, struct domain *domain, xmlNode *node)
{
    static const char *const modes[] = {"host-passthrough", "host-model", "custom", NULL};
    static const char *const matches[] = {"exact", NULL};
    static const char *const checks[] = {"none", "partial", "full", NULL};
    if (!node)
        return;
    const char *mode = reader_choice(reader, node, "mode", modes);
    if (!mode && reader_peek(node, "model"))
        mode = "custom"; /* libvirt's default as soon as there is a model */
    domain->cpu_mode = text_copy(mode);
    reader_choice(reader, node, "match", matches);
    const char *check = reader_choice(reader, node, "check", checks);
    domain->private->cpu_enforce = text_equal(check, "full");
    if (reader_flag(reader, node, "migratable") == 0)
        reader_fault(reader, node, "migratable", ERROR_UNSUPPORTED,
                     "migratable='off' makes a guest that cannot be migrated");
    parse_model(reader, domain, node);
    parse_vendor(reader, domain, node);
    parse_topology(reader, domain, reader_child(reader, node, "topology"));
    for (xmlNode *feature = NULL; (feature = reader_next(node, feature, "feature"));)
        parse_feature(reader, domain, feature);
    parse_address_bits(reader, domain, node);
}
