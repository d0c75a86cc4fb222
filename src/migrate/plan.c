/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plan phase: everything that could stop the move is looked for, on both hosts, before anything
 * is touched. All problems are told together.
 */
#include <string.h>

#include "base/fault.h"
#include "base/text.h"
#include "migrate/channel_port.h"
#include "migrate/check.h"
#include "migrate/cpu_facts.h"
#include "migrate/disk_identity.h"
#include "migrate/migration_private.h"

/* The domain that the destination is to have: the live one, under its new name and with the changes
 * of --xml, which must leave the guest's hardware alone. */
static int make_target(struct migration *m, struct error **err)
{
    CLEANUP_FREE char *xml = vm_xml(m->vm, false, err);
    if (!xml)
        return -1;
    m->target = domain_parse(xml, strlen(xml), err);
    if (!m->target)
        return -1;
    if (m->options.xml) {
        struct domain *changed = domain_parse(m->options.xml, strlen(m->options.xml), err);
        if (!changed)
            return error_prefix(err, "--xml");
        if (domain_same_hardware(m->target, changed, err) < 0) {
            domain_free(changed);
            error_prefix(err, "--xml changes what the guest sees");
            return error_hint(err,
                              "start from `mudanza dumpxml %s`; paths, bridges and back ends of "
                              "ports may differ",
                              m->vm->name);
        }
        domain_free(m->target);
        m->target = changed;
    }
    return m->options.new_name ? domain_rename(m->target, m->options.new_name, err) : 0;
}

static void check_disk_cache(struct migration *m)
{
    for (size_t i = 0; i < m->target->n_disks; i++) {
        struct error *err = NULL;
        const struct domain_disk *disk = &m->target->disks[i];
        if (disk->source == DISK_EMPTY || disk->readonly || !text_equal(disk->cache, "unsafe"))
            continue;
        error_set(&err, ERROR_UNSUPPORTED,
                  "disk %s: cache='unsafe' never flushes: the destination could miss writes",
                  disk->target);
        error_hint(&err, "use another cache mode, or move the VM with --offline");
        problem_add(m->problems, "cache", err);
    }
}

/*
 * QEMU 7.2 loses writes of a guest under TCG that runs while its RAM is copied: pages written late
 * are not sent (docs/ram-digest.md has the measurement). 10.0 does not. What lies between is not
 * trusted.
 */
#define TCG_TRACKS_WRITES 10000

static int check_write_tracking(struct migration *m, struct error **err)
{
    struct error *problem = NULL;
    const struct probe *probe = vm_probe(m->context->vms, m->vm->live, err);
    if (!probe)
        return -1;
    m->mends = m->was_running && m->options.mode == MIGRATE_LIVE &&
               m->vm->live->accelerator == DOMAIN_TCG && probe_version(probe) < TCG_TRACKS_WRITES;
    if (!m->mends)
        return 0;
    if (m->options.post_copy) {
        error_set(&problem, ERROR_UNSUPPORTED,
                  "QEMU %s loses writes of guests it emulates (type='qemu'), and with post-copy "
                  "nobody can put them right",
                  probe_version_text(probe));
        error_hint(&problem, "leave out --post-copy, or run the VM with QEMU 10.0 or newer");
        problem_add(m->problems, "post-copy", problem);
        return 0;
    }
    migration_note(m,
                   "QEMU %s loses writes of guests it emulates: RAM will be compared and put "
                   "right at the handover, which adds to the downtime",
                   probe_version_text(probe));
    return 0;
}

/* What was asked for and cannot be; what is chosen here can. */
static void check_channels(struct migration *m)
{
    struct error *problem = NULL;
    if (m->options.channels <= 1 || channel_port_reachable(m->vm))
        return;
    error_set(&problem, ERROR_DENIED, "QEMU's user cannot come to %s, to connect its channels",
              m->context->vms->run_dir);
    error_hint(&problem,
               "let others pass it and the directories above it (chmod o+x), or leave out "
               "--channels");
    problem_add(m->problems, "channels", problem);
}

