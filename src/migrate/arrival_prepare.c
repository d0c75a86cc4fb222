/* SPDX-License-Identifier: Apache-2.0 */
/* The start of an arrival: memory, the journal's entry, QEMU, the thread. */
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "migrate/arrival_private.h"
#include "migrate/check.h"
#include "migrate/data_link.h"
#include "migrate/qemu_migration.h"

#define DICTIONARY_WAIT_MIN_MS 100
#define DICTIONARY_WAIT_MAX_MS 2000

static struct arrival *arrival_new(struct migrate_context *context, const struct store_host *peer,
                                   const char *job, const json_t *parameters)
{
    struct arrival *a = calloc(1, sizeof(*a));
    a->context = context;
    a->references = 1;
    snprintf(a->job, sizeof(a->job), "%s", job);
    snprintf(a->stream, sizeof(a->stream), "%s", job);
    a->peer_name = text_copy(peer->name);
    a->fingerprint = text_copy(peer->fingerprint);
    if (json_opt_bool(parameters, "persistent", false))
        a->definition = text_copy(json_opt_string(parameters, "xml", ""));
    a->running_wanted = json_opt_bool(parameters, "running", true);
    a->post_copy = json_opt_bool(parameters, "post_copy", false);
    int64_t wanted = json_opt_int(parameters, "connections", 1);
    a->connections = wanted < 1                           ? 1
                     : wanted > DATA_LINK_CONNECTIONS_MAX ? DATA_LINK_CONNECTIONS_MAX
                                                          : (unsigned)wanted;
    a->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    a->events = json_array();
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->changed, NULL);
    return a;
}

static int write_journal(struct arrival *a, const struct domain *domain, struct error **err)
{
    CLEANUP_JSON json_t *options =
        json_pack("{s:s*, s:b, s:b, s:s}", "definition", a->definition, "running",
                  a->running_wanted, "post_copy", a->post_copy, "boot_id", a->boot_id);
    const struct journal_entry entry = {
        .job = a->job,
        .uuid = (char *)domain->uuid,
        .name = domain->name,
        .source = false,
        .peer_fingerprint = a->fingerprint,
        .peer_name = a->peer_name,
        .state = JOURNAL_PREPARED,
        .options = options,
    };
    if (fault_point(FAULT_DESTINATION_PREPARED_BEFORE, err) < 0 ||
        journal_put(a->context->store, &entry, err) < 0)
        return -1;
    return fault_point(FAULT_DESTINATION_PREPARED_AFTER, err);
}

/* Where its RAM is, so that pages need not pass through QEMU. Without it, they do. */
static struct placer_ram find_ram(struct arrival *a)
{
    CLEANUP_ERROR struct error *err = NULL;
    uint8_t byte;
    struct placer_ram ram = {.pidfd = process_open(&a->vm->process, &err), .emptied = a->post_copy};
    if (ram.pidfd >= 0)
        ram.map = memory_locate(a->vm->qmp, a->vm->process.pid, a->memory, &err);
    if (ram.map && memory_read(ram.map, 0, &byte, 1, &err) == 0)
        return ram;
    log_info(a->vm->name, "its pages pass through QEMU: %s", err->message);
    memory_free(STEAL(ram.map));
    if (ram.pidfd >= 0)
        close(STEAL_FD(ram.pidfd));
    return ram;
}

static int ready_qemu(struct arrival *a, const json_t *capabilities, struct arrival_terms *terms,
                      struct error **err)
{
    struct qmp *qmp = a->vm->qmp;
    struct relay_ends ends = {.event_fd = a->wake_fd};
    CLEANUP_FREE char *peer = text_format("host %s", a->peer_name);
    if (data_link_options(a->context, a->vm->name, peer, a->job, a->connections, &ends.link, err) <
            0 ||
        qemu_migration_set_capabilities(qmp, capabilities, err) < 0)
        return -1;
    if (held_make(qmp, a->job, a->post_copy, &ends.held, err) < 0)
        return -1;
    ends.ram = find_ram(a);
    terms->copies = ends.ram.map;
    struct relay *relay = relay_start_destination(&ends, a->slots, a->dictionary, err);
    if (!relay)
        return -1;
    pthread_mutex_lock(&a->lock);
    a->relay = relay;
    pthread_mutex_unlock(&a->lock);
    return qemu_migration_listen(qmp, "mudanza", err);
}

/* Pages that come before the dictionary is built travel for nothing. It is worth about the time
 * that building takes on a quiet host (2 GiB/s), which is much less than the way of these pages;
 * QEMU's start has been part of it already. An abort ends the wait. */
static void await_dictionary(struct arrival *a)
{
    const int64_t ms = DICTIONARY_WAIT_MIN_MS + (int64_t)(a->memory >> 21);
    if (a->dictionary)
        fd_wait(dictionary_built_fd(a->dictionary), POLLIN, a->wake_fd,
                clock_deadline_ns(ms < DICTIONARY_WAIT_MAX_MS ? ms : DICTIONARY_WAIT_MAX_MS), NULL);
}

