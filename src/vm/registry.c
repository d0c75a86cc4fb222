/* SPDX-License-Identifier: Apache-2.0 */
/* The list of a host's VMs, their lifetime, and the supervisor that tidies up after QEMU. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "qemu/unblock.h"
#include "vm/vm_private.h"

static void vm_free(struct vm *vm)
{
    domain_free(vm->definition);
    domain_free(vm->live);
    close(vm->changed_fd);
    pthread_mutex_destroy(&vm->operation);
    pthread_mutex_destroy(&vm->lock);
    free(vm->claim);
    free(vm->name);
    free(vm);
}

struct vm *vm_lookup(struct vm_host *host, const char *name, const char *uuid)
{
    for (struct vm *vm = host->first; vm; vm = vm->next)
        if ((name && strcmp(vm->name, name) == 0) || (uuid && strcasecmp(vm->uuid, uuid) == 0))
            return vm;
    return NULL;
}

struct vm *vm_add(struct vm_host *host, const char *name, const char *uuid)
{
    struct vm *vm = calloc(1, sizeof(*vm));
    if (!vm)
        return NULL;
    vm->host = host;
    vm->references = 1; /* the list's own */
    vm->name = text_copy(name);
    snprintf(vm->uuid, sizeof(vm->uuid), "%s", uuid);
    vm->changed_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&vm->operation, NULL);
    pthread_mutex_init(&vm->lock, NULL);
    vm->next = host->first;
    host->first = vm;
    return vm;
}

static void unlink_locked(struct vm *vm)
{
    for (struct vm **at = &vm->host->first; *at; at = &(*at)->next)
        if (*at == vm) {
            *at = vm->next;
            vm->references--;
            return;
        }
}

void vm_forget_if_empty(struct vm *vm)
{
    LOCK_SCOPE(&vm->host->lock);
    if (!vm->definition && !vm->live)
        unlink_locked(vm); /* the caller's reference keeps it alive */
}

struct vm *vm_find(struct vm_host *host, const char *name_or_uuid, struct error **err)
{
    LOCK_SCOPE(&host->lock);
    struct vm *vm = vm_lookup(host, name_or_uuid, NULL);
    if (!vm)
        vm = vm_lookup(host, NULL, name_or_uuid);
    if (!vm) {
        error_set(err, ERROR_NOT_FOUND, "VM %s: there is none of that name or UUID", name_or_uuid);
        error_hint(err, "`mudanza list --all` shows what this host has");
        return NULL;
    }
    vm->references++;
    return vm;
}

struct vm *vm_get(struct vm *vm)
{
    LOCK_SCOPE(&vm->host->lock);
    vm->references++;
    return vm;
}

void vm_put(struct vm *vm)
{
    pthread_mutex_lock(&vm->host->lock);
    bool last = --vm->references == 0;
    pthread_mutex_unlock(&vm->host->lock);
    if (last)
        vm_free(vm);
}

static int compare_names(const void *one, const void *other)
{
    return strcmp((*(struct vm *const *)one)->name, (*(struct vm *const *)other)->name);
}

struct vm **vm_list(struct vm_host *host, size_t *count)
{
    LOCK_SCOPE(&host->lock);
    *count = 0;
    for (struct vm *vm = host->first; vm; vm = vm->next)
        (*count)++;
    struct vm **list = calloc(*count + 1, sizeof(struct vm *));
    size_t i = 0;
    for (struct vm *vm = host->first; vm && list; vm = vm->next) {
        vm->references++;
        list[i++] = vm;
    }
    if (list)
        qsort(list, i, sizeof(struct vm *), compare_names);
    *count = i;
    return list;
}

static void tidy_one(struct vm *vm)
{
    LOCK_SCOPE(&vm->operation);
    pthread_mutex_lock(&vm->lock);
    bool ended = vm->guest.gone && vm->live && !vm->claim;
    pthread_mutex_unlock(&vm->lock);
    if (!ended)
        return;
    /* The monitor closes a moment before the process is gone; its image locks go with it. */
    CLEANUP_ERROR struct error *err = NULL;
    if (process_end(&vm->process, 10000, &err) < 0)
        log_error(vm->name, "%s", err->message);
    vm_ended(vm);
    log_info(vm->name, "shut off");
}

static void *supervise(void *argument)
{
    struct vm_host *host = argument;
    CLEANUP_ERROR struct error *err = NULL;
    while (fd_wait(host->supervisor_fd, POLLIN, -1, DEADLINE_NEVER, &err) == 0) {
        fd_event_clear(host->supervisor_fd);
        if (__atomic_load_n(&host->stopping, __ATOMIC_ACQUIRE))
            break;
        size_t count;
        CLEANUP_FREE struct vm **list = vm_list(host, &count);
        for (size_t i = 0; i < count; i++) {
            tidy_one(list[i]);
            vm_put(list[i]);
        }
    }
    return NULL;
}

void vm_host_wake(struct vm_host *host)
{
    fd_event_signal(host->supervisor_fd);
}

