/* SPDX-License-Identifier: Apache-2.0 */
/* Parser and formatter: what dumpxml prints comes back as it was, and means what it says. */
#include <string.h>

#include "base/text.h"
#include "domain/test_support.h"

/* Everything that libvirt prints for a running guest, byte by byte. */
static void test_running_comes_back(void **state)
{
    (void)state;
    CLEANUP_FREE char *xml = support_read("q35-running.xml");
    CLEANUP_DOMAIN struct domain *domain = support_parse(xml);
    CLEANUP_FREE char *text = domain_format(domain);
    assert_string_equal(text, xml);
}

/* Assigned already, so that nothing is left to assign. */
static void test_assigned_comes_back(void **state)
{
    (void)state;
    CLEANUP_FREE char *xml = support_read("q35-running.xml");
    CLEANUP_DOMAIN struct domain *domain = support_assigned("q35-running.xml");
    CLEANUP_FREE char *text = domain_format(domain);
    assert_string_equal(text, xml);
}

static void test_running_fields(void **state)
{
    (void)state;
    CLEANUP_FREE char *xml = support_read("q35-running.xml");
    CLEANUP_DOMAIN struct domain *domain = support_parse(xml);
    assert_string_equal(domain->name, "web01");
    assert_string_equal(domain->title, "Web front end");
    assert_string_equal(domain->uuid, "6a1f3b9e-5f0c-4c7e-9d0a-0c1b2a3d4e5f");
    assert_string_equal(domain->emulator, "/usr/bin/qemu-system-x86_64");
    assert_string_equal(domain->machine, "pc-q35-7.2");
    assert_string_equal(domain->cpu_mode, "custom");
    assert_string_equal(domain->cpu_model, "Skylake-Server-IBRS");
    assert_int_equal(domain->accelerator, DOMAIN_KVM);
    assert_int_equal(domain->memory, UINT64_C(2) << 30);
    assert_int_equal(domain->vcpus, 2);
    assert_int_equal(domain->n_disks, 2);
    const struct domain_disk *disk = &domain->disks[0];
    assert_string_equal(disk->path, "/var/lib/libvirt/images/web01.qcow2");
    assert_string_equal(disk->format, "qcow2");
    assert_string_equal(disk->serial, "WEB01-ROOT");
    assert_string_equal(disk->cache, "none");
    assert_int_equal(disk->pci.bus, 4);
    assert_int_equal(domain->disks[1].source, DISK_EMPTY);
    assert_int_equal(domain->disks[1].device, DISK_CDROM);
    assert_true(domain->disks[1].readonly);
    assert_int_equal(domain->n_interfaces, 1);
    const struct domain_interface *interface = &domain->interfaces[0];
    assert_string_equal(interface->bridge, "br0");
    assert_string_equal(interface->mac, "52:54:00:8c:12:01");
    assert_null(interface->ifname); /* vnet6 was made up for the running guest */
    assert_int_equal(interface->line, 118);
}

static void test_old_fields(void **state)
{
    (void)state;
    CLEANUP_FREE char *xml = support_read("pc-old.xml");
    CLEANUP_DOMAIN struct domain *domain = support_parse(xml);
    assert_string_equal(domain->name, "old-b\xc3\xbcro");
    assert_int_equal(domain->memory, UINT64_C(512) << 20);
    assert_int_equal(domain->accelerator, DOMAIN_TCG);
    assert_int_equal(domain->on_reboot, DOMAIN_DESTROY);
    assert_int_equal(domain->on_crash, DOMAIN_RESTART);
    assert_int_equal(domain->disks[0].source, DISK_BLOCK);
    assert_int_equal(domain->disks[0].bus, DISK_IDE);
    assert_true(domain->disks[2].shareable);
    assert_string_equal(domain->interfaces[0].ifname, "tap-old");
    assert_string_equal(domain->interfaces[0].mac, "52:54:00:aa:00:01"); /* lower case */
}

static void test_firmware_fields(void **state)
{
    (void)state;
    CLEANUP_FREE char *xml = support_read("qemu-q35.xml");
    CLEANUP_DOMAIN struct domain *domain = support_parse(xml);
    assert_string_equal(domain->loader, "/usr/share/OVMF/OVMF_CODE_4M.ms.fd");
    assert_string_equal(domain->nvram, "/var/lib/mudanza/nvram/rich_VARS.fd");
    assert_string_equal(domain->nvram_template, "/usr/share/OVMF/OVMF_VARS_4M.ms.fd");
    assert_int_equal(domain->on_poweroff, DOMAIN_PRESERVE);
}

static void test_kernel_fields(void **state)
{
    (void)state;
    CLEANUP_FREE char *xml = support_read("kernel.xml");
    CLEANUP_DOMAIN struct domain *domain = support_parse(xml);
    assert_string_equal(domain->kernel, "/boot/vmlinuz, the new");
    assert_string_equal(domain->initrd, "/boot/initrd.img");
    assert_string_equal(domain->cmdline, "console=ttyS0 quiet,x \"a&b\"");
    assert_int_equal(domain->memory, UINT64_C(64) << 20); /* rounded up to whole MiB */
    CLEANUP_FREE char *text = domain_format(domain);
    assert_non_null(strstr(text, "<!-- a hand-written one: comments stay -->\n<domain"));
    assert_non_null(
        strstr(text, "    <!-- no address: PCI conventional, so behind a bridge -->\n"));
    assert_non_null(strstr(text, "<cmdline>console=ttyS0 quiet,x \"a&amp;b\"</cmdline>"));
}

