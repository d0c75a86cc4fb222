/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses and the rest that is assigned once: complete, stable, and never against the XML. */
#include <string.h>

#include "base/text.h"
#include "domain/test_support.h"

/* What was assigned is in the XML: read again, nothing is left to assign. */
static void check_stable(const char *name)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_DOMAIN struct domain *domain = support_assigned(name);
    CLEANUP_FREE char *first = domain_format(domain);
    assert_ok(domain_assign(domain, &support_host, &err), err);
    CLEANUP_FREE char *second = domain_format(domain);
    assert_string_equal(first, second);
    CLEANUP_DOMAIN struct domain *again = support_parse(first);
    assert_ok(domain_assign(again, &support_host, &err), err);
    CLEANUP_FREE char *third = domain_format(again);
    assert_string_equal(first, third);
    assert_ok(domain_same_hardware(domain, again, &err), err);
}

static void test_stable(void **state)
{
    (void)state;
    static const char *const names[] = {"minimal.xml",  "q35-running.xml", "pc-old.xml",
                                        "qemu-q35.xml", "qemu-pc.xml",     "qemu-kvm.xml",
                                        "kernel.xml"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        check_stable(names[i]);
}

static void test_minimal(void **state)
{
    (void)state;
    CLEANUP_DOMAIN struct domain *domain = support_assigned("minimal.xml");
    assert_string_equal(domain->machine, "pc-q35-7.2");
    assert_int_equal(strlen(domain->uuid), 36);
    assert_int_equal(domain->uuid[14], '4');
    assert_memory_equal(domain->interfaces[0].mac, "52:54:00:", 9);
    assert_string_equal(domain->interfaces[0].alias, "net0");
    assert_string_equal(domain->disks[0].alias, "virtio-disk0");
    CLEANUP_FREE char *xml = domain_format(domain);
    CLEANUP_FREE char *uuid = text_format("  <name>tiny</name>\n  <uuid>%s</uuid>\n", domain->uuid);
    CLEANUP_FREE char *card = text_format(
        "    <interface type='user'>\n"
        "      <mac address='%s'/>\n"
        "      <model type='virtio'/>\n"
        "      <alias name='net0'/>\n"
        "      <address type='pci' domain='0x0000' bus='0x01' slot='0x00' function='0x0'/>\n"
        "    </interface>\n",
        domain->interfaces[0].mac);
    assert_non_null(strstr(xml, uuid));
    assert_non_null(strstr(xml, card));
    assert_non_null(strstr(xml, "    <controller type='pci' index='1' model='pcie-root-port'>\n"
                                "      <model name='pcie-root-port'/>\n"
                                "      <target chassis='1' port='0x10'/>\n"
                                "      <alias name='pci.1'/>\n"
                                "      <address type='pci' domain='0x0000' bus='0x00' slot='0x02' "
                                "function='0x0' multifunction='on'/>\n"));
}

/* Two domains of the same XML are two VMs. */
static void test_random(void **state)
{
    (void)state;
    CLEANUP_DOMAIN struct domain *one = support_assigned("minimal.xml");
    CLEANUP_DOMAIN struct domain *other = support_assigned("minimal.xml");
    assert_string_not_equal(one->uuid, other->uuid);
    assert_string_not_equal(one->interfaces[0].mac, other->interfaces[0].mac);
}

static const struct domain_disk *find_disk(const struct domain *domain, const char *target)
{
    for (size_t i = 0; i < domain->n_disks; i++)
        if (strcmp(domain->disks[i].target, target) == 0)
            return &domain->disks[i];
    fail_msg("no disk %s", target);
    return NULL;
}

static void test_drives(void **state)
{
    (void)state;
    CLEANUP_DOMAIN struct domain *domain = support_assigned("qemu-q35.xml");
    const struct domain_disk *seventh = find_disk(domain, "sdg");
    assert_int_equal(seventh->controller, 1);
    assert_int_equal(seventh->unit, 0);
    assert_string_equal(seventh->alias, "sata1-0-0");
    const struct domain_disk *scsi = find_disk(domain, "sdr"); /* the 18th, 15 to a controller */
    assert_int_equal(scsi->controller, 1);
    assert_int_equal(scsi->unit, 2);
    CLEANUP_FREE char *xml = domain_format(domain);
    assert_non_null(strstr(xml, "<controller type='sata' index='1'>"));
    assert_non_null(strstr(xml, "<controller type='scsi' index='1' model='virtio-scsi'>"));
}

/* Unit 7 of a SCSI bus is the controller's own. */
static void test_scsi_units(void **state)
{
    (void)state;
    CLEANUP_TEXT struct text devices = {0};
    for (const char *letter = "abcdefghijklmnop"; *letter; letter++)
        text_append(&devices,
                    "<disk type='file'><source file='/%c'/><target dev='sd%c' bus='scsi'/></disk>",
                    *letter, *letter);
    CLEANUP_FREE char *xml = support_wrap(devices.data);
    CLEANUP_DOMAIN struct domain *domain = support_parse(xml);
    assert_int_equal(domain_assign(domain, &support_host, NULL), 0);
    assert_int_equal(find_disk(domain, "sdg")->unit, 6);
    assert_int_equal(find_disk(domain, "sdh")->unit, 8);
    assert_int_equal(find_disk(domain, "sdo")->unit, 15);
    assert_int_equal(find_disk(domain, "sdp")->controller, 1);
    assert_int_equal(find_disk(domain, "sdp")->unit, 0);
}

/* libvirt's defaults on a machine of type pc. */
static void test_i440fx(void **state)
{
    (void)state;
    CLEANUP_DOMAIN struct domain *domain = support_assigned("qemu-pc.xml");
    assert_string_equal(domain->machine, "pc-i440fx-7.2");
    assert_string_equal(domain->interfaces[1].model, "rtl8139");
    assert_int_equal(domain->interfaces[1].pci.bus, 1);
    assert_int_equal(domain->interfaces[0].pci.bus, 0);
    assert_int_equal(domain->interfaces[0].pci.slot, 4); /* the bridge has 3, the video card 2 */
    CLEANUP_FREE char *xml = domain_format(domain);
    assert_non_null(strstr(xml, "<controller type='ide' index='0'>\n"
                                "      <alias name='ide'/>\n"
                                "      <address type='pci' domain='0x0000' bus='0x00' slot='0x01' "
                                "function='0x1'/>"));
    assert_non_null(strstr(xml, "<controller type='usb' index='0' model='piix3-uhci'>\n"
                                "      <alias name='usb'/>\n"
                                "      <address type='pci' domain='0x0000' bus='0x00' slot='0x01' "
                                "function='0x2'/>"));
}

#define RNG(rest) "<rng model='virtio'><backend model='builtin'/>" rest "</rng>"
#define PCI(bus, slot, function)                                                                   \
    "<address type='pci' bus='" bus "' slot='" slot "' function='" function "'/>"
#define PORT(index, slot)                                                                          \
    "<controller type='pci' index='" index                                                         \
    "' model='pcie-root-port'>" PCI("0", slot, "0") "</controller>"

/* Devices (on line 6 of a q35 domain), and why they cannot be together. */
static const struct {
    const char *devices, *finding;
} clashes[] = {
    {RNG(PCI("0", "5", "0")) "\n" RNG(PCI("0", "5", "0")),
     "line 7, column 1: <rng>: PCI address 00:05.0 is used by another device"},
    {RNG(PCI("0", "0", "0")), "00:00.0 belongs to the machine itself"},
    {RNG(PCI("0", "0x1f", "3")), "00:1f.3 belongs to the machine itself"},
    {PORT("1", "2") RNG(PCI("1", "1", "0")), "a pcie-root-port has only slot 0"},
    {PORT("1", "2") PORT("1", "3"), "pci controller 1 is given twice"},
    {PORT("1", "2") "<controller type='pci' index='2' model='pcie-root-port'>" PCI(
         "1", "0", "0") "</controller>",
     "a pcie-root-port belongs on bus 0"},
    {"<controller type='pci' index='0' model='pci-root'/>", "cannot have a 'pci-root'"},
    {"<controller type='pci' index='3' model='pci-bridge'>" PCI("3", "1", "0") "</controller>",
     "a bridge sits on a bus with a lower number"},
    {"<controller type='sata' index='0'>" PCI("0", "5", "0") "</controller>",
     "this controller is part of the machine, at 00:1f.2"},
    {"<controller type='ide' index='0'/>", "q35 has none"},
    {"<controller type='usb' index='0' model='ich9-ehci1'/>", "this model needs an <address>"},
    {"<disk type='file'><source file='/a'/><target dev='hda'/></disk>",
     "only a machine of type pc has IDE"},
    {"<disk type='file'><source file='/a'/><target dev='sda' bus='sata'/></disk>"
     "<disk type='file'><source file='/b'/><target dev='sdb' bus='sata'/>"
     "<address type='drive' unit='0'/></disk>",
     "'sdb' and 'sda' have the same drive address"},
    {"<interface type='user'><mac address='52:54:00:00:00:01'/></interface>"
     "<interface type='user'><mac address='52:54:00:00:00:01'/></interface>",
     "MAC address 52:54:00:00:00:01 is used twice"},
    {RNG("<alias name='x'/>") RNG("<alias name='x'/>"), "alias 'x' is used twice"},
    {RNG("<alias name='virtio-disk0'/>") "<disk type='file'><source file='/a'/><target "
                                         "dev='vda'/></disk>",
     "alias 'virtio-disk0' is taken by another device"},
    {"<controller type='pci' index='0' model='pcie-root'><alias name='root'/></controller>",
     "its alias can only be 'pcie.0'"},
    {"<channel type='unix'><target type='virtio' name='a'/>"
     "<address type='virtio-serial' port='0'/></channel>",
     "port 0 is for a console"},
    {"<channel type='unix'><target type='virtio' name='a'/>"
     "<address type='virtio-serial' port='31'/></channel>",
     "virtio-serial controller 0 has 31 ports"},
    {"<channel type='unix'><target type='virtio' name='a'/>"
     "<address type='virtio-serial' port='1'/></channel>"
     "<channel type='unix'><target type='virtio' name='b'/>"
     "<address type='virtio-serial' port='1'/></channel>",
     "port 1 of controller 0 is used twice"},
    {"<input type='mouse' bus='usb'><address type='usb' bus='1' port='1'/></input>",
     "there is no USB controller 1"},
    {"<input type='mouse' bus='usb'><address type='usb' bus='0' port='5'/></input>",
     "USB controller 0 has 4 ports"},
    {"<input type='mouse' bus='usb'><address type='usb' bus='0' port='1'/></input>"
     "<input type='tablet' bus='usb'><address type='usb' bus='0' port='1'/></input>",
     "USB port 1 is used twice"},
};

static void test_clashes(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(clashes); i++) {
        CLEANUP_FREE char *xml = support_wrap(clashes[i].devices);
        CLEANUP_FREE char *message = support_assign_error(xml);
        if (!strstr(message, clashes[i].finding))
            fail_msg("%s\ngives  %s\nshould %s", clashes[i].devices, message, clashes[i].finding);
    }
}

