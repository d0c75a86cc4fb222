/* SPDX-License-Identifier: Apache-2.0 */
/* domain_same_hardware: what a guest can see must stay, the rest may change. */
#include <string.h>

#include "base/text.h"
#include "domain/test_support.h"

/* The assigned XML of testdata/NAME with every `old` replaced by `new`. */
static char *edited(const char *name, const char *old, const char *new)
{
    CLEANUP_DOMAIN struct domain *domain = support_assigned(name);
    CLEANUP_FREE char *xml = domain_format(domain);
    struct text text = {0};
    const char *rest = xml, *found = NULL;
    if (!strstr(xml, old))
        fail_msg("'%s' is not in %s", old, name);
    while ((found = strstr(rest, old))) {
        text_append_bytes(&text, rest, (size_t)(found - rest));
        text_append(&text, "%s", new);
        rest = found + strlen(old);
    }
    text_append(&text, "%s", rest);
    return text.data;
}

/* NULL when both are the same to the guest, else the message. */
static char *compare(const char *name, const char *old, const char *new)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_DOMAIN struct domain *from = support_assigned(name);
    CLEANUP_FREE char *xml = edited(name, old, new);
    CLEANUP_DOMAIN struct domain *to = support_parse(xml);
    assert_ok(domain_assign(to, &support_host, &err), err);
    if (domain_same_hardware(from, to, &err) == 0)
        return NULL;
    assert_int_equal(err->kind, ERROR_INVALID);
    return STEAL(err->message);
}

static const struct {
    const char *name, *old, *new, *finding;
} differences[] = {
    {"q35-running.xml", "pc-q35-7.2", "pc-q35-7.1",
     "line 17, column 3: <os>: machine is 'pc-q35-7.1', was 'pc-q35-7.2'"},
    {"q35-running.xml", ">2097152<", ">1048576<",
     "line 1, column 1: <domain>: memory is '1073741824 bytes', was '2147483648 bytes'"},
    {"q35-running.xml", "type='kvm'", "type='qemu'", "<domain>: type is 'qemu', was 'kvm'"},
    {"q35-running.xml", "6a1f3b9e", "6a1f3b9f", "<domain>: uuid is '6a1f3b9f-"},
    {"q35-running.xml", "name='vmx'", "name='svm'",
     "line 26, column 3: <cpu>: vmx is not given, was 'on'"},
    {"q35-running.xml", "name='vmx'", "name='svm'",
     "line 30, column 5: <cpu>: svm is 'on', was not given"},
    {"q35-running.xml", "Skylake-Server-IBRS", "Skylake-Client", "<cpu>: model is"},
    {"q35-running.xml", "cores='2' threads='1'", "cores='1' threads='2'", "<cpu>: cores is"},
    {"q35-running.xml", "<vmport state='off'/>", "", "<features>: vmport is not given, was 'off'"},
    {"q35-running.xml", "name='hpet' present='no'", "name='hpet' present='yes'",
     "line 36, column 5: <features>: hpet is 'on', was 'off'"},
    {"q35-running.xml", "offset='utc'", "offset='localtime'", "clock in local time"},
    {"q35-running.xml", "WEB01-ROOT", "WEB02-ROOT",
     "line 47, column 5: <disk> vda: serial is 'WEB02-ROOT', was 'WEB01-ROOT'"},
    {"q35-running.xml", "cache='none'", "cache='directsync'", "<disk> vda: write cache is 'off'"},
    {"q35-running.xml", "dev='vda'", "dev='vdb'", "<disk> vda: is missing\n"},
    {"q35-running.xml", "dev='vda'", "dev='vdb'", "<disk> vdb: is new"},
    {"q35-running.xml", "bus='0x06' slot='0x00'", "bus='0x00' slot='0x08'",
     "<rng> 1: PCI address is '00:08.0', was '06:00.0'"},
    {"q35-running.xml", "52:54:00:8c:12:01", "52:54:00:8c:12:02",
     "line 118, column 5: <interface> 1: MAC address is '52:54:00:8c:12:02'"},
    {"q35-running.xml", "<boot dev='hd'/>", "<boot dev='network'/>",
     "<interface> 1: boot ROM is 'on', was not given"},
    {"q35-running.xml", "port='0x15'", "port='0x16'", "<controller> pci 6: port is '22', was '21'"},
    {"q35-running.xml", "qemu-xhci", "nec-xhci", "<controller> usb 0: model is 'nec-xhci'"},
    {"q35-running.xml", "org.qemu.guest_agent.0' state", "org.qemu.guest_agent.1' state",
     "<channel> 0.1: name is"},
    {"q35-running.xml", "model type='virtio' heads='1'", "model type='vga' heads='1'",
     "<video>: model is 'vga', was 'virtio'"},
    {"q35-running.xml", "<input type='tablet'", "<input type='keyboard'", "<input> 1: type is"},
    {"q35-running.xml", "model='itco'", "model='i6300esb'", "<watchdog> itco: is missing"},
    {"qemu-q35.xml", "bits='40'", "bits='42'", "<cpu>: phys-bits is '42', was '40'"},
    {"qemu-q35.xml", "rx_queue_size='512'", "rx_queue_size='1024'", "rx_queue_size is '1024'"},
    {"qemu-q35.xml", "autodeflate='on'", "autodeflate='off'", "autodeflate is not given, was 'on'"},
    {"qemu-q35.xml", "iobase='0x505'", "iobase='0x506'", "<panic> isa: iobase is '1286'"},
    {"qemu-q35.xml", " secure='yes'", "", "<os>: secure boot is not given, was 'on'"},
    {"pc-old.xml", "<serial>D1</serial>", "", "<disk> sda: serial is not given, was 'D1'"},
    {"pc-old.xml", "<shareable/>", "<readonly/>", "<disk> sda: read-only is 'on', was not given"},
    {"pc-old.xml", "type='ethernet'", "type='user'", "<interface> 1: kind is 'user', was 'tap'"},
};