/* Starts QEMU and the thread; takes `domain` over. The journal's entry is there. */
static int begin(struct arrival *a, struct domain *domain, const json_t *capabilities,
                 struct arrival_terms *terms, struct error **err)
{
    CLEANUP_FREE char *claim = text_format("arriving from %s", a->peer_name);
    a->vm = vm_receive(a->context->vms, domain, claim, a->wake_fd, err);
    if (!a->vm)
        return -1;
    if (fault_point(FAULT_DESTINATION_QEMU_STARTED, err) < 0 ||
        ready_qemu(a, capabilities, terms, err) < 0)
        goto undo;
    await_dictionary(a);
    if (fault_point(FAULT_DESTINATION_READY, err) == 0 &&
        migrate_thread_start(a->context, arrival_thread, a, err) == 0)
        return 0;
undo:
    vm_end_unused(a->vm, NULL);
    vm_release(a->vm);
    return -1;
}

/* The job counts among those that memory is reserved for, so that two that are prepared at the same
 * time cannot both have the last of it. */
static int reserve_memory(struct arrival *a, const json_t *parameters, const char *uuid,
                          struct arrival_terms *terms, struct error **err)
{
    uint64_t available;
    if (check_memory_available(a->context, &available, err) < 0)
        return -1;
    if (available == 0)
        return error_set(err, ERROR_SYSTEM, "memory ran out since the plan was made");
    a->slots = data_link_slots_granted(json_opt_int(parameters, "slots", 0), available);
    *terms = (struct arrival_terms){.connections = a->connections, .slots = a->slots};
    keeper_make_room(a->context->keeper, arrival_reserved_memory(a->context), uuid);
    return 0;
}

/* What is known of the VM here already is looked for while its QEMU starts. */
static int begin_dictionary(struct arrival *a, const struct domain *domain, const char *key,
                            struct error **err)
{
    if (!key)
        return 0;
    return known_pages_begin(a->context->vms, a->context->keeper, &a->context->known_pages, domain,
                             key, &a->dictionary, err);
}

int arrival_prepare(struct migrate_context *context, const struct store_host *peer,
                    const json_t *parameters, struct arrival_terms *terms, struct error **err)
{
    uint8_t id[16];
    if (fault_point(FAULT_DESTINATION_PREPARE, err) < 0)
        return -1;
    const char *job, *xml, *key = json_opt_string(parameters, "verify_key", NULL);
    if (json_need_string(parameters, "job", &job, err) < 0 ||
        json_need_string(parameters, "xml", &xml, err) < 0 || job_id_to_bytes(job, id, err) < 0)
        return -1;
    struct domain *domain = domain_parse(xml, strlen(xml), err);
    if (!domain)
        return -1;
    struct arrival *a = arrival_new(context, peer, job, parameters);
    a->memory = domain->memory;
    if (arrival_enter(a, err) < 0) { /* from here on an abort finds it */
        domain_free(domain);
        arrival_put(a);
        return -1;
    }
    if ((key && !(a->key = verify_key_parse(key, err))) || mark_boot_id(a->boot_id, err) < 0 ||
        reserve_memory(a, parameters, domain->uuid, terms, err) < 0 ||
        begin_dictionary(a, domain, json_opt_string(parameters, "dictionary_key", NULL), err) < 0 ||
        write_journal(a, domain, err) < 0) {
        domain_free(domain);
    } else if (begin(a, domain, json_object_get(parameters, "capabilities"), terms, err) == 0) {
        return 0;
    }
    /* A write that failed may have come to the disk all the same. */
    journal_delete(context->store, job, false, NULL);
    arrival_finish(a);
    return -1;
}

int arrival_resume(struct migrate_context *context, const struct journal_entry *entry,
                   struct error **err)
{
    const struct store_host peer = {.name = entry->peer_name,
                                    .fingerprint = entry->peer_fingerprint};
    struct vm *vm =
        vm_place(context->vms, entry->name, entry->uuid, "being recovered after a restart", err);
    if (!vm)
        return -1;
    struct arrival *a = arrival_new(context, &peer, entry->job, entry->options);
    a->definition = text_copy(json_opt_string(entry->options, "definition", NULL));
    snprintf(a->boot_id, sizeof(a->boot_id), "%s", json_opt_string(entry->options, "boot_id", ""));
    a->owner = entry->state == JOURNAL_OWNER;
    a->vm = vm;
    if (arrival_enter(a, err) == 0 &&
        migrate_thread_start(context, arrival_resumed_thread, a, err) == 0)
        return 0;
    vm_release(vm);
    arrival_finish(a);
    return -1;
}
