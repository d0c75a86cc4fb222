/* SPDX-License-Identifier: Apache-2.0 */
/* -machine, -m, -cpu, -smp, -rtc, -boot and what they need. */
#include <inttypes.h>
#include <string.h>

#include "domain/args.h"

/* Firmware: the code read-only, the variables writable; both are RAM to the migration stream. */
static int add_flash(struct args *args, struct text *machine, struct error **err)
{
    const struct domain *domain = args->domain;
    const struct os *os = &args->private->os;
    const struct args_layer layers[] = {
        {.node = "pflash0", .path = domain->loader, .format = os->loader_format},
        {.node = "pflash1", .path = domain->nvram, .format = os->nvram_format, .writable = true},
    };
    for (size_t i = 0; i < ARRAY_SIZE(layers); i++) {
        struct args_layer layer = layers[i];
        if (!layer.path)
            continue;
        if (!layer.format)
            layer.format = "raw";
        if (args_blockdev(args, &layer, err) < 0)
            return error_prefix(err, i == 0 ? "<loader>" : "<nvram>");
        text_append(machine, ",%s=%s", layer.node, layer.node);
    }
    if (os->loader_secure)
        args_add(args, "-global", "driver=cfi.pflash01,property=secure,value=on");
    return 0;
}

static void add_power_states(struct args *args)
{
    const char *driver = model_is_q35(args->domain) ? "ICH9-LPC" : "PIIX4_PM";
    if (args->private->disable_s3 >= 0)
        args_add(args, "-global", "%s.disable_s3=%d", driver, args->private->disable_s3);
    if (args->private->disable_s4 >= 0)
        args_add(args, "-global", "%s.disable_s4=%d", driver, args->private->disable_s4);
}

int args_machine(struct args *args, struct error **err)
{
    const struct domain *domain = args->domain;
    const struct property_list *list = &args->private->machine;
    CLEANUP_TEXT struct text machine = {0};
    text_append(&machine, "%s,accel=%s,usb=off,dump-guest-core=off,memory-backend=pc.ram",
                domain->machine, domain->accelerator == DOMAIN_KVM ? "kvm" : "tcg");
    for (size_t i = 0; i < list->count; i++)
        text_append(&machine, ",%s=%s", list->items[i].name, list->items[i].value);
    if (args->private->backing.no_merge)
        text_append(&machine, ",mem-merge=off");
    if (add_flash(args, &machine, err) < 0)
        return -1;
    args_add(args, "-machine", "%s", machine.data);
    add_power_states(args);
    return 0;
}

/*
 * All RAM is one block with the name that a machine without an explicit back end gives it, so that
 * the stream of either kind loads into the other, and from 7.2 into 10.0.
 */
void args_memory(struct args *args)
{
    const struct memory_backing *backing = &args->private->backing;
    uint64_t size = args->domain->memory;
    json_t *ram = json_object();
    json_object_set_new(
        ram, "qom-type",
        json_string(backing->memfd ? "memory-backend-memfd" : "memory-backend-ram"));
    json_object_set_new(ram, "id", json_string("pc.ram"));
    json_object_set_new(ram, "size", json_integer((json_int_t)size));
    if (backing->memfd) {
        json_object_set_new(ram, "share", json_boolean(backing->shared));
        json_object_set_new(ram, "x-use-canonical-path-for-ramblock-id", json_false());
    }
    if (backing->hugepages)
        json_object_set_new(ram, "hugetlb", json_true());
    args_number(ram, "hugetlbsize", (int64_t)backing->page_size);
    if (backing->prealloc)
        json_object_set_new(ram, "prealloc", json_true());
    args_add(args, "-m", "size=%" PRIu64 "k", size / 1024);
    args_add_json(args, "-object", ram);
    args_add(args, "-overcommit", "mem-lock=%s", backing->locked ? "on" : "off");
}

/* host-model is replaced by what the host's model expands to before a guest is started or moved;
 * one that is still there means the host's CPU as it is. */
static const char *cpu_model(const struct domain *domain)
{
    if (domain->cpu_model)
        return domain->cpu_model;
    if (domain->cpu_mode)
        return domain->accelerator == DOMAIN_KVM ? "host" : "max";
    return "qemu64"; /* QEMU's default for x86_64, said aloud */
}

