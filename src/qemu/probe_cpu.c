/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The features that a CPU model with changes really gets on this host.
 *
 * query-cpu-model-expansion tells what the model means, whether the host can give it or not; which
 * of those it cannot, only a CPU that exists can tell (its property "unavailable-features"). So a
 * machine with that very CPU is started, and both are asked.
 */
#include "qemu/probe.h"

#include <string.h>

#include "base/text.h"
#include "qemu/probe_session.h"

/* Names of models, machines and properties go into one command line argument. */
static bool is_plain_name(const char *name)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    return *name && strspn(name, allowed) == strlen(name);
}

/* ",name=value" for each property. */
static int append_properties(struct text *text, const json_t *props, struct error **err)
{
    const char *name;
    json_t *value;
    json_object_foreach ((json_t *)(uintptr_t)props, name, value) {
        if (!is_plain_name(name))
            return error_set(err, ERROR_INVALID, "'%s' is not the name of a CPU property", name);
        if (json_is_boolean(value))
            text_append(text, ",%s=%s", name, json_is_true(value) ? "on" : "off");
        else if (json_is_integer(value))
            text_append(text, ",%s=%lld", name, (long long)json_integer_value(value));
        else if (json_is_string(value) && is_plain_name(json_string_value(value)))
            text_append(text, ",%s=%s", name, json_string_value(value));
        else
            return error_set(err, ERROR_INVALID, "CPU property '%s': bad value", name);
    }
    return 0;
}

/* QEMU knows many features under names that differ in '-', '_' and '.' alone. */
static bool same_feature(const char *one, const char *other)
{
    for (; *one && *other; one++, other++) {
        const bool separators = strchr("-_.", *one) && strchr("-_.", *other);
        if (*one != *other && !separators)
            return false;
    }
    return *one == *other;
}

static bool is_missing(const json_t *missing, const char *name)
{
    for (size_t i = 0; i < json_array_size(missing); i++) {
        const char *feature = json_string_value(json_array_get(missing, i));
        if (feature && same_feature(feature, name))
            return true;
    }
    return false;
}

/* The boolean properties, those that the host lacks as false. */
static json_t *real_features(const json_t *expansion, const json_t *missing)
{
    json_t *props = json_object_get(json_object_get(expansion, "model"), "props");
    json_t *result = json_object();
    const char *name;
    json_t *value;
    json_object_foreach (props, name, value) {
        if (json_is_boolean(value))
            json_object_set_new(result, name,
                                json_boolean(json_is_true(value) && !is_missing(missing, name)));
    }
    return result;
}

/* What the first CPU of the running machine lacks. */
static json_t *cpu_missing(struct qmp *qmp, struct error **err)
{
    CLEANUP_JSON json_t *cpus = NULL;
    json_t *missing = NULL;
    if (qmp_execute(qmp, "query-cpus-fast", NULL, &cpus, err) < 0)
        return NULL;
    const char *path = json_opt_string(json_array_get(cpus, 0), "qom-path", NULL);
    if (!path) {
        error_set(err, ERROR_CORRUPT, "query-cpus-fast: no CPU in the reply");
        return NULL;
    }
    qmp_execute(qmp, "qom-get",
                json_pack("{s:s, s:s}", "path", path, "property", "unavailable-features"), &missing,
                err);
    return missing;
}

static json_t *cpu_ask(struct qmp *qmp, const char *model, const json_t *props, struct error **err)
{
    CLEANUP_JSON json_t *missing = cpu_missing(qmp, err);
    if (!missing)
        return NULL;
    json_t *wanted = json_pack("{s:s}", "name", model);
    if (json_object_size(props) > 0)
        json_object_set_new(wanted, "props", json_deep_copy(props));
    CLEANUP_JSON json_t *expansion = NULL;
    if (qmp_execute(qmp, "query-cpu-model-expansion",
                    json_pack("{s:s, s:o}", "type", "full", "model", wanted), &expansion, err) < 0)
        return NULL;
    return real_features(expansion, missing);
}

json_t *probe_cpu_expand(const char *emulator, bool kvm, const char *machine, const char *model,
                         const json_t *props, struct error **err)
{
    if (!is_plain_name(machine) || !is_plain_name(model)) {
        error_set(err, ERROR_INVALID, "'%s', '%s': not the names of a machine type and a CPU model",
                  machine, model);
        return NULL;
    }
    CLEANUP_TEXT struct text cpu = {0};
    text_append(&cpu, "%s", model);
    if (append_properties(&cpu, props, err) < 0)
        return NULL;
    struct probe_session session;
    const char *const args[] = {"-machine", machine, "-cpu", cpu.data, "-m", "16", NULL};
    if (probe_session_start(&session, emulator, kvm, args, err) < 0)
        return NULL;
    json_t *features = cpu_ask(session.qmp, model, props, err);
    probe_session_end(&session);
    if (!features)
        error_prefix(err, "CPU model %s", model);
    return features;
}