/* Marks the disks so that the destination can tell whether it sees the same files. */
static json_t *make_facts(struct migration *m, struct disk_identity **disks, struct error **err)
{
    bool copies_ram = m->options.mode != MIGRATE_OFFLINE;
    const struct probe *probe = vm_probe(m->context->vms, m->target, err);
    if (!probe)
        return NULL;
    CLEANUP_JSON json_t *features = NULL, *missing = NULL;
    if (copies_ram) {
        CLEANUP_ERROR struct error *problem = NULL;
        features = cpu_facts_source(m->context->vms, m->vm->live, &problem);
        if (!problem)
            missing = cpu_facts_missing(m->context->vms, m->vm->live, &problem);
        if (problem) {
            error_move(err, STEAL(problem));
            return NULL;
        }
        *disks = disk_identity_mark(m->vm->live, err);
        if (!*disks)
            return NULL;
    }
    json_t *facts = json_pack("{s:s, s:s, s:o}", "host", m->context->host_name, "emulator_version",
                              probe_version_text(probe), "disks",
                              copies_ram ? disk_identity_describe(*disks) : json_array());
    if (features)
        json_object_set(facts, "cpu_features", features);
    if (missing)
        json_object_set(facts, "cpu_missing", missing);
    return facts;
}

static void adopt_problems(struct migration *m, const json_t *found)
{
    size_t i;
    json_t *problem;
    json_array_foreach (found, i, problem) {
        CLEANUP_FREE char *message =
            text_format("host %s: %s", m->peer.host.name, json_opt_string(problem, "message", "?"));
        json_t *copy = json_copy(problem);
        json_object_set_new(copy, "message", json_string(message));
        json_array_append_new(m->problems, copy);
    }
}

static int ask_destination(struct migration *m, const json_t *facts, struct error **err)
{
    CLEANUP_FREE char *xml = domain_format(m->target);
    CLEANUP_JSON json_t *answer = NULL;
    json_t *question =
        json_pack("{s:s, s:s, s:b, s:O}", "xml", xml, "mode", migrate_mode_name(m->options.mode),
                  "post_copy", m->options.post_copy, "facts", facts);
    m->control = peer_connect_control(&m->peer, m->cancel_fd, err);
    if (!m->control) {
        json_decref(question);
        return -1;
    }
    if (fault_point(FAULT_SOURCE_PLAN, err) < 0) {
        json_decref(question);
        return -1;
    }
    if (peer_call(m->control, &m->peer, "Check", question, &answer, m->cancel_fd, err) < 0)
        return -1;
    adopt_problems(m, json_object_get(answer, "problems"));
    return 0;
}

/* One error out of all problems: the first, and how many more there are. */
static int refuse(struct migration *m, struct error **err)
{
    size_t count = json_array_size(m->problems);
    if (count == 0)
        return 0;
    const json_t *first = json_array_get(m->problems, 0);
    const char *hint = json_opt_string(first, "hint", NULL);
    if (count == 1)
        error_set(err, ERROR_PEER, "%s", json_opt_string(first, "message", "?"));
    else
        error_set(err, ERROR_PEER, "%s; and %zu more problem%s",
                  json_opt_string(first, "message", "?"), count - 1, count == 2 ? "" : "s");
    return hint ? error_hint(err, "%s", hint) : -1;
}

int plan_run(struct migration *m, struct error **err)
{
    if (make_target(m, err) < 0)
        return -1;
    check_disk_cache(m);
    if (m->options.mode != MIGRATE_OFFLINE && check_write_tracking(m, err) < 0)
        return -1;
    if (m->options.mode != MIGRATE_OFFLINE)
        check_channels(m);
    struct disk_identity *disks = NULL;
    CLEANUP_JSON json_t *facts = make_facts(m, &disks, err);
    int result = facts ? ask_destination(m, facts, err) : -1;
    disk_identity_free(disks);
    return result < 0 ? -1 : refuse(m, err);
}