void args_cpu(struct args *args)
{
    const struct domain *domain = args->domain;
    const struct domain_private *private = args->private;
    const char *model = cpu_model(domain);
    CLEANUP_TEXT struct text cpu = {0};
    text_append(&cpu, "%s", model);
    if (strcmp(model, "host") == 0 || strcmp(model, "max") == 0)
        text_append(&cpu, ",migratable=on");
    if (private->cpu_vendor && domain->cpu_model)
        text_append(&cpu, ",vendor=%s", private->cpu_vendor);
    for (size_t i = 0; i < private->cpu.count; i++)
        text_append(&cpu, ",%s=%s", private->cpu.items[i].name, private->cpu.items[i].value);
    if (private->cpu_enforce)
        text_append(&cpu, ",enforce=on");
    args_add(args, "-cpu", "%s", cpu.data);
    const struct topology *topology = &private->topology;
    if (topology->sockets)
        args_add(args, "-smp", "%u,sockets=%u,dies=%u,cores=%u,threads=%u", domain->vcpus,
                 topology->sockets, topology->dies, topology->cores, topology->threads);
    else
        args_add(args, "-smp", "%u,sockets=%u,cores=1,threads=1", domain->vcpus, domain->vcpus);
}

void args_clock(struct args *args)
{
    const struct clock *clock = &args->private->clock;
    CLEANUP_TEXT struct text rtc = {0};
    text_append(&rtc, "base=%s", clock->localtime ? "localtime" : "utc");
    if (clock->rtc_track)
        text_append(&rtc, ",clock=%s", strcmp(clock->rtc_track, "guest") == 0 ? "vm" : "host");
    if (clock->rtc_tick)
        text_append(&rtc, ",driftfix=%s",
                    strcmp(clock->rtc_tick, "catchup") == 0 ? "slew" : "none");
    args_add(args, "-rtc", "%s", rtc.data);
    /* Only the timer inside KVM can lose ticks. */
    if (clock->pit_tick && args->domain->accelerator == DOMAIN_KVM)
        args_add(args, "-global", "kvm-pit.lost_tick_policy=%s", clock->pit_tick);
}

static int class_order(const struct args *args, const char *class)
{
    for (size_t i = 0; i < args->private->os.n_boot; i++)
        if (strcmp(args->private->os.boot[i], class) == 0)
            return (int)i + 1;
    return 0;
}

/* <os><boot dev> means the first device of its class. */
int args_disk_boot(const struct args *args, size_t disk)
{
    const struct domain *domain = args->domain;
    if (domain->disks[disk].boot_order)
        return domain->disks[disk].boot_order;
    enum disk_device device = domain->disks[disk].device;
    for (size_t i = 0; i < disk; i++)
        if (domain->disks[i].device == device)
            return 0;
    return class_order(args, device == DISK_CDROM ? "cdrom" : "hd");
}

int args_interface_boot(const struct args *args, size_t interface)
{
    if (args->domain->interfaces[interface].boot_order)
        return args->domain->interfaces[interface].boot_order;
    return interface == 0 ? class_order(args, "network") : 0;
}

void args_boot(struct args *args)
{
    const struct domain *domain = args->domain;
    const struct os *os = &args->private->os;
    CLEANUP_TEXT struct text boot = {0};
    text_append(&boot, "%s", os->menu ? "menu=on," : "");
    if (os->menu && os->menu_timeout >= 0)
        text_append(&boot, "splash-time=%" PRId64 ",", os->menu_timeout);
    if (os->reboot_timeout >= 0)
        text_append(&boot, "reboot-timeout=%" PRId64 ",", os->reboot_timeout);
    args_add(args, "-boot", "%sstrict=on", boot.data);
    if (domain->kernel)
        args_add(args, "-kernel", "%s", domain->kernel);
    if (domain->initrd)
        args_add(args, "-initrd", "%s", domain->initrd);
    if (domain->cmdline && *domain->cmdline)
        args_add(args, "-append", "%s", domain->cmdline);
}
