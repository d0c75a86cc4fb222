/* SPDX-License-Identifier: Apache-2.0 */
/* Starting QEMU for a VM, listening to its monitor, and tidying up after it. */
#include <dirent.h>
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "domain/qemu_args.h"
#include "qemu/resources.h"
#include "vm/image_lock.h"
#include "vm/vm_private.h"

static void note_migration(struct vm_guest *guest, const json_t *data)
{
    snprintf(guest->migration_status, sizeof(guest->migration_status), "%s",
             json_opt_string(data, "status", "none"));
}

static void on_event(void *context, const char *name, const json_t *data, int64_t received_ns)
{
    struct vm *vm = context;
    pthread_mutex_lock(&vm->lock);
    if (strcmp(name, "STOP") == 0) {
        vm->guest.running = false;
        vm->guest.stopped_ns = received_ns;
    } else if (strcmp(name, "RESUME") == 0) {
        vm->guest.running = true;
        vm->guest.resumed_ns = received_ns;
    } else if (strcmp(name, "MIGRATION") == 0) {
        note_migration(&vm->guest, data);
    } else if (strcmp(name, "MIGRATION_PASS") == 0) {
        vm->guest.migration_pass = (int)json_opt_int(data, "pass", vm->guest.migration_pass);
    }
    pthread_mutex_unlock(&vm->lock);
    log_debug(vm->name, "QEMU event %s %s", name, json_opt_string(data, "status", ""));
    fd_event_signal(vm->changed_fd);
}

static void on_closed(void *context)
{
    struct vm *vm = context;
    pthread_mutex_lock(&vm->lock);
    vm->guest.gone = true;
    vm->guest.running = false;
    pthread_mutex_unlock(&vm->lock);
    fd_event_signal(vm->changed_fd);
    vm_host_wake(vm->host);
}

char *vm_run_directory(const struct vm_host *host, const char *uuid)
{
    return text_format("%s/vm/%s", host->run_dir, uuid);
}

static char *log_path(const struct vm *vm)
{
    return text_format("%s/log/%s.log", vm->host->state_dir, vm->name);
}

char *vm_log_tail(struct vm *vm)
{
    CLEANUP_FREE char *path = log_path(vm);
    return process_log_tail(path);
}

int vm_connect_monitor(struct vm *vm, int cancel_fd, int64_t deadline_ns, struct error **err)
{
    CLEANUP_FREE char *directory = vm_run_directory(vm->host, vm->uuid);
    CLEANUP_FREE char *monitor = text_format("%s/monitor", directory);
    const struct qmp_handler handler = {.event = on_event, .closed = on_closed, .context = vm};
    CLEANUP_JSON json_t *status = NULL, *migration = NULL;
    pthread_mutex_lock(&vm->lock);
    memset(&vm->guest, 0, sizeof(vm->guest));
    pthread_mutex_unlock(&vm->lock);
    vm->qmp = qmp_connect(monitor, &handler, cancel_fd, deadline_ns, err);
    if (!vm->qmp)
        return -1;
    if (qmp_execute(vm->qmp, "query-status", NULL, &status, err) < 0 ||
        qmp_execute(vm->qmp, "query-migrate", NULL, &migration, err) < 0) {
        qmp_close(STEAL(vm->qmp));
        return -1;
    }
    pthread_mutex_lock(&vm->lock);
    vm->guest.running = json_opt_bool(status, "running", false);
    if (!*vm->guest.migration_status)
        note_migration(&vm->guest, migration);
    pthread_mutex_unlock(&vm->lock);
    return 0;
}

int vm_reconnect(struct vm *vm, int cancel_fd, struct error **err)
{
    return vm_connect_monitor(vm, cancel_fd, clock_deadline_ns(VM_MONITOR_DEADLINE_MS), err);
}

const struct probe *vm_probe(struct vm_host *host, const struct domain *domain, struct error **err)
{
    CLEANUP_FREE char *cache = text_format("%s/cache", host->state_dir);
    const char *emulator = domain->emulator ? domain->emulator : host->emulator;
    return probe_get(emulator, domain->accelerator == DOMAIN_KVM, cache, err);
}

const struct probe *vm_default_probe(struct vm_host *host, struct error **err)
{
    CLEANUP_FREE char *cache = text_format("%s/cache", host->state_dir);
    return probe_get(host->emulator, false, cache, err);
}

static int remember_process(struct vm *vm, const struct domain *live, bool incoming,
                            struct error **err)
{
    CLEANUP_FREE char *xml = domain_format(live);
    const struct store_running running = {.uuid = vm->uuid,
                                          .name = vm->name,
                                          .xml = xml,
                                          .process = vm->process,
                                          .incoming = incoming};
    return store_running_put(vm->host->store, &running, err);
}

