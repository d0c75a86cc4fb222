/* SPDX-License-Identifier: Apache-2.0 */
/* The destination's part of the plan. */
#include "migrate/check.h"

#include <errno.h>
#include <pwd.h>
#include <string.h>

#include "base/file.h"
#include "base/text.h"
#include "migrate/arrival.h"
#include "migrate/cpu_facts.h"
#include "migrate/host_memory.h"
#include "migrate/disk_identity.h"

/* What QEMU takes beside guest RAM: code, device state, page tables. Measured: 40 to 90 MiB. */
#define QEMU_OVERHEAD (UINT64_C(128) << 20)

void problem_add(json_t *problems, const char *check, struct error *why)
{
    json_t *problem =
        json_pack("{s:s, s:s, s:s*}", "check", check, "message",
                  why ? why->message : "unknown problem", "hint", why ? why->hint : NULL);
    json_array_append_new(problems, problem);
    error_free(why);
}

static void check_clash(struct migrate_context *context, const struct domain *domain,
                        json_t *problems)
{
    CLEANUP_VM struct vm *same_name = vm_find(context->vms, domain->name, NULL);
    CLEANUP_VM struct vm *same_uuid = vm_find(context->vms, domain->uuid, NULL);
    struct error *err = NULL;
    if (same_name && strcasecmp(same_name->uuid, domain->uuid) != 0) {
        error_set(&err, ERROR_EXISTS, "name %s is taken by another VM, with UUID %s", domain->name,
                  same_name->uuid);
        error_hint(&err, "choose another name with --name");
        problem_add(problems, "name", STEAL(err));
    }
    if (same_uuid && strcmp(same_uuid->name, domain->name) != 0) {
        error_set(&err, ERROR_EXISTS, "UUID %s belongs to VM %s", domain->uuid, same_uuid->name);
        error_hint(&err, "undefine that VM there, if it is not needed");
        problem_add(problems, "uuid", STEAL(err));
    } else if (same_uuid && vm_state(same_uuid) != VM_SHUT_OFF) {
        error_set(&err, ERROR_EXISTS, "VM %s is there already, %s", same_uuid->name,
                  vm_state_name(vm_state(same_uuid)));
        error_hint(&err, "end the VM that runs there: a VM must never run twice");
        problem_add(problems, "uuid", STEAL(err));
    }
}

static void check_machine(struct migrate_context *context, const struct domain *domain,
                          json_t *problems)
{
    struct error *err = NULL;
    const struct probe *probe = vm_probe(context->vms, domain, &err);
    if (!probe) {
        problem_add(problems, "emulator", err);
        return;
    }
    const char *same = probe_machine(probe, domain->machine);
    if (same && strcmp(same, domain->machine) == 0)
        return;
    CLEANUP_FREE char *list = probe_machine_list(probe, 6);
    error_set(&err, ERROR_UNSUPPORTED, "machine type %s is not known to QEMU %s", domain->machine,
              probe_version_text(probe));
    error_hint(&err, "install a QEMU at least as new as the source's; this one has %s", list);
    problem_add(problems, "machine", err);
}

static void check_cpu(struct migrate_context *context, const struct domain *domain,
                      const json_t *facts, json_t *problems)
{
    struct error *err = NULL;
    if (cpu_facts_check(context->vms, domain, json_object_get(facts, "cpu_features"),
                        json_object_get(facts, "cpu_missing"), &err) < 0)
        problem_add(problems, "cpu", err);
}

static void check_accelerator(struct migrate_context *context, const struct domain *domain,
                              json_t *problems)
{
    (void)context;
    struct error *err = NULL;
    if (domain->accelerator != DOMAIN_KVM || access("/dev/kvm", F_OK) == 0)
        return;
    error_errno(&err, errno, "/dev/kvm");
    error_hint(&err, "switch virtualization on in the firmware and load the kvm module there");
    problem_add(problems, "kvm", err);
}

int check_memory_available(struct migrate_context *context, uint64_t *bytes, struct error **err)
{
    uint64_t available, total, reserved = arrival_reserved_memory(context);
    if (host_memory(&available, &total, err) < 0)
        return -1;
    available += keeper_size(context->keeper);
    *bytes = available > reserved ? available - reserved : 0;
    return 0;
}

