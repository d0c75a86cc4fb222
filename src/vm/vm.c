/* SPDX-License-Identifier: Apache-2.0 */
/* What can be done with a VM: define, start, stop, suspend, and hand over to a move. */
#include "vm/vm.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "vm/vm_private.h"

#define SHUTDOWN_GRACE_MS 10000

static enum vm_state state_locked(const struct vm *vm)
{
    if (vm->in_doubt)
        return VM_IN_DOUBT; /* also when its QEMU is gone: it may run elsewhere */
    if (!vm->live)
        return VM_SHUT_OFF;
    if (vm->incoming)
        return VM_INCOMING;
    return vm->guest.running ? VM_RUNNING : VM_PAUSED;
}

enum vm_state vm_state(struct vm *vm)
{
    LOCK_SCOPE(&vm->lock);
    return state_locked(vm);
}

const char *vm_state_name(enum vm_state state)
{
    static const char *const names[] = {[VM_SHUT_OFF] = "shut_off",
                                        [VM_RUNNING] = "running",
                                        [VM_PAUSED] = "paused",
                                        [VM_IN_DOUBT] = "in_doubt",
                                        [VM_INCOMING] = "incoming"};
    return names[state];
}

json_t *vm_describe(struct vm *vm)
{
    LOCK_SCOPE(&vm->lock);
    const struct domain *domain = vm->live ? vm->live : vm->definition;
    json_t *object = json_pack(
        "{s:s, s:s, s:s, s:b, s:s, s:i, s:I}", "name", vm->name, "uuid", vm->uuid, "state",
        vm_state_name(state_locked(vm)), "persistent", vm->definition != NULL, "accelerator",
        domain && domain->accelerator == DOMAIN_KVM ? "kvm" : "tcg", "vcpus",
        domain ? (int)domain->vcpus : 0, "memory", domain ? (json_int_t)domain->memory : 0);
    if (vm->process.pid)
        json_object_set_new(object, "pid", json_integer(vm->process.pid));
    if (vm->claim)
        json_object_set_new(object, "job", json_string(vm->claim));
    return object;
}

struct domain *vm_copy_domain(const struct domain *domain, struct error **err)
{
    CLEANUP_FREE char *xml = domain_format(domain);
    return domain_parse(xml, strlen(xml), err);
}

static const char *resolve_machine(void *context, const char *machine)
{
    return probe_machine(context, machine);
}

int vm_assign(struct vm_host *host, struct domain *domain, struct error **err)
{
    const struct probe *probe = vm_probe(host, domain, err);
    if (!probe)
        return -1;
    const struct domain_assign_host assign = {.machine = resolve_machine, .context = (void *)probe};
    return domain_assign(domain, &assign, err);
}

static int refuse_clash(struct vm_host *host, const struct domain *domain, struct error **err)
{
    LOCK_SCOPE(&host->lock);
    const struct vm *same_name = vm_lookup(host, domain->name, NULL);
    const struct vm *same_uuid = vm_lookup(host, NULL, domain->uuid);
    if (same_name && strcasecmp(same_name->uuid, domain->uuid) != 0) {
        error_set(err, ERROR_EXISTS, "VM %s: the name belongs to another VM here, with UUID %s",
                  domain->name, same_name->uuid);
        return error_hint(err, "choose another name, or undefine that VM");
    }
    if (same_uuid && strcmp(same_uuid->name, domain->name) != 0) {
        error_set(err, ERROR_EXISTS, "VM %s: its UUID %s belongs to VM %s here", domain->name,
                  domain->uuid, same_uuid->name);
        return error_hint(err, "give it another UUID (leave <uuid> out), or undefine that VM");
    }
    return 0;
}

struct vm *vm_define(struct vm_host *host, struct domain *domain, struct error **err)
{
    CLEANUP_FREE char *xml = domain_format(domain);
    if (refuse_clash(host, domain, err) < 0 ||
        store_define(host->store, domain->uuid, domain->name, xml, err) < 0) {
        domain_free(domain);
        return NULL;
    }
    pthread_mutex_lock(&host->lock);
    struct vm *vm = vm_lookup(host, NULL, domain->uuid);
    if (!vm)
        vm = vm_add(host, domain->name, domain->uuid);
    vm->references++;
    pthread_mutex_unlock(&host->lock);
    pthread_mutex_lock(&vm->lock);
    struct domain *old = vm->definition;
    vm->definition = domain;
    pthread_mutex_unlock(&vm->lock);
    domain_free(old);
    log_info(vm->name, "defined");
    return vm;
}

