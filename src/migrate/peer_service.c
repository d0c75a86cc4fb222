/* SPDX-License-Identifier: Apache-2.0 */
/* io.mudanza.Peer: what this agent does for other agents. */
#include "migrate/peer_service.h"

#include <string.h>

#include "base/fault.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "migrate/arrival.h"
#include "migrate/check.h"
#include "migrate/io.mudanza.Peer.varlink.h"
#include "migrate/mark.h"
#include "migrate/migration_private.h"

static const struct store_host *peer_of(const struct varlink_call *call)
{
    return call->peer;
}

static const char *text_of(const struct varlink_call *call, const char *key)
{
    return json_opt_string(call->parameters, key, "");
}

static struct domain *domain_of(const struct varlink_call *call, struct error **err)
{
    const char *xml = text_of(call, "xml");
    return domain_parse(xml, strlen(xml), err);
}

static json_t *our_capabilities(const struct probe *probe)
{
    static const char *const known[] = {"postcopy-ram", "auto-converge", "multifd",
                                        "pause-before-switchover", "late-block-activate"};
    json_t *list = json_array();
    for (size_t i = 0; i < ARRAY_SIZE(known); i++)
        if (probe && probe_has_migration_capability(probe, known[i]))
            json_array_append_new(list, json_string(known[i]));
    return list;
}

static int method_check(void *context, struct varlink_call *call, json_t **reply,
                        struct error **err)
{
    struct migrate_context *migrate = context;
    CLEANUP_DOMAIN struct domain *domain = domain_of(call, err);
    if (!domain)
        return -1;
    const struct probe *probe = vm_probe(migrate->vms, domain, NULL);
    *reply = json_pack("{s:s, s:s, s:o, s:o}", "host", migrate->host_name, "emulator_version",
                       probe ? probe_version_text(probe) : "", "capabilities",
                       our_capabilities(probe), "problems",
                       check_arrival(migrate, domain, text_of(call, "mode"),
                                     json_opt_bool(call->parameters, "post_copy", false),
                                     json_object_get(call->parameters, "facts")));
    return 0;
}

static int method_prepare(void *context, struct varlink_call *call, json_t **reply,
                          struct error **err)
{
    struct arrival_terms terms;
    if (arrival_prepare(context, peer_of(call), call->parameters, &terms, err) < 0)
        return -1;
    *reply = json_pack("{s:i, s:I, s:b}", "connections", (int)terms.connections, "slots",
                       (json_int_t)terms.slots, "copies", terms.copies);
    return 0;
}

static struct arrival *arrival_of(struct migrate_context *context, const struct varlink_call *call,
                                  struct error **err)
{
    return arrival_find(context, text_of(call, "job"), peer_of(call)->fingerprint, err);
}

static int follow(struct arrival *arrival, struct varlink_call *call, json_t **reply,
                  struct error **err)
{
    unsigned turn = arrival_follow(arrival);
    int64_t from = json_opt_int(call->parameters, "from", 0);
    for (size_t index = from > 0 ? (size_t)from : 0;; index++) {
        bool last = true;
        json_t *event = arrival_event(arrival, index, turn, &last, err);
        if (!event)
            return -1;
        if (last) {
            *reply = event;
            return 0;
        }
        if (varlink_reply_more(call, event, err) < 0)
            return -1;
    }
}

static int method_receive(void *context, struct varlink_call *call, json_t **reply,
                          struct error **err)
{
    if (!call->more)
        return error_set(err, ERROR_INVALID, "Receive must be called with `more`");
    struct arrival *arrival = arrival_of(context, call, err);
    if (!arrival)
        return -1;
    int result = follow(arrival, call, reply, err);
    arrival_put(arrival);
    return result;
}

static int give_hex(struct migrate_context *context, struct varlink_call *call,
                    const char *parameter, const char *member,
                    char *(*get)(struct arrival *, int64_t, struct error **), json_t **reply,
                    struct error **err)
{
    struct arrival *arrival = arrival_of(context, call, err);
    if (!arrival)
        return -1;
    CLEANUP_FREE char *hex = get(arrival, json_opt_int(call->parameters, parameter, -1), err);
    arrival_put(arrival);
    if (!hex)
        return -1;
    *reply = json_pack("{s:s}", member, hex);
    return 0;
}