static void test_memory_units(void **state)
{
    (void)state;
    static const struct {
        const char *element;
        uint64_t mib;
    } cases[] = {
        {"<memory>1048576</memory>", 1024},       {"<memory unit='KiB'>2048</memory>", 2},
        {"<memory unit='b'>1048577</memory>", 2}, {"<memory unit='bytes'> 1048576\n</memory>", 1},
        {"<memory unit='KB'>1000</memory>", 1},   {"<memory unit='M'>7</memory>", 7},
        {"<memory unit='MB'>100</memory>", 96},   {"<memory unit='G'>3</memory>", 3072},
        {"<memory unit='GB'>1</memory>", 954},    {"<memory unit='TiB'>1</memory>", 1048576},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        CLEANUP_FREE char *xml = text_format(
            "<domain type='kvm'><name>t</name>%s<os><type>hvm</type></os><devices/></domain>",
            cases[i].element);
        CLEANUP_DOMAIN struct domain *domain = support_parse(xml);
        assert_int_equal(domain->memory, cases[i].mib << 20);
    }
}

static void test_uuid_forms(void **state)
{
    (void)state;
    static const char xml[] =
        "<domain type='kvm'><name>t</name><uuid>6A1F3B9E5F0C4C7E-9d0a0c1b2a3d4e5f</uuid>"
        "<memory>1024</memory><os><type>hvm</type></os><devices/></domain>";
    CLEANUP_DOMAIN struct domain *domain = support_parse(xml);
    assert_string_equal(domain->uuid, "6a1f3b9e-5f0c-4c7e-9d0a-0c1b2a3d4e5f");
}

/* Characters that XML or its attributes would change come back as they were. */
static void test_characters(void **state)
{
    (void)state;
    static const char devices[] =
        "<disk type='file'><source file='/a&#10;b&apos;&quot;&lt;&gt;&amp;&#9;c'/>"
        "<target dev='vda'/></disk>";
    CLEANUP_FREE char *xml = support_wrap(devices);
    CLEANUP_DOMAIN struct domain *domain = support_parse(xml);
    assert_string_equal(domain->disks[0].path, "/a\nb'\"<>&\tc");
    CLEANUP_FREE char *text = domain_format(domain);
    assert_non_null(strstr(text, "'/a&#10;b&apos;\"&lt;&gt;&amp;&#9;c'"));
    CLEANUP_DOMAIN struct domain *again = support_parse(text);
    assert_string_equal(again->disks[0].path, domain->disks[0].path);
}

static void test_warnings(void **state)
{
    (void)state;
    CLEANUP_FREE char *xml = support_read("q35-running.xml");
    CLEANUP_DOMAIN struct domain *domain = support_parse(xml);
    const char *const *warnings = domain_warnings(domain);
    assert_string_equal(warnings[0], "line 176, column 3: <seclabel>: kept, but no label is "
                                     "applied to QEMU or the disks");
    assert_null(warnings[1]);
    CLEANUP_FREE char *quiet = support_read("minimal.xml");
    CLEANUP_DOMAIN struct domain *minimal = support_parse(quiet);
    assert_null(domain_warnings(minimal)[0]);
}

static void test_names(void **state)
{
    (void)state;
    char long_name[257] = {0};
    memset(long_name, 'x', 255);
    assert_true(domain_name_valid(long_name));
    long_name[255] = 'x';
    assert_false(domain_name_valid(long_name));
    assert_true(domain_name_valid("a b,c"));
    assert_true(domain_name_valid("..."));
    static const char *const bad[] = {"", ".", "..", "a/b", "a\nb", "\x7f"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_false(domain_name_valid(bad[i]));
}

static void test_rename(void **state)
{
    (void)state;
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_FREE char *xml = support_read("minimal.xml");
    CLEANUP_DOMAIN struct domain *domain = support_parse(xml);
    assert_ok(domain_rename(domain, "a & <b>", &err), err);
    assert_string_equal(domain->name, "a & <b>");
    CLEANUP_FREE char *text = domain_format(domain);
    assert_non_null(strstr(text, "<name>a &amp; &lt;b&gt;</name>"));
    CLEANUP_DOMAIN struct domain *again = support_parse(text);
    assert_string_equal(again->name, "a & <b>");
    assert_int_equal(domain_rename(domain, "a/b", &err), -1);
    assert_int_equal(err->kind, ERROR_INVALID);
    assert_string_equal(domain->name, "a & <b>");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_running_comes_back),
        cmocka_unit_test(test_assigned_comes_back),
        cmocka_unit_test(test_running_fields),
        cmocka_unit_test(test_old_fields),
        cmocka_unit_test(test_firmware_fields),
        cmocka_unit_test(test_kernel_fields),
        cmocka_unit_test(test_memory_units),
        cmocka_unit_test(test_uuid_forms),
        cmocka_unit_test(test_characters),
        cmocka_unit_test(test_warnings),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_rename),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