static void check_memory(struct migrate_context *context, const struct domain *domain,
                         json_t *problems)
{
    struct error *err = NULL;
    uint64_t available = 0;
    char have[TEXT_SIZE_MAX], need[TEXT_SIZE_MAX];
    if (check_memory_available(context, &available, &err) < 0) {
        problem_add(problems, "memory", err);
    } else if (domain->memory + QEMU_OVERHEAD > available) {
        error_set(&err, ERROR_SYSTEM, "memory: the VM needs %s, %s are available",
                  text_size(domain->memory + QEMU_OVERHEAD, "", need),
                  text_size(available, "", have));
        error_hint(&err, "free memory there, or choose another host");
        problem_add(problems, "memory", err);
    }
}

static const json_t *source_disk(const json_t *facts, const char *target)
{
    size_t i;
    json_t *disk;
    json_array_foreach (json_object_get(facts, "disks"), i, disk)
        if (text_equal(json_opt_string(disk, "target", NULL), target))
            return disk;
    return NULL;
}

static void check_disks(const struct domain *domain, const json_t *facts, json_t *problems)
{
    for (size_t i = 0; i < domain->n_disks; i++) {
        struct error *err = NULL;
        const struct domain_disk *disk = &domain->disks[i];
        if (disk->source != DISK_EMPTY &&
            disk_identity_check(disk, source_disk(facts, disk->target), &err) < 0)
            problem_add(problems, "disk", err);
    }
}

static void check_files(const struct domain *domain, json_t *problems)
{
    const struct {
        const char *what, *path;
    } files[] = {
        {"kernel", domain->kernel}, {"initrd", domain->initrd}, {"loader", domain->loader}};
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        struct error *err = NULL;
        if (!files[i].path || access(files[i].path, R_OK) == 0)
            continue;
        error_errno(&err, errno, "%s %s", files[i].what, files[i].path);
        error_hint(&err, "put the same file there under that path");
        problem_add(problems, files[i].what, err);
    }
}

static int bridge_exists(const char *bridge, struct error **err)
{
    CLEANUP_FREE char *path = text_format("/sys/class/net/%s/bridge", bridge);
    if (access(path, F_OK) == 0)
        return 0;
    error_set(err, ERROR_NOT_FOUND, "bridge %s does not exist", bridge);
    return error_hint(err,
                      "create it there (`ip link add %s type bridge`), or name the one to use "
                      "with --xml",
                      bridge);
}

static void check_bridges(const struct domain *domain, json_t *problems)
{
    for (size_t i = 0; i < domain->n_interfaces; i++) {
        struct error *err = NULL;
        const struct domain_interface *interface = &domain->interfaces[i];
        if (interface->type != INTERFACE_BRIDGE)
            continue;
        if (bridge_exists(interface->bridge, &err) < 0)
            problem_add(problems, "bridge", err);
    }
}

static void check_post_copy(struct migrate_context *context, json_t *problems)
{
    struct error *err = NULL;
    if (!context->vms->qemu_user)
        return;
    CLEANUP_FREE char *allowed = file_read("/proc/sys/vm/unprivileged_userfaultfd", 16, NULL, NULL);
    if (!allowed || allowed[0] == '1')
        return;
    error_set(&err, ERROR_DENIED,
              "post-copy: QEMU runs as user %s, which may not handle page faults (userfaultfd)",
              context->vms->qemu_user);
    error_hint(&err, "`sysctl vm.unprivileged_userfaultfd=1` there allows it");
    problem_add(problems, "post-copy", err);
}

json_t *check_arrival(struct migrate_context *context, const struct domain *domain,
                      const char *mode, bool post_copy, const json_t *facts)
{
    json_t *problems = json_array();
    bool offline = strcmp(mode, "offline") == 0;
    check_clash(context, domain, problems);
    check_machine(context, domain, problems);
    check_cpu(context, domain, facts, problems);
    check_accelerator(context, domain, problems);
    check_bridges(domain, problems);
    if (offline)
        return problems;
    check_memory(context, domain, problems);
    check_disks(domain, facts, problems);
    check_files(domain, problems);
    if (post_copy)
        check_post_copy(context, problems);
    return problems;
}