static void test_differences(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(differences); i++) {
        CLEANUP_FREE char *message =
            compare(differences[i].name, differences[i].old, differences[i].new);
        if (!message)
            fail_msg("not noticed: %s -> %s", differences[i].old, differences[i].new);
        else if (!strstr(message, differences[i].finding))
            fail_msg("%s -> %s\ngives  %s\nshould %s", differences[i].old, differences[i].new,
                     message, differences[i].finding);
    }
}

/* Each of these is a matter of the host. */
static void test_free_to_change(void **state)
{
    (void)state;
    static const struct {
        const char *name, *old, *new;
    } cases[] = {
        {"q35-running.xml", "<name>web01</name>", "<name>web02</name>"},
        {"q35-running.xml", "Web front end", "Moved"},
        {"q35-running.xml", "/var/lib/libvirt/images/", "/srv/nfs/"},
        {"q35-running.xml", "bridge='br0'", "bridge='br7'"},
        {"q35-running.xml", "dev='vnet6'", "dev='tap1'"},
        {"q35-running.xml", "/dev/pts/3", "/dev/pts/9"},
        {"q35-running.xml", "127.0.0.1", "0.0.0.0"},
        {"q35-running.xml", "name='virtio-disk0'", "name='ua-root'"},
        {"q35-running.xml", "<on_reboot>restart", "<on_reboot>destroy"},
        {"q35-running.xml", "action='reset'", "action='none'"},
        {"q35-running.xml", "discard='unmap'", "discard='ignore'"},
        {"q35-running.xml", "/usr/bin/qemu-system-x86_64", "/opt/qemu"},
        {"qemu-q35.xml", "<nosharepages/>", "<locked/>"},
        {"qemu-q35.xml", "OVMF_CODE_4M.ms.fd", "OVMF_CODE.fd"},
        {"kernel.xml", "/boot/vmlinuz, the new", "/boot/vmlinuz"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        CLEANUP_FREE char *message = compare(cases[i].name, cases[i].old, cases[i].new);
        if (message)
            fail_msg("%s -> %s\ngives %s", cases[i].old, cases[i].new, message);
    }
}

/* A device that only one side has is one difference, whatever it is made of. */
static void test_once(void **state)
{
    (void)state;
    CLEANUP_FREE char *message = compare("q35-running.xml", "dev='vda'", "dev='vdb'");
    assert_string_equal(message, "the guest would see other hardware:\n"
                                 "line 1, column 1: <disk> vda: is missing\n"
                                 "line 47, column 5: <disk> vdb: is new");
}

/* All differences in one error, by line. */
static void test_all_listed(void **state)
{
    (void)state;
    CLEANUP_FREE char *message = compare("minimal.xml", "<interface type='user'>",
                                         "<memballoon model='virtio'/><interface type='user'>");
    assert_non_null(message);
    assert_non_null(strstr(message, "the guest would see other hardware:\n"));
    assert_non_null(strstr(message, "<memballoon>: is new"));
    assert_non_null(strstr(message, "<domain>: uuid is")); /* each assignment its own */
    assert_non_null(strstr(message, "<interface> 1: MAC address is"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_differences),
        cmocka_unit_test(test_free_to_change),
        cmocka_unit_test(test_once),
        cmocka_unit_test(test_all_listed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