/* More devices than slots: 29 ports and bridges make room for hundreds, then it is said. */
static void test_room(void **state)
{
    (void)state;
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_TEXT struct text devices = {0};
    for (int i = 0; i < 200; i++)
        text_append(&devices, RNG("") "\n");
    CLEANUP_FREE char *xml = support_wrap(devices.data);
    CLEANUP_DOMAIN struct domain *domain = support_parse(xml);
    assert_ok(domain_assign(domain, &support_host, &err), err);
    for (int i = 0; i < 100; i++)
        text_append(&devices, RNG("") "\n");
    CLEANUP_FREE char *larger = support_wrap(devices.data);
    CLEANUP_FREE char *message = support_assign_error(larger);
    assert_non_null(strstr(message, "no free PCI slot is left for it"));
}

static void test_unknown_machine(void **state)
{
    (void)state;
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_DOMAIN struct domain *domain =
        support_parse("<domain type='kvm'><name>t</name><memory>1024</memory><os>\n"
                      "<type machine='pc-q35-99.0'>hvm</type></os><devices/></domain>");
    assert_int_equal(domain_assign(domain, &support_host, &err), -1);
    assert_int_equal(err->kind, ERROR_NOT_FOUND);
    assert_string_equal(err->message,
                        "line 2: <type>: the emulator has no machine type 'pc-q35-99.0'");
}

/* An address that names a bus without a controller gets one, as with libvirt. */
static void test_bus_is_made(void **state)
{
    (void)state;
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_FREE char *xml = support_wrap(RNG(PCI("7", "0", "0")));
    CLEANUP_DOMAIN struct domain *domain = support_parse(xml);
    assert_ok(domain_assign(domain, &support_host, &err), err);
    CLEANUP_FREE char *text = domain_format(domain);
    assert_non_null(strstr(text, "<controller type='pci' index='7' model='pcie-root-port'>"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stable),          cmocka_unit_test(test_minimal),
        cmocka_unit_test(test_random),          cmocka_unit_test(test_drives),
        cmocka_unit_test(test_scsi_units),      cmocka_unit_test(test_i440fx),
        cmocka_unit_test(test_clashes),         cmocka_unit_test(test_room),
        cmocka_unit_test(test_unknown_machine), cmocka_unit_test(test_bus_is_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
