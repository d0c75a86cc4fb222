/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a QEMU binary can do, asked of the binary itself and remembered until the file changes.
 *
 * A probe is one JSON object: version, version-text, machines (an array, newest first), cpus (name
 * -> what this host lacks for it), capabilities and devices (sets: name -> true). It lives in
 * memory as long as the process, as callers borrow from it; probe_cache.c keeps it on disk.
 */
#include "qemu/probe.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/text.h"
#include "qemu/probe_cache.h"
#include "qemu/probe_session.h"

struct probe {
    struct probe_key key; /* its strings are owned */
    json_t *data;
    struct probe *next;
};

/* One lock over the list and the probing itself: who asks at the same time waits for one answer. */
static pthread_mutex_t probe_lock = PTHREAD_MUTEX_INITIALIZER;
static struct probe *probes;

/* --- asking --- */

/* The version in a name like pc-q35-10.0; NULL when there is none. */
static const char *machine_version(const char *name)
{
    const char *dash = strrchr(name, '-');
    return dash && dash[1] >= '0' && dash[1] <= '9' ? dash + 1 : NULL;
}

/* qsort: newest first, then q35 before i440fx, what has no version last. */
static int compare_machines(const void *left, const void *right)
{
    const char *a = json_opt_string(*(json_t *const *)left, "name", "");
    const char *b = json_opt_string(*(json_t *const *)right, "name", "");
    const char *a_version = machine_version(a), *b_version = machine_version(b);
    int order = 0;
    if (a_version && b_version)
        order = strverscmp(b_version, a_version);
    else if (a_version || b_version)
        return a_version ? -1 : 1;
    return order ? order : strcmp(b, a);
}

static json_t *sorted_machines(const json_t *reply)
{
    const size_t n = json_array_size(reply);
    CLEANUP_FREE json_t **machines = calloc(n + 1, sizeof(json_t *));
    json_t *result = json_array();
    for (size_t i = 0; machines && i < n; i++)
        machines[i] = json_array_get(reply, i);
    if (machines)
        qsort(machines, n, sizeof(json_t *), compare_machines);
    for (size_t i = 0; machines && i < n; i++) {
        json_t *machine = json_object();
        static const char *const kept[] = {"name", "alias", "is-default", "cpu-max"};
        for (size_t k = 0; k < ARRAY_SIZE(kept); k++)
            json_object_set(machine, kept[k], json_object_get(machines[i], kept[k]));
        json_array_append_new(result, machine);
    }
    return result;
}

/* [{key: name, ...}, ...] as a set. */
static json_t *set_of_names(const json_t *reply, const char *key)
{
    json_t *result = json_object();
    size_t i;
    const json_t *item;
    json_array_foreach (reply, i, item) {
        const char *name = json_opt_string(item, key, NULL);
        if (name)
            json_object_set_new(result, name, json_true());
    }
    return result;
}

static json_t *cpus_and_what_they_lack(const json_t *reply)
{
    json_t *result = json_object();
    size_t i;
    const json_t *item;
    json_array_foreach (reply, i, item) {
        const char *name = json_opt_string(item, "name", NULL);
        json_t *missing = json_object_get(item, "unavailable-features");
        if (name && json_is_array(missing))
            json_object_set(result, name, missing);
        else if (name)
            json_object_set_new(result, name, json_array());
    }
    return result;
}

static int ask(struct qmp *qmp, const char *command, json_t *arguments, json_t **reply,
               struct error **err)
{
    return qmp_execute(qmp, command, arguments, reply, err);
}

static json_t *probe_ask(struct qmp *qmp, struct error **err)
{
    CLEANUP_JSON json_t *version = NULL, *machines = NULL, *cpus = NULL, *capabilities = NULL,
                        *devices = NULL;
    int major, minor, micro;
    if (ask(qmp, "query-version", NULL, &version, err) < 0 ||
        ask(qmp, "query-machines", NULL, &machines, err) < 0 ||
        ask(qmp, "query-cpu-definitions", NULL, &cpus, err) < 0 ||
        ask(qmp, "query-migrate-capabilities", NULL, &capabilities, err) < 0 ||
        ask(qmp, "qom-list-types", json_pack("{s:s, s:b}", "implements", "device", "abstract", 0),
            &devices, err) < 0)
        return NULL;
    if (json_unpack(version, "{s:{s:i, s:i, s:i}}", "qemu", "major", &major, "minor", &minor,
                    "micro", &micro) < 0) {
        error_set(err, ERROR_CORRUPT, "query-version: no version in the reply");
        return NULL;
    }
    CLEANUP_FREE char *text = text_format("%d.%d.%d", major, minor, micro);
    return json_pack("{s:i, s:s, s:o, s:o, s:o, s:o}", "version", major * 1000 + minor,
                     "version-text", text, "machines", sorted_machines(machines), "cpus",
                     cpus_and_what_they_lack(cpus), "capabilities",
                     set_of_names(capabilities, "capability"), "devices",
                     set_of_names(devices, "name"));
}