struct vm_host *vm_host_new(struct store *store, const char *state_dir, const char *run_dir,
                            const char *emulator, const char *qemu_user, struct error **err)
{
    CLEANUP_FREE char *vms = text_format("%s/vm", run_dir);
    CLEANUP_FREE char *logs = text_format("%s/log", state_dir);
    CLEANUP_FREE char *nvram = text_format("%s/nvram", state_dir);
    CLEANUP_FREE char *cache = text_format("%s/cache", state_dir);
    if (file_make_directory(vms, 0700, err) < 0 || file_make_directory(logs, 0700, err) < 0 ||
        file_make_directory(nvram, 0700, err) < 0 || file_make_directory(cache, 0700, err) < 0)
        return NULL;
    struct vm_host *host = calloc(1, sizeof(*host));
    if (!host) {
        error_set(err, ERROR_SYSTEM, "out of memory");
        return NULL;
    }
    host->store = store;
    host->state_dir = text_copy(state_dir);
    host->run_dir = text_copy(run_dir);
    host->emulator = text_copy(emulator);
    host->qemu_user = text_copy(qemu_user);
    pthread_mutex_init(&host->lock, NULL);
    host->supervisor_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int failed = pthread_create(&host->supervisor, NULL, supervise, host);
    if (failed) {
        error_errno(err, failed, "supervisor thread");
        close(host->supervisor_fd);
        free(host);
        return NULL;
    }
    return host;
}

void vm_host_free(struct vm_host *host)
{
    if (!host)
        return;
    __atomic_store_n(&host->stopping, true, __ATOMIC_RELEASE);
    vm_host_wake(host);
    pthread_join(host->supervisor, NULL);
    while (host->first) {
        struct vm *vm = host->first;
        if (vm->qmp)
            qmp_close(STEAL(vm->qmp));
        host->first = vm->next;
        vm_put(vm);
    }
    close(host->supervisor_fd);
    pthread_mutex_destroy(&host->lock);
    free(host->state_dir);
    free(host->run_dir);
    free(host->emulator);
    free(host->qemu_user);
    free(host);
}

struct load {
    struct vm_host *host;
    struct error *error;
};

static struct domain *parse_stored(struct load *load, const char *name, const char *xml)
{
    struct domain *domain = domain_parse(xml, strlen(xml), &load->error);
    if (!domain)
        error_prefix(&load->error, "state database: VM %s", name);
    return domain;
}

static void load_definition(void *context, const char *uuid, const char *name, const char *xml)
{
    struct load *load = context;
    struct domain *domain = parse_stored(load, name, xml);
    if (!domain)
        return;
    LOCK_SCOPE(&load->host->lock);
    struct vm *vm = vm_add(load->host, name, uuid);
    vm->definition = domain;
}

static void load_running(void *context, const struct store_running *running)
{
    struct load *load = context;
    struct domain *domain = parse_stored(load, running->name, running->xml);
    if (!domain)
        return;
    LOCK_SCOPE(&load->host->lock);
    struct vm *vm = vm_lookup(load->host, NULL, running->uuid);
    if (!vm)
        vm = vm_add(load->host, running->name, running->uuid);
    vm->live = domain;
    vm->process = running->process;
    vm->incoming = running->incoming;
}

/* The agent died between starting QEMU and writing down its process: the guest never ran, so that
 * ending it loses nothing. */
static void end_half_started(struct vm *vm)
{
    if (vm_connect_monitor(vm, -1, clock_deadline_ns(VM_MONITOR_DEADLINE_MS), NULL) == 0)
        qmp_execute(vm->qmp, "quit", NULL, NULL, NULL);
    vm_ended(vm);
}

/* How long a QEMU that is well may take to answer. */
#define STUCK_MS 5000

static int reach(struct vm *vm, struct error **err)
{
    if (vm_connect_monitor(vm, -1, clock_deadline_ns(STUCK_MS), NULL) == 0)
        return 0;
    log_warning(vm->name, "its QEMU does not answer; waiting for it");
    /* One that receives loads what lies in its sockets: that may be all there is of the guest. */
    if (!vm->incoming && qemu_unblock(&vm->process, false))
        log_warning(vm->name,
                    "its QEMU stood in the last bytes of a move that its agent's end broke "
                    "off; they are dropped");
    return vm_connect_monitor(vm, -1, clock_deadline_ns(VM_MONITOR_DEADLINE_MS), err);
}

/* Takes up a QEMU that an earlier agent started, or notes that it is gone. */
static void adopt(struct vm *vm)
{
    LOCK_SCOPE(&vm->operation); /* the supervisor is there already, should QEMU end meanwhile */
    CLEANUP_ERROR struct error *err = NULL;
    if (!vm->process.pid) {
        end_half_started(vm);
        return;
    }
    CLEANUP_CLOSE int process = process_open(&vm->process, &err);
    if (process < 0 || reach(vm, &err) < 0) {
        if (process >= 0) {
            /* It lives but does not talk: not ours to kill, and not to be started a second time. */
            log_error(vm->name, "adopting process %d: %s", (int)vm->process.pid, err->message);
            return;
        }
        log_info(vm->name, "its QEMU process %d is gone", (int)vm->process.pid);
        vm_ended(vm);
        return;
    }
    log_info(vm->name, "adopted process %d, %s", (int)vm->process.pid, vm_state_name(vm_state(vm)));
}

int vm_host_load(struct vm_host *host, struct error **err)
{
    struct load load = {.host = host};
    if (store_each_definition(host->store, load_definition, &load, err) < 0 ||
        store_each_running(host->store, load_running, &load, err) < 0) {
        error_free(load.error);
        return -1;
    }
    if (load.error)
        return error_move(err, load.error);
    size_t count;
    CLEANUP_FREE struct vm **list = vm_list(host, &count);
    for (size_t i = 0; i < count; i++) {
        if (list[i]->live)
            adopt(list[i]);
        vm_put(list[i]);
    }
    return 0;
}