static int method_page_digests(void *context, struct varlink_call *call, json_t **reply,
                               struct error **err)
{
    return give_hex(context, call, "chunk", "digests", arrival_page_digests, reply, err);
}

static int method_read_page(void *context, struct varlink_call *call, json_t **reply,
                            struct error **err)
{
    return give_hex(context, call, "offset", "data", arrival_read_page, reply, err);
}

static int method_write_page(void *context, struct varlink_call *call, json_t **reply,
                             struct error **err)
{
    (void)reply;
    struct arrival *arrival = arrival_of(context, call, err);
    if (!arrival)
        return -1;
    int result = arrival_write_page(arrival, json_opt_int(call->parameters, "offset", -1),
                                    text_of(call, "data"), err);
    arrival_put(arrival);
    return result;
}

/* What the journal says of a job without a thread. */
static int journalled_outcome(struct migrate_context *context, const struct varlink_call *call,
                              const char **outcome, struct error **err)
{
    struct journal_entry entry;
    int found = journal_find(context->store, text_of(call, "job"), false, &entry, err);
    if (found < 0)
        return -1;
    *outcome = "aborted"; /* no entry: never ran here and never will */
    if (found == 1) {
        bool theirs = strcmp(entry.peer_fingerprint, peer_of(call)->fingerprint) == 0;
        if (theirs && entry.state == JOURNAL_STORED)
            *outcome = "owner";
        else
            *outcome = "undecided";
        journal_entry_clear(&entry);
    }
    return 0;
}

static struct arrival *arrival_or_bar(struct migrate_context *context,
                                      const struct varlink_call *call)
{
    return arrival_find_or_bar(context, text_of(call, "job"), peer_of(call)->fingerprint);
}

static int method_outcome(void *context, struct varlink_call *call, json_t **reply,
                          struct error **err)
{
    const char *outcome = "undecided";
    if (fault_point(FAULT_DESTINATION_OUTCOME, err) < 0)
        return -1;
    struct arrival *arrival = arrival_or_bar(context, call);
    if (arrival) {
        /* Asking decides what is not decided yet, durably, before the answer. An owner stays one,
         * but says so only once the guest runs: its QEMU may still fail to load. */
        bool aborted = arrival_abort(arrival, NULL) == 0;
        bool running = arrival_running(arrival);
        arrival_put(arrival);
        if (running)
            outcome = "owner";
        else if (aborted && journalled_outcome(context, call, &outcome, err) < 0)
            return -1;
    } else if (journalled_outcome(context, call, &outcome, err) < 0) {
        return -1;
    }
    *reply = json_pack("{s:s}", "outcome", outcome);
    return 0;
}

/* What became of a post-copy whose thread is over. */
static int journalled_rest(struct migrate_context *context, const struct varlink_call *call,
                           const char **answer, struct error **err)
{
    struct journal_entry entry;
    int found = journal_find(context->store, text_of(call, "job"), false, &entry, err);
    if (found < 0)
        return -1;
    bool stored = found == 1 && entry.state == JOURNAL_STORED &&
                  strcmp(entry.peer_fingerprint, peer_of(call)->fingerprint) == 0;
    if (found == 1)
        journal_entry_clear(&entry);
    if (!stored)
        return error_set(err, ERROR_STATE, "job %s is not in post-copy here", text_of(call, "job"));
    *answer = "complete";
    return 0;
}

static int method_recover(void *context, struct varlink_call *call, json_t **reply,
                          struct error **err)
{
    uint8_t id[16];
    const char *stream = text_of(call, "stream"), *answer = NULL;
    int64_t given = json_opt_int(call->parameters, "given", 0);
    uint64_t ours = 0;
    if (job_id_to_bytes(stream, id, err) < 0)
        return -1;
    if (given < 0)
        return error_set(err, ERROR_INVALID, "given: %" PRIi64 " bytes", given);
    struct arrival *arrival = arrival_of(context, call, NULL);
    int result =
        arrival ? arrival_recover(arrival, stream, json_opt_bool(call->parameters, "gone", false),
                                  (uint64_t)given, &answer, &ours, err)
                : journalled_rest(context, call, &answer, err);
    if (arrival)
        arrival_put(arrival);
    if (result < 0)
        return -1;
    *reply = json_pack("{s:s, s:I}", "answer", answer, "given", (json_int_t)ours);
    return 0;
}