static json_t *probe_run(const char *emulator, bool kvm, struct error **err)
{
    struct probe_session session;
    const char *const args[] = {"-machine", "none", NULL};
    if (probe_session_start(&session, emulator, kvm, args, err) < 0)
        return NULL;
    json_t *data = probe_ask(session.qmp, err);
    probe_session_end(&session);
    if (!data)
        error_prefix(err, "asking %s", emulator);
    return data;
}

/* --- remembering --- */

static int probe_stat(struct probe_key *key, const char *emulator, bool kvm, struct error **err)
{
    struct stat file;
    if (stat(emulator, &file) < 0) {
        if (errno == ENOENT)
            error_set(err, ERROR_NOT_FOUND, "there is no emulator %s", emulator);
        else
            error_errno(err, errno, "emulator %s", emulator);
        return error_hint(err, "install QEMU (package qemu-system-x86), or name another one in "
                               "<emulator>");
    }
    *key = (struct probe_key){.emulator = (char *)(uintptr_t)emulator,
                              .kvm = kvm,
                              .size = (int64_t)file.st_size,
                              .mtime_ns =
                                  (int64_t)file.st_mtim.tv_sec * 1000000000 + file.st_mtim.tv_nsec};
    return 0;
}

static bool probe_matches(const struct probe *probe, const struct probe_key *key)
{
    return text_equal(probe->key.emulator, key->emulator) && probe->key.kvm == key->kvm &&
           probe->key.size == key->size && probe->key.mtime_ns == key->mtime_ns;
}

/* Takes `data` over. One that is outdated stays: somebody may still hold it. */
static const struct probe *probe_remember(const struct probe_key *key, json_t *data)
{
    struct probe *probe = calloc(1, sizeof(*probe));
    if (!probe) {
        json_decref(data);
        return NULL;
    }
    *probe = (struct probe){.key = *key, .data = data, .next = probes};
    probe->key.emulator = text_copy(key->emulator);
    probes = probe;
    return probe;
}

const struct probe *probe_get(const char *emulator, bool kvm, const char *cache_directory,
                              struct error **err)
{
    struct probe_key key = {0};
    if (probe_stat(&key, emulator, kvm, err) < 0)
        return NULL;
    LOCK_SCOPE(&probe_lock);
    for (const struct probe *probe = probes; probe; probe = probe->next)
        if (probe_matches(probe, &key))
            return probe;
    json_t *data = cache_directory ? probe_cache_read(cache_directory, &key) : NULL;
    if (!data) {
        data = probe_run(emulator, kvm, err);
        if (data && cache_directory)
            probe_cache_write(cache_directory, &key, data);
    }
    return data ? probe_remember(&key, data) : NULL;
}

/* --- answering --- */

int probe_version(const struct probe *probe)
{
    return (int)json_opt_int(probe->data, "version", 0);
}

const char *probe_version_text(const struct probe *probe)
{
    return json_opt_string(probe->data, "version-text", "");
}

/* NULL: the default machine type. */
static const json_t *find_machine(const struct probe *probe, const char *wanted)
{
    size_t i;
    const json_t *machine;
    json_array_foreach (json_object_get(probe->data, "machines"), i, machine) {
        if (wanted ? text_equal(json_opt_string(machine, "name", NULL), wanted) ||
                         text_equal(json_opt_string(machine, "alias", NULL), wanted)
                   : json_opt_bool(machine, "is-default", false))
            return machine;
    }
    return NULL;
}

const char *probe_machine(const struct probe *probe, const char *machine)
{
    return json_opt_string(find_machine(probe, machine), "name", NULL);
}

char *probe_machine_list(const struct probe *probe, size_t max)
{
    struct text list = {0};
    size_t i;
    const json_t *machine;
    text_append(&list, "%s", "");
    json_array_foreach (json_object_get(probe->data, "machines"), i, machine) {
        if (i < max)
            text_append(&list, "%s%s", i ? ", " : "", json_opt_string(machine, "name", ""));
    }
    return list.data;
}

int probe_machine_max_cpus(const struct probe *probe, const char *machine)
{
    return (int)json_opt_int(find_machine(probe, machine), "cpu-max", 0);
}

int probe_cpu_unavailable(const struct probe *probe, const char *model, char ***missing,
                          struct error **err)
{
    const json_t *features = json_object_get(json_object_get(probe->data, "cpus"), model);
    if (!features)
        return error_set(err, ERROR_NOT_FOUND, "QEMU %s has no CPU model '%s'",
                         probe_version_text(probe), model);
    *missing = calloc(json_array_size(features) + 1, sizeof(char *));
    if (!*missing)
        return error_set(err, ERROR_SYSTEM, "out of memory");
    for (size_t i = 0; i < json_array_size(features); i++) {
        const char *name = json_string_value(json_array_get(features, i));
        (*missing)[i] = text_copy(name ? name : "?");
    }
    return 0;
}

bool probe_has_migration_capability(const struct probe *probe, const char *name)
{
    return json_object_get(json_object_get(probe->data, "capabilities"), name) != NULL;
}

bool probe_has_device(const struct probe *probe, const char *type)
{
    return json_object_get(json_object_get(probe->data, "devices"), type) != NULL;
}

void cleanup_strings(char ***strings)
{
    for (char **string = *strings; string && *string; string++)
        free(*string);
    free(*strings);
}
