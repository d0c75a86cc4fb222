/* SPDX-License-Identifier: Apache-2.0 */
/* <features> and <clock>: what becomes a property of the machine or of its CPUs. */
#include "domain/parse.h"

#include <inttypes.h>
#include <string.h>

#include "base/text.h"

/* A feature whose state='on|off' (on when missing) becomes PROPERTY=on|off. */
static void parse_switch(struct reader *reader, struct property_list *list, xmlNode *parent,
                         const char *element, const char *property)
{
    xmlNode *node = reader_child(reader, parent, element);
    if (node)
        model_set(list, property, reader_flag(reader, node, "state") == 0 ? "off" : "on", node);
}

static void parse_spinlocks(struct reader *reader, struct property_list *cpu, xmlNode *hyperv)
{
    xmlNode *node = reader_child(reader, hyperv, "spinlocks");
    if (!node || reader_flag(reader, node, "state") == 0)
        return;
    int64_t retries = 4095;
    reader_number(reader, node, "retries", 4095, UINT32_MAX, &retries);
    CLEANUP_FREE char *text = text_format("0x%" PRIx64, retries);
    model_set(cpu, "hv-spinlocks", text, node);
}

static void parse_vendor_id(struct reader *reader, struct property_list *cpu, xmlNode *hyperv)
{
    xmlNode *node = reader_child(reader, hyperv, "vendor_id");
    if (!node || reader_flag(reader, node, "state") == 0)
        return;
    const char *value = reader_need(reader, node, "value");
    if (!value)
        return;
    if (strlen(value) > 12 || strchr(value, ','))
        reader_fault(reader, node, "value", ERROR_INVALID,
                     "value='%s': at most 12 bytes, without a comma", value);
    else
        model_set(cpu, "hv-vendor-id", value, node);
}

static void parse_stimer(struct reader *reader, struct property_list *cpu, xmlNode *hyperv)
{
    parse_switch(reader, cpu, hyperv, "stimer", "hv-stimer");
    xmlNode *stimer = reader_peek(hyperv, "stimer");
    parse_switch(reader, cpu, stimer, "direct", "hv-stimer-direct");
}

static void parse_hyperv(struct reader *reader, struct domain *domain, xmlNode *node)
{
    static const char *const modes[] = {"custom", NULL};
    static const struct {
        const char *element, *property;
    } switches[] = {
        {"relaxed", "hv-relaxed"},
        {"vapic", "hv-vapic"},
        {"vpindex", "hv-vpindex"},
        {"runtime", "hv-runtime"},
        {"synic", "hv-synic"},
        {"reset", "hv-reset"},
        {"frequencies", "hv-frequencies"},
        {"reenlightenment", "hv-reenlightenment"},
        {"tlbflush", "hv-tlbflush"},
        {"ipi", "hv-ipi"},
        {"evmcs", "hv-evmcs"},
        {"avic", "hv-avic"},
        {"emsr_bitmap", "hv-emsr-bitmap"},
        {"xmm_input", "hv-xmm-input"},
    };
    struct property_list *cpu = &domain->private->cpu;
    if (!node)
        return;
    if (domain->accelerator != DOMAIN_KVM)
        reader_fault(reader, node, NULL, ERROR_UNSUPPORTED,
                     "only a domain of type='kvm' has Hyper-V features");
    reader_choice(reader, node, "mode", modes);
    for (size_t i = 0; i < ARRAY_SIZE(switches); i++)
        parse_switch(reader, cpu, node, switches[i].element, switches[i].property);
    parse_spinlocks(reader, cpu, node);
    parse_vendor_id(reader, cpu, node);
    parse_stimer(reader, cpu, node);
}

static void parse_kvm(struct reader *reader, struct domain *domain, xmlNode *features)
{
    struct property_list *cpu = &domain->private->cpu;
    xmlNode *kvm = reader_child(reader, features, "kvm");
    xmlNode *hidden = reader_child(reader, kvm, "hidden");
    if (hidden && reader_flag(reader, hidden, "state") == 1)
        model_set(cpu, "kvm", "off", hidden);
    parse_switch(reader, cpu, kvm, "hint-dedicated", "kvm-hint-dedicated");
    parse_switch(reader, cpu, kvm, "poll-control", "kvm-poll-control");
    parse_switch(reader, cpu, features, "pvspinlock", "kvm-pv-unhalt");
    if (kvm && domain->accelerator != DOMAIN_KVM)
        reader_fault(reader, kvm, NULL, ERROR_UNSUPPORTED,
                     "only a domain of type='kvm' has KVM features");
}