static int method_abort(void *context, struct varlink_call *call, json_t **reply,
                        struct error **err)
{
    (void)reply;
    struct arrival *arrival = arrival_or_bar(context, call);
    if (!arrival)
        return 0; /* it is undone already */
    int result = arrival_abort(arrival, err);
    arrival_put(arrival);
    return result;
}

/* 1: the VM is this host's, and stored. 0: no entry. -1: it says anything else. */
static int need_stored(struct migrate_context *context, const struct varlink_call *call, bool last,
                       struct error **err)
{
    struct journal_entry entry;
    struct arrival *arrival = arrival_of(context, call, NULL);
    if (arrival) {
        int result = arrival_await_stored(arrival, last, err);
        if (result == 0)
            arrival_await_end(arrival);
        arrival_put(arrival);
        if (result < 0)
            return -1;
    }
    int found = journal_find(context->store, text_of(call, "job"), false, &entry, err);
    if (found <= 0)
        return found;
    bool stored = strcmp(entry.peer_fingerprint, peer_of(call)->fingerprint) == 0 &&
                  entry.state == JOURNAL_STORED;
    journal_entry_clear(&entry);
    return stored ? 1
                  : error_set(err, ERROR_STATE, "job %s is not decided, or its VM not stored",
                              text_of(call, "job"));
}

static int method_stored(void *context, struct varlink_call *call, json_t **reply,
                         struct error **err)
{
    (void)reply;
    int stored = need_stored(context, call, false, err);
    if (stored == 0)
        return error_set(err, ERROR_NOT_FOUND, "job %s is not known here", text_of(call, "job"));
    return stored < 0 ? -1 : 0;
}

static int method_forget(void *context, struct varlink_call *call, json_t **reply,
                         struct error **err)
{
    (void)reply;
    struct migrate_context *migrate = context;
    const char *job = text_of(call, "job");
    int stored = need_stored(migrate, call, true, err);
    if (stored <= 0)
        return stored;
    if (fault_point(FAULT_DESTINATION_FORGET_BEFORE, err) < 0 ||
        journal_delete(migrate->store, job, false, err) < 0)
        return -1;
    mark_remove(migrate->vms->run_dir, job);
    return fault_point(FAULT_DESTINATION_FORGET_AFTER, err);
}

static int write_nvram(const struct domain *domain, const char *hex, struct error **err)
{
    size_t size = strlen(hex) / 2;
    if (!domain->nvram)
        return error_set(err, ERROR_INVALID, "NVRAM for a VM without <nvram>");
    CLEANUP_FREE uint8_t *data = malloc(size + 1);
    if (!data || size > NVRAM_MAX || text_unhex(hex, data, size, err) < 0)
        return error_set(err, ERROR_INVALID, "NVRAM: not hex, or larger than it may be");
    if (access(domain->nvram, F_OK) == 0) {
        error_set(err, ERROR_EXISTS, "NVRAM %s exists already", domain->nvram);
        return error_hint(err, "remove it there if no VM needs it");
    }
    return file_write_atomic(domain->nvram, data, size, 0600, err);
}

static int method_define(void *context, struct varlink_call *call, json_t **reply,
                         struct error **err)
{
    (void)reply;
    struct migrate_context *migrate = context;
    struct domain *domain = domain_of(call, err);
    if (!domain)
        return -1;
    const char *nvram = json_opt_string(call->parameters, "nvram", NULL);
    if (nvram && write_nvram(domain, nvram, err) < 0) {
        domain_free(domain);
        return -1;
    }
    CLEANUP_VM struct vm *vm = vm_define(migrate->vms, domain, err);
    if (!vm)
        return -1;
    log_info(vm->name, "its definition arrived from %s", peer_of(call)->name);
    return 0;
}

static const struct varlink_method_entry methods[] = {
    {"Check", method_check},        {"Prepare", method_prepare},
    {"Receive", method_receive},    {"PageDigests", method_page_digests},
    {"ReadPage", method_read_page}, {"WritePage", method_write_page},
    {"Outcome", method_outcome},    {"Abort", method_abort},
    {"Recover", method_recover},    {"Stored", method_stored},
    {"Forget", method_forget},      {"Define", method_define},
};

struct varlink_service *peer_service_new(struct migrate_context *context, struct error **err)
{
    return varlink_service_new("mudanzad", MUDANZA_VERSION, io_mudanza_Peer_varlink, methods,
                               ARRAY_SIZE(methods), context, err);
}
