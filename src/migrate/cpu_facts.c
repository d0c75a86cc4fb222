/* SPDX-License-Identifier: Apache-2.0 */
/* The CPU features a guest relies on. */
#include "migrate/cpu_facts.h"

#include <libxml/tree.h>
#include <string.h>

#include "base/text.h"

static bool takes_all(const struct domain *domain)
{
    return text_equal(domain->cpu_mode, "host-passthrough") ||
           text_equal(domain->cpu_mode, "host-model") || text_equal(domain->cpu_mode, "maximum");
}

/* What the accelerator can give at most, asked once per emulator and kept. */
static const json_t *most(struct vm_host *host, const struct domain *domain, struct error **err)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static json_t *kept;
    bool kvm = domain->accelerator == DOMAIN_KVM;
    const char *emulator = domain->emulator ? domain->emulator : host->emulator;
    const struct probe *probe = vm_probe(host, domain, err);
    if (!probe)
        return NULL;
    CLEANUP_FREE char *key =
        text_format("%s %s %s", emulator, probe_version_text(probe), kvm ? "kvm" : "tcg");
    LOCK_SCOPE(&lock);
    if (!kept)
        kept = json_object();
    const json_t *known = json_object_get(kept, key);
    if (known)
        return known;
    json_t *features = probe_cpu_expand(emulator, kvm, "q35", kvm ? "host" : "max", NULL, err);
    if (!features)
        return NULL;
    json_object_set_new(kept, key, features);
    return features;
}

json_t *cpu_facts_source(struct vm_host *host, const struct domain *domain, struct error **err)
{
    if (!takes_all(domain))
        return NULL;
    const json_t *all = most(host, domain, err);
    if (!all)
        return NULL;
    json_t *names = json_array();
    const char *name;
    json_t *on;
    json_object_foreach ((json_t *)all, name, on)
        if (json_is_true(on))
            json_array_append_new(names, json_string(name));
    return names;
}

static void add_missing(struct text *missing, const char *name)
{
    text_append(missing, "%s%s", missing->length ? ", " : "", name);
}

static bool same_feature(const char *one, const char *other)
{
    /* QEMU writes some names with '_', some with '-'. */
    for (; *one && *other; one++, other++)
        if (*one != *other && !(strchr("-_", *one) && strchr("-_", *other)))
            return false;
    return *one == *other;
}

static bool gives(const json_t *all, const char *feature)
{
    const char *name;
    json_t *on;
    json_object_foreach ((json_t *)all, name, on)
        if (json_is_true(on) && same_feature(name, feature))
            return true;
    return false;
}

/* The policy the XML gives a feature by <feature policy= name=/>, or NULL. */
static char *policy_of(const xmlNode *feature, const char *name)
{
    xmlChar *own = xmlGetProp(feature, BAD_CAST "name");
    bool same = own && (!name || same_feature((const char *)own, name));
    xmlFree(own);
    if (!same)
        return NULL;
    xmlChar *policy = xmlGetProp(feature, BAD_CAST "policy");
    char *copy = text_copy(policy ? (const char *)policy : "require");
    xmlFree(policy);
    return copy;
}

static const xmlNode *cpu_node(const struct domain *domain)
{
    const xmlNode *root = xmlDocGetRootElement(domain->document);
    for (const xmlNode *node = root ? root->children : NULL; node; node = node->next)
        if (node->type == XML_ELEMENT_NODE && xmlStrEqual(node->name, BAD_CAST "cpu"))
            return node;
    return NULL;
}

/* Is the feature switched off by the XML, so that its absence does not matter? */
static bool disabled(const struct domain *domain, const char *name)
{
    const xmlNode *cpu = cpu_node(domain);
    for (const xmlNode *node = cpu ? cpu->children : NULL; node; node = node->next) {
        if (node->type != XML_ELEMENT_NODE || !xmlStrEqual(node->name, BAD_CAST "feature"))
            continue;
        CLEANUP_FREE char *policy = policy_of(node, name);
        if (policy && (strcmp(policy, "disable") == 0 || strcmp(policy, "forbid") == 0))
            return true;
    }
    return false;
}

static void check_extra(const struct domain *domain, const json_t *all, struct text *missing)
{
    const xmlNode *cpu = cpu_node(domain);
    for (const xmlNode *node = cpu ? cpu->children : NULL; node; node = node->next) {
        if (node->type != XML_ELEMENT_NODE || !xmlStrEqual(node->name, BAD_CAST "feature"))
            continue;
        CLEANUP_FREE char *policy = policy_of(node, NULL);
        xmlChar *name = xmlGetProp(node, BAD_CAST "name");
        if (policy && strcmp(policy, "require") == 0 && !gives(all, (const char *)name))
            add_missing(missing, (const char *)name);
        xmlFree(name);
    }
}

static bool has_extra(const struct domain *domain)
{
    const xmlNode *cpu = cpu_node(domain);
    for (const xmlNode *node = cpu ? cpu->children : NULL; node; node = node->next)
        if (node->type == XML_ELEMENT_NODE && xmlStrEqual(node->name, BAD_CAST "feature"))
            return true;
    return false;
}

json_t *cpu_facts_missing(struct vm_host *host, const struct domain *domain, struct error **err)
{
    json_t *names = json_array();
    if (takes_all(domain) || !domain->cpu_model)
        return names;
    const struct probe *probe = vm_probe(host, domain, err);
    char **lacks = NULL;
    if (!probe || probe_cpu_unavailable(probe, domain->cpu_model, &lacks, err) < 0) {
        json_decref(names);
        return NULL;
    }
    for (size_t i = 0; lacks && lacks[i]; i++)
        if (!disabled(domain, lacks[i]))
            json_array_append_new(names, json_string(lacks[i]));
    cleanup_strings(&lacks);
    return names;
}

static bool listed(const json_t *names, const char *feature)
{
    size_t i;
    json_t *name;
    json_array_foreach (names, i, name) {
        if (same_feature(json_string_value(name), feature))
            return true;
    }
    return false;
}

/* What the model lacks here and did not lack at the source. */
static int check_model(struct vm_host *host, const struct domain *domain, const json_t *missing,
                       struct text *lacking, struct error **err)
{
    CLEANUP_JSON json_t *here = cpu_facts_missing(host, domain, err);
    if (!here)
        return -1;
    size_t i;
    json_t *name;
    json_array_foreach (here, i, name) {
        if (!listed(missing, json_string_value(name)))
            add_missing(lacking, json_string_value(name));
    }
    return 0;
}

int cpu_facts_check(struct vm_host *host, const struct domain *domain, const json_t *features,
                    const json_t *missing, struct error **err)
{
    CLEANUP_TEXT struct text lacking = {0};
    if (check_model(host, domain, missing, &lacking, err) < 0)
        return -1;
    if (features || has_extra(domain)) {
        const json_t *all = most(host, domain, err);
        if (!all)
            return -1;
        size_t i;
        json_t *feature;
        json_array_foreach (features, i, feature) {
            if (!gives(all, json_string_value(feature)))
                add_missing(&lacking, json_string_value(feature));
        }
        check_extra(domain, all, &lacking);
    }
    if (!lacking.length)
        return 0;
    error_set(err, ERROR_UNSUPPORTED, "CPU %s: this host cannot give it %s",
              domain->cpu_model  ? domain->cpu_model
              : domain->cpu_mode ? domain->cpu_mode
                                 : "",
              lacking.data);
    return error_hint(err,
                      "run the VM with a CPU model that both hosts have (<cpu mode='custom'>), "
                      "or choose a host with these features");
}