void vm_definition_dropped(struct vm *vm)
{
    pthread_mutex_lock(&vm->lock);
    struct domain *old = STEAL(vm->definition);
    pthread_mutex_unlock(&vm->lock);
    domain_free(old);
    vm_forget_if_empty(vm);
    log_info(vm->name, "undefined");
}

int vm_drop_definition(struct vm *vm, struct error **err)
{
    if (store_undefine(vm->host->store, vm->uuid, err) < 0)
        return -1;
    vm_definition_dropped(vm);
    return 0;
}

/* Refuses when a move has the VM. The caller holds the operation lock. */
static int refuse_claimed(struct vm *vm, struct error **err)
{
    LOCK_SCOPE(&vm->lock);
    if (!vm->claim)
        return 0;
    error_set(err, ERROR_STATE, "VM %s is %s", vm->name, vm->claim);
    if (vm->in_doubt)
        return error_hint(err,
                          "the other host may have it: `mudanza job %s` shows what it says; if it "
                          "never answers again, see `mudanza job resolve --help`",
                          vm->name);
    return error_hint(err, "wait until that is over, or end it with `mudanza abort %s`", vm->name);
}

int vm_undefine(struct vm *vm, struct error **err)
{
    LOCK_SCOPE(&vm->operation);
    if (refuse_claimed(vm, err) < 0)
        return -1;
    if (!vm->definition)
        return error_set(err, ERROR_STATE, "VM %s: it is transient: there is no definition to drop",
                         vm->name);
    return vm_drop_definition(vm, err);
}

static int set_live(struct vm *vm, struct domain *live)
{
    LOCK_SCOPE(&vm->lock);
    vm->live = live;
    return 0;
}

int vm_start(struct vm *vm, bool paused, struct error **err)
{
    LOCK_SCOPE(&vm->operation);
    if (refuse_claimed(vm, err) < 0)
        return -1;
    if (vm->live)
        return error_set(err, ERROR_STATE, "VM %s: it is %s already", vm->name,
                         vm_state_name(vm_state(vm)));
    if (!vm->definition)
        return error_set(err, ERROR_STATE, "VM %s: it is no longer defined", vm->name);
    struct domain *live = vm_copy_domain(vm->definition, err);
    if (!live)
        return -1;
    if (vm_launch(vm, live, false, -1, err) < 0) {
        domain_free(live);
        return -1;
    }
    set_live(vm, live);
    if (!paused && qmp_execute(vm->qmp, "cont", NULL, NULL, err) < 0) {
        process_end(&vm->process, 2000, NULL);
        vm_ended(vm);
        return error_prefix(err, "VM %s: starting its CPUs", vm->name);
    }
    log_info(vm->name, "started, process %d", (int)vm->process.pid);
    return 0;
}

/* Takes the operation lock's common preconditions: unclaimed and with a monitor. */
static int need_running(struct vm *vm, struct error **err)
{
    if (refuse_claimed(vm, err) < 0)
        return -1;
    if (!vm->live) {
        error_set(err, ERROR_STATE, "VM %s: it is shut off", vm->name);
        return error_hint(err, "`mudanza start %s` starts it", vm->name);
    }
    if (!vm->qmp) {
        error_set(err, ERROR_QEMU, "VM %s: its QEMU process %d does not answer", vm->name,
                  (int)vm->process.pid);
        return error_hint(err, "look at the process; `mudanza destroy %s` ends it", vm->name);
    }
    return 0;
}

static int simple_command(struct vm *vm, const char *command, struct error **err)
{
    LOCK_SCOPE(&vm->operation);
    if (need_running(vm, err) < 0)
        return -1;
    if (qmp_execute(vm->qmp, command, NULL, NULL, err) < 0)
        return error_prefix(err, "VM %s", vm->name);
    return 0;
}

int vm_shutdown(struct vm *vm, struct error **err)
{
    return simple_command(vm, "system_powerdown", err);
}

int vm_suspend(struct vm *vm, struct error **err)
{
    return simple_command(vm, "stop", err);
}

int vm_resume(struct vm *vm, struct error **err)
{
    return simple_command(vm, "cont", err);
}

static int end_within(struct vm *vm, int64_t grace_ms, struct error **err)
{
    if (vm->process.pid && process_end(&vm->process, grace_ms, err) < 0)
        return error_prefix(err, "VM %s", vm->name);
    vm_ended(vm);
    return 0;
}

int vm_end(struct vm *vm, struct error **err)
{
    return end_within(vm, SHUTDOWN_GRACE_MS, err);
}

int vm_end_unused(struct vm *vm, struct error **err)
{
    return end_within(vm, 0, err);
}