/* Copies the NVRAM template when the VM has no variables of its own yet. */
static int make_nvram(const struct domain *live, struct error **err)
{
    if (!live->nvram || access(live->nvram, F_OK) == 0)
        return 0;
    if (!live->nvram_template) {
        error_set(err, ERROR_NOT_FOUND, "NVRAM %s: it is missing, and the XML names no template",
                  live->nvram);
        return error_hint(err, "add template='FILE' to <nvram>, or copy the file there");
    }
    size_t size;
    CLEANUP_FREE char *data = file_read(live->nvram_template, (size_t)64 * 1024 * 1024, &size, err);
    if (!data)
        return error_prefix(err, "NVRAM template");
    return file_write_atomic(live->nvram, data, size, 0600, err);
}

/* QEMU inherits what its arguments name, and the locks on its images. */
static int run_process(struct vm *vm, const struct domain *live, bool incoming, char **argv,
                       const struct resources *resources, struct error **err)
{
    struct image_locks *locks = image_lock_all(live, incoming, err);
    if (!locks)
        return -1;
    size_t n_named, n_locks;
    const int *named = resources_fds(resources, &n_named);
    const int *locked = image_lock_fds(locks, &n_locks);
    CLEANUP_FREE int *fds = calloc(n_named + n_locks + 1, sizeof(*fds));
    CLEANUP_FREE char *log = log_path(vm);
    int result = -1;
    if (fds) {
        memcpy(fds, named, n_named * sizeof(*fds));
        memcpy(fds + n_named, locked, n_locks * sizeof(*fds));
        const struct process_start start = {.argv = argv,
                                            .user = vm->host->qemu_user,
                                            .log_path = log,
                                            .keep_fds = fds,
                                            .n_keep_fds = n_named + n_locks,
                                            .need_kvm = live->accelerator == DOMAIN_KVM};
        result = process_start(&start, &vm->process, err);
    } else {
        error_set(err, ERROR_SYSTEM, "out of memory");
    }
    image_lock_close(locks);
    return result;
}

static int start_process(struct vm *vm, const struct domain *live, bool incoming,
                         struct error **err)
{
    const struct probe *probe = vm_probe(vm->host, live, err);
    if (!probe || make_nvram(live, err) < 0)
        return -1;
    CLEANUP_FREE char *directory = vm_run_directory(vm->host, vm->uuid);
    CLEANUP_FREE char *monitor = text_format("%s/monitor", directory);
    if (file_make_directory(directory, 0700, err) < 0)
        return -1;
    struct resources *resources = resources_new();
    const struct qemu_host host = resources_host(resources);
    const struct qemu_args_options options = {
        .emulator = live->emulator ? live->emulator : vm->host->emulator,
        .version = probe_version(probe),
        .monitor_path = monitor,
        .run_directory = directory,
        .incoming = incoming,
    };
    char **argv = qemu_args(live, &options, &host, err);
    int result = argv ? run_process(vm, live, incoming, argv, resources, err) : -1;
    qemu_args_free(argv);
    resources_free(resources);
    return result;
}

static void remove_run_directory(struct vm *vm)
{
    CLEANUP_FREE char *path = vm_run_directory(vm->host, vm->uuid);
    DIR *directory = opendir(path);
    if (!directory)
        return;
    for (struct dirent *entry; (entry = readdir(directory));)
        if (entry->d_name[0] != '.')
            unlinkat(dirfd(directory), entry->d_name, 0);
    closedir(directory);
    rmdir(path);
}

int vm_launch(struct vm *vm, const struct domain *live, bool incoming, int cancel_fd,
              struct error **err)
{
    /* Written before the process exists too: an agent that dies in between finds it by its
     * monitor. */
    memset(&vm->process, 0, sizeof(vm->process));
    if (remember_process(vm, live, incoming, err) < 0)
        return -1;
    if (start_process(vm, live, incoming, err) < 0) {
        store_running_delete(vm->host->store, vm->uuid, NULL);
        remove_run_directory(vm);
        return error_prefix(err, "VM %s: starting QEMU", vm->name);
    }
    if (remember_process(vm, live, incoming, err) < 0 ||
        vm_connect_monitor(vm, cancel_fd, clock_deadline_ns(VM_MONITOR_DEADLINE_MS), err) < 0) {
        CLEANUP_FREE char *tail = vm_log_tail(vm);
        process_end(&vm->process, 2000, NULL);
        store_running_delete(vm->host->store, vm->uuid, NULL);
        remove_run_directory(vm);
        if (*tail)
            error_hint(err, "QEMU said: %s", tail);
        return error_prefix(err, "VM %s: starting QEMU", vm->name);
    }
    return 0;
}

void vm_ended(struct vm *vm)
{
    if (vm->qmp)
        qmp_close(STEAL(vm->qmp));
    CLEANUP_ERROR struct error *err = NULL;
    if (store_running_delete(vm->host->store, vm->uuid, &err) < 0)
        log_error(vm->name, "%s", err->message);
    remove_run_directory(vm);
    pthread_mutex_lock(&vm->lock);
    struct domain *live = STEAL(vm->live);
    memset(&vm->process, 0, sizeof(vm->process));
    memset(&vm->guest, 0, sizeof(vm->guest));
    vm->incoming = vm->in_doubt = false;
    pthread_mutex_unlock(&vm->lock);
    domain_free(live);
    vm_forget_if_empty(vm);
}