void parse_features(struct reader *reader, struct domain *domain, xmlNode *node)
{
    struct domain_private *private = domain->private;
    if (!reader_child(reader, node, "acpi"))
        model_set(&private->machine, "acpi", "off", node);
    xmlNode *apic = reader_child(reader, node, "apic");
    int eoi = reader_flag(reader, apic, "eoi");
    if (eoi >= 0)
        model_set(&private->cpu, "kvm-pv-eoi", eoi ? "on" : "off", apic);
    reader_child(reader, node, "pae"); /* every CPU that QEMU has for x86_64 has it */
    parse_hyperv(reader, domain, reader_child(reader, node, "hyperv"));
    parse_kvm(reader, domain, node);
    parse_switch(reader, &private->cpu, node, "pmu", "pmu");
    parse_switch(reader, &private->machine, node, "vmport", "vmport");
    parse_switch(reader, &private->machine, node, "smm", "smm");
    static const char *const drivers[] = {"kvm", "qemu", NULL};
    xmlNode *ioapic = reader_child(reader, node, "ioapic");
    const char *driver = reader_choice(reader, ioapic, "driver", drivers);
    if (driver && domain->accelerator != DOMAIN_KVM)
        reader_fault(reader, ioapic, "driver", ERROR_UNSUPPORTED,
                     "only a domain of type='kvm' has a choice here");
    else if (driver)
        model_set(&private->machine, "kernel_irqchip", strcmp(driver, "kvm") ? "split" : "on",
                  ioapic);
    if (private->os.loader_secure) {
        const xmlNode *smm = reader_peek(node, "smm");
        const xmlNode *loader = reader_peek(private->os.node, "loader");
        bool on = false;
        for (size_t i = 0; i < private->machine.count; i++)
            on = on || (strcmp(private->machine.items[i].name, "smm") == 0 &&
                        strcmp(private->machine.items[i].value, "on") == 0);
        if (!on)
            reader_fault(reader, smm ? smm : loader, NULL, ERROR_INVALID,
                         "<loader secure='yes'> needs <smm state='on'/>");
    }
}

static void parse_timer(struct reader *reader, struct domain *domain, xmlNode *node)
{
    static const char *const names[] = {"rtc",      "pit",         "hpet", "tsc",
                                        "kvmclock", "hypervclock", NULL};
    static const char *const rtc_ticks[] = {"catchup", "delay", NULL};
    static const char *const pit_ticks[] = {"delay", "discard", NULL};
    static const char *const tracks[] = {"guest", "wall", NULL};
    struct domain_private *private = domain->private;
    const char *name = reader_choice(reader, node, "name", names);
    if (!name)
        return;
    int present = reader_flag(reader, node, "present");
    const char *state = present == 0 ? "off" : "on";
    bool kvm = domain->accelerator == DOMAIN_KVM;
    if (strcmp(name, "rtc") == 0) {
        private->clock.rtc_tick = reader_choice(reader, node, "tickpolicy", rtc_ticks);
        private->clock.rtc_track = reader_choice(reader, node, "track", tracks);
    } else if (strcmp(name, "pit") == 0) {
        private->clock.pit_tick = reader_choice(reader, node, "tickpolicy", pit_ticks);
    } else if (strcmp(name, "hpet") == 0 && present >= 0) {
        model_set(&private->machine, "hpet", state, node);
    } else if (strcmp(name, "tsc") == 0) {
        int64_t frequency = 0;
        if (reader_number(reader, node, "frequency", 1, INT64_MAX, &frequency)) {
            CLEANUP_FREE char *text = text_format("%" PRId64, frequency);
            model_set(&private->cpu, "tsc-frequency", text, node);
        }
    } else if (strcmp(name, "kvmclock") == 0 && kvm && present >= 0) {
        model_set(&private->cpu, "kvmclock", state, node);
    } else if (strcmp(name, "hypervclock") == 0 && kvm && present >= 0) {
        model_set(&private->cpu, "hv-time", state, node);
    }
    if (present == 0 && (strcmp(name, "rtc") == 0 || strcmp(name, "pit") == 0))
        reader_fault(reader, node, "present", ERROR_UNSUPPORTED,
                     "a machine without its %s is not supported", name);
}

void parse_clock(struct reader *reader, struct domain *domain, xmlNode *node)
{
    static const char *const offsets[] = {"utc", "localtime", NULL};
    const char *offset = reader_choice(reader, node, "offset", offsets);
    domain->private->clock.localtime = text_equal(offset, "localtime");
    for (xmlNode *timer = NULL; (timer = reader_next(node, timer, "timer"));)
        parse_timer(reader, domain, timer);
}