int vm_destroy(struct vm *vm, struct error **err)
{
    LOCK_SCOPE(&vm->operation);
    if (refuse_claimed(vm, err) < 0)
        return -1;
    if (!vm->live)
        return error_set(err, ERROR_STATE, "VM %s: it is shut off", vm->name);
    log_info(vm->name, "ending QEMU, as asked");
    return vm_end(vm, err);
}

char *vm_xml(struct vm *vm, bool inactive, struct error **err)
{
    LOCK_SCOPE(&vm->lock);
    const struct domain *domain = vm->live && !inactive ? vm->live : vm->definition;
    if (domain)
        return domain_format(domain);
    error_set(err, ERROR_STATE, "VM %s: it is transient and has no definition", vm->name);
    error_hint(err, "leave --inactive out to see the live configuration");
    return NULL;
}

int vm_claim(struct vm *vm, const char *claim, struct error **err)
{
    LOCK_SCOPE(&vm->operation);
    if (refuse_claimed(vm, err) < 0)
        return -1;
    pthread_mutex_lock(&vm->lock);
    vm->claim = text_copy(claim);
    pthread_mutex_unlock(&vm->lock);
    return 0;
}

void vm_release(struct vm *vm)
{
    pthread_mutex_lock(&vm->lock);
    free(STEAL(vm->claim));
    pthread_mutex_unlock(&vm->lock);
    vm_host_wake(vm->host); /* QEMU may have ended meanwhile */
}

struct vm *vm_receive(struct vm_host *host, struct domain *live, const char *claim, int cancel_fd,
                      struct error **err)
{
    pthread_mutex_lock(&host->lock);
    struct vm *vm = vm_lookup(host, live->name, live->uuid);
    if (!vm)
        vm = vm_add(host, live->name, live->uuid);
    vm->references++;
    pthread_mutex_unlock(&host->lock);
    if (vm_claim(vm, claim, err) < 0) {
        domain_free(live);
        vm_put(vm);
        return NULL;
    }
    if (vm->live || strcmp(vm->name, live->name) != 0 || strcasecmp(vm->uuid, live->uuid) != 0) {
        error_set(err, ERROR_EXISTS, "VM %s: a VM of that name or UUID is here already",
                  live->name);
    } else if (vm_launch(vm, live, true, cancel_fd, err) == 0) {
        pthread_mutex_lock(&vm->lock);
        vm->live = live;
        vm->incoming = true;
        pthread_mutex_unlock(&vm->lock);
        return vm;
    }
    domain_free(live);
    vm_forget_if_empty(vm);
    vm_release(vm);
    vm_put(vm);
    return NULL;
}

void vm_arrived(struct vm *vm)
{
    LOCK_SCOPE(&vm->lock);
    vm->incoming = false;
}

int vm_received(struct vm *vm, const char *job, const char *definition_xml, struct error **err)
{
    CLEANUP_FREE char *xml = vm->live ? domain_format(vm->live) : NULL;
    const struct store_running running = {
        .uuid = vm->uuid, .name = vm->name, .xml = xml, .process = vm->process};
    struct domain *definition = NULL;
    if (definition_xml && !(definition = domain_parse(definition_xml, strlen(definition_xml), err)))
        return -1;
    if (journal_settle(vm->host->store, job, &running, xml != NULL, definition_xml, err) < 0) {
        domain_free(definition);
        return -1;
    }
    pthread_mutex_lock(&vm->lock);
    vm->incoming = false;
    struct domain *old = definition ? vm->definition : NULL;
    if (definition)
        vm->definition = definition;
    pthread_mutex_unlock(&vm->lock);
    domain_free(old);
    vm_forget_if_empty(vm);
    return 0;
}

struct vm *vm_place(struct vm_host *host, const char *name, const char *uuid, const char *claim,
                    struct error **err)
{
    pthread_mutex_lock(&host->lock);
    struct vm *vm = vm_lookup(host, NULL, uuid);
    if (!vm)
        vm = vm_add(host, name, uuid);
    vm->references++;
    pthread_mutex_unlock(&host->lock);
    if (vm_claim(vm, claim, err) == 0)
        return vm;
    vm_put(vm);
    return NULL;
}

void vm_set_claim(struct vm *vm, const char *claim)
{
    LOCK_SCOPE(&vm->lock);
    free(vm->claim);
    vm->claim = text_copy(claim);
}

void vm_set_in_doubt(struct vm *vm, bool in_doubt)
{
    LOCK_SCOPE(&vm->lock);
    vm->in_doubt = in_doubt;
}
