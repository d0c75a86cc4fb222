/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The prepare phase: one plan of QEMU capabilities and parameters for both ends, the destination's
 * QEMU started and waiting, our journal's entry written. What there is to do here is done while
 * the destination's QEMU starts.
 */
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/text.h"
#include "migrate/migration_private.h"
#include "migrate/qemu_migration.h"
#include "vm/store.h"

/* What our QEMU must not have left on from an earlier move. */
static json_t *choose_capabilities(const struct migration *m)
{
    json_t *names = json_array();
    json_array_append_new(names, json_string("events"));
    json_array_append_new(names, json_string("late-block-activate"));
    if (m->options.auto_converge)
        json_array_append_new(names, json_string("auto-converge"));
    if (m->options.post_copy) {
        json_array_append_new(names, json_string("postcopy-ram"));
        json_array_append_new(names, json_string("return-path"));
    }
    return names;
}

static int write_journal(struct migration *m, struct error **err)
{
    CLEANUP_JSON json_t *options =
        json_pack("{s:b, s:b, s:s, s:b}", "undefine_source", m->options.undefine_source,
                  "was_running", m->was_running, "mode", migrate_mode_name(m->options.mode),
                  "post_copy", m->options.post_copy);
    const struct journal_entry entry = {
        .job = m->job,
        .uuid = m->vm->uuid,
        .name = m->vm->name,
        .source = true,
        .peer_fingerprint = m->peer.host.fingerprint,
        .peer_name = m->peer.host.name,
        .state = JOURNAL_PREPARED,
        .options = options,
    };
    if (fault_point(FAULT_SOURCE_PREPARED_BEFORE, err) < 0 ||
        journal_put(m->context->store, &entry, err) < 0)
        return -1;
    m->journalled = true;
    return fault_point(FAULT_SOURCE_PREPARED_AFTER, err);
}

static int ask_destination(struct migration *m, const json_t *capabilities, struct error **err)
{
    CLEANUP_FREE char *xml = domain_format(m->target);
    char key_hex[33];
    char page_key_hex[2 * PAGE_HASH_KEY_SIZE + 1];
    bool compares = m->options.verify || m->mends;
    m->shares = m->context->known_pages.sharing != SHARING_OFF;
    if ((compares && verify_key_make(m->verify_key, key_hex, err) < 0) ||
        (m->shares && page_hash_key_make(&m->page_key, err) < 0))
        return -1;
    json_t *request = json_pack(
        "{s:s, s:s, s:b, s:b, s:b, s:O, s:I}", "job", m->job, "xml", xml, "persistent",
        m->options.persistent, "running", m->was_running, "post_copy", m->options.post_copy,
        "capabilities", capabilities, "connections",
        (json_int_t)(m->options.connections ? m->options.connections : data_link_connections()));
    json_object_set_new(request, "slots", json_integer(data_link_slots(m)));
    if (compares)
        json_object_set_new(request, "verify_key", json_string(key_hex));
    if (m->shares) {
        text_hex(m->page_key.bytes, sizeof(m->page_key.bytes), page_key_hex);
        json_object_set_new(request, "dictionary_key", json_string(page_key_hex));
    }
    m->prepared = true; /* from here on there may be something to undo there */
    return peer_call_begin(m->control, &m->peer, "Prepare", request, m->cancel_fd, err);
}

/* The destination has answered, whatever came of our part meanwhile: an abort finds all of its. */
static int await_destination(struct migration *m, struct error **err)
{
    CLEANUP_JSON json_t *reply = NULL;
    if (peer_call_end(m->control, &m->peer, &reply, m->cancel_fd, err) < 0 ||
        fault_point(FAULT_SOURCE_READY, err) < 0)
        return -1;
    m->connections = (unsigned)json_opt_int(reply, "connections", 1);
    m->slots = (uint32_t)json_opt_int(reply, "slots", 0);
    m->copies = json_opt_bool(reply, "copies", false);
    return 0;
}

static int prepare_source(struct migration *m, const json_t *capabilities, struct error **err)
{
    CLEANUP_JSON json_t *own = json_deep_copy(capabilities);
    m->channels = data_link_channels(m);
    json_array_append_new(own, json_string("pause-before-switchover"));
    if (m->channels > 1) /* the destination's QEMU gets one stream all the same */
        json_array_append_new(own, json_string("multifd"));
    policy_init(&m->policy, m->options.downtime_ms);
    if (qemu_migration_set_capabilities(m->vm->qmp, own, err) < 0 ||
        qemu_migration_set_bandwidth(m->vm->qmp, m->options.bandwidth, err) < 0 ||
        qemu_migration_set_downtime(m->vm->qmp, m->policy.limit_ms, err) < 0 ||
        (m->channels > 1 && qemu_migration_set_channels(m->vm->qmp, m->channels, err) < 0))
        return error_prefix(err, "VM %s: preparing QEMU", m->vm->name);
    return 0;
}

int prepare_run(struct migration *m, struct error **err)
{
    CLEANUP_JSON json_t *capabilities = choose_capabilities(m);
    CLEANUP_ERROR struct error *ours = NULL;
    if (write_journal(m, err) < 0 || ask_destination(m, capabilities, err) < 0)
        return -1;
    prepare_source(m, capabilities, &ours);
    if (await_destination(m, err) < 0)
        return -1;
    if (ours)
        return error_move(err, STEAL(ours));
    m->follower = follower_start(m->context, &m->peer, m->job, err);
    return m->follower ? fault_point(FAULT_SOURCE_FOLLOWS, err) : -1;
}
