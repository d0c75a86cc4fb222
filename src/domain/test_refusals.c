/* SPDX-License-Identifier: Apache-2.0 */
/* What is refused, and where the message says it is. */
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "domain/test_support.h"

/* Every finding of one document, in the order of the text. */
static void test_all_at_once(void **state)
{
    (void)state;
    static const char xml[] = "<domain type='kvm' xmlns:qemu='http://x/'>\n"
                              "  <name>a/b</name>\n"
                              "  <memory unit='MiB'>64</memory>\n"
                              "  <cputune><shares>5</shares></cputune>\n"
                              "  <os firmware='efi'>\n"
                              "    <type machine='microvm'>hvm</type>\n"
                              "  </os>\n"
                              "  <devices>\n"
                              "    <sound model='ich9'/> <hostdev mode='subsystem'/>\n"
                              "    <graphics type='spice' autoport='yes'/>\n"
                              "    <rng model='virtio' new='1'>stray\n"
                              "      <backend model='random'>/dev/urandom</backend>\n"
                              "    </rng>\n"
                              "  </devices>\n"
                              "  <qemu:commandline><qemu:arg value='-x'/></qemu:commandline>\n"
                              "</domain>\n";
    CLEANUP_ERROR struct error *err = NULL;
    assert_null(domain_parse(xml, strlen(xml), &err));
    assert_int_equal(err->kind, ERROR_INVALID); /* one of them is plainly wrong */
    assert_string_equal(
        err->message,
        "line 2, column 3: <name>: 'a/b' is no name for a VM: 1 to 255 bytes, no '/', no control "
        "characters\n"
        "line 4, column 3: <cputune>: not supported within <domain>; remove it if the guest can do "
        "without\n"
        "line 5, column 7: <os>: firmware='efi' without <loader> is not supported; name the files "
        "with <loader readonly='yes' type='pflash'> and <nvram>\n"
        "line 6, column 11: <type>: machine='microvm' is not supported (known: q35, "
        "pc-q35-VERSION, pc, pc-i440fx-VERSION)\n"
        "line 9, column 5: <sound>: not supported within <devices>; remove it if the guest can do "
        "without\n"
        "line 9, column 27: <hostdev>: not supported within <devices>; remove it if the guest can "
        "do without\n"
        "line 10, column 15: <graphics>: type='spice' is not supported (known: vnc)\n"
        "line 11, column 5: <rng>: has text, where none belongs\n"
        "line 11, column 25: <rng>: attribute new='1' is not supported\n"
        "line 15, column 3: <qemu:commandline>: not supported within <domain>; remove it if the "
        "guest can do without");
}

static void test_only_unsupported(void **state)
{
    (void)state;
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_FREE char *xml = support_wrap("<tpm model='tpm-crb'/>");
    assert_null(domain_parse(xml, strlen(xml), &err));
    assert_int_equal(err->kind, ERROR_UNSUPPORTED);
}

/* A device each, on line 6 of its document; the finding that it must give. */
static const struct {
    const char *device, *finding;
} devices[] = {
    {"<disk type='network'><target dev='vda'/></disk>",
     "line 6, column 7: <disk>: type='network' is not supported (known: file, block)"},
    {"<disk type='file' device='lun'><source file='/a'/><target dev='sda'/></disk>",
     "line 6, column 19: <disk>: device='lun' is not supported"},
    {"<disk type='file'><source file='a.img'/><target dev='vda'/></disk>",
     "line 6, column 19: <source>: 'a.img' is not an absolute path"},
    {"<disk type='file'><target dev='vda'/></disk>", "line 6, column 1: <disk>: a disk needs a"},
    {"<disk type='file'><source file='/a'/></disk>", "<target> is missing"},
    {"<disk type='file'><source file='/a'/><target dev='fda'/></disk>",
     "line 6, column 46: <target>: dev='fda' is not supported"},
    {"<disk type='file'><source file='/a'/><target dev='vdaaa'/></disk>", "dev='vdaaa'"},
    {"<disk type='file' device='cdrom'><target dev='vda' bus='virtio'/></disk>",
     "a CD-ROM drive cannot be on bus virtio"},
    {"<disk type='file'><driver type='vmdk'/><source file='/a'/><target dev='vda'/></disk>",
     "line 6, column 27: <driver>: type='vmdk' is not supported (known: raw, qcow2)"},
    {"<disk type='file'><driver io='native'/><source file='/a'/><target dev='vda'/></disk>",
     "io='native' needs cache='none' or 'directsync'"},
    {"<disk type='file'><driver iothread='1'/><source file='/a'/><target dev='vda'/></disk>",
     "line 6, column 27: <driver>: attribute iothread='1' is not supported"},
    {"<disk type='file'><source file='/a'/><target dev='sda' bus='sata'/><readonly/></disk>",
     "line 6, column 68: <readonly>: a hard disk on bus sata or ide cannot be read-only"},
    {"<disk type='file'><source file='/a'/><target dev='vda'/><serial>123456789012345678901"
     "</serial></disk>",
     "is not 1 to 20 printable characters"},
    {"<disk type='file'><source file='/a'/><target dev='vda'/><mirror/></disk>",
     "<mirror>: not supported within <disk>"},
    {"<disk type='file'><source file='/a'/><target dev='vda'/></disk>\n"
     "<disk type='file'><source file='/b'/><target dev='vda'/></disk>",
     "line 7, column 1: <disk>: target 'vda' is given twice"},
    {"<disk type='file'><source file='/a'/><source file='/b'/><target dev='vda'/></disk>",
     "line 6, column 38: <source>: given more than once"},
    {"<controller type='pci' index='1' model='dmi-to-pci-bridge'/>",
     "model='dmi-to-pci-bridge' is not supported"},
    {"<controller type='pci' index='0' model='pcie-root-port'/>", "index 0 is the root"},
    {"<controller type='xenbus'/>", "type='xenbus' is not supported"},
    {"<interface type='network'><source network='default'/></interface>",
     "line 6, column 12: <interface>: type='network' is not supported: there are no libvirt "
     "networks here"},
    {"<interface type='bridge'/>", "type='bridge' needs <source bridge=...>"},
    {"<interface type='user'><mac address='01:00:5e:00:00:01'/></interface>",
     "'01:00:5e:00:00:01' is not the MAC address of one network card"},
    {"<interface type='user'><bandwidth/></interface>", "<bandwidth>: not supported"},
    {"<interface type='bridge'><source bridge='averylongbridgename'/></interface>",
     "'averylongbridgename' is no name of a bridge"},
    {"<interface type='user'><driver queues='4'/></interface>", "more than one queue"},
    {"<interface type='user'><link state='down'/></interface>", "state='down' is not supported"},
    {"<serial type='dev'><source path='/dev/ttyS0'/></serial>", "type='dev' is not supported"},
    {"<serial type='unix'><source mode='connect' path='/x'/></serial>", "mode='connect'"},
    {"<serial type='file'><source path='/x' append='off'/></serial>", "append='off'"},
    {"<serial type='tcp'><source mode='bind' host='a,b' service='1'/></serial>",
     "'a,b' is no host"},
    {"<serial type='tcp'><source mode='bind' host='a' service='65536'/></serial>",
     "service='65536' is not between 0 and 65535"},
    {"<serial type='udp'><source mode='connect' host='a'/><source mode='connect' host='b' "
     "service='1'/></serial>",
     "a second source of this mode"},
    {"<serial type='pty'/><serial type='pty'><target port='0'/></serial>",
     "serial port 0 is given twice"},
    {"<serial type='pty'/><serial type='pty'/><serial type='pty'/><serial type='pty'/>"
     "<serial type='pty'/>",
     "at most 4 serial ports"},
    {"<serial type='pty'/><console type='pty'/>\n<console type='pty'/>",
     "line 7, column 1: <console>: only the first <console> can stand for a <serial>"},
    {"<channel type='spicevmc'><target type='virtio' name='com.redhat.spice.0'/></channel>",
     "line 6, column 10: <channel>: type='spicevmc' is not supported"},
    {"<graphics type='vnc' passwd='secret'/>",
     "line 6, column 22: <graphics>: a VNC password is not supported"},
    {"<graphics type='vnc' port='80'/>", "VNC ports start at 5900"},
    {"<graphics type='vnc' listen='localhost'/>", "'localhost' is not an IP address"},
    {"<graphics type='vnc'/><graphics type='vnc'/>", "a second VNC server"},
    {"<video><model type='qxl'/></video>", "type='qxl' is not supported"},
    {"<video><model type='virtio'><acceleration accel3d='yes'/></model></video>",
     "cannot be migrated"},
    {"<input type='tablet' bus='ps2'/>", "there is no PS/2 tablet"},
    {"<input type='passthrough'/>", "type='passthrough' is not supported"},
    {"<rng model='virtio'><backend model='egd'/></rng>", "model='egd' is not supported"},
    {"<rng model='virtio'><backend model='random'>/etc/passwd</backend></rng>",
     "'/etc/passwd' is not supported (known: /dev/urandom, /dev/random)"},
    {"<watchdog model='itco' action='dump'/>", "action='dump' is not supported"},
    {"<watchdog model='itco' action='reset'/><watchdog model='i6300esb' action='none'/>",
     "QEMU has one action for all watchdogs"},
    {"<panic model='hyperv'/>", "only a domain of type='kvm' has model='hyperv'"},
    {"<memballoon/>", "attribute 'model' is missing"},
    {"<rng model='virtio'><backend model='builtin'/><alias name='-x'/></rng>", "'-x' is no alias"},
    {"<rng model='virtio'><backend model='builtin'/><address type='ccw'/></rng>",
     "type='ccw' is not supported (known: pci)"},
    {"<rng model='virtio'><backend model='builtin'/><address type='pci' slot='0x20'/></rng>",
     "line 6, column 67: <address>: slot='0x20' is not between 0 and 31"},
};

static void test_devices(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(devices); i++) {
        CLEANUP_FREE char *xml = support_wrap(devices[i].device);
        CLEANUP_FREE char *message = support_parse_error(xml);
        if (!strstr(message, devices[i].finding))
            fail_msg("%s\ngives  %s\nshould %s", devices[i].device, message, devices[i].finding);
    }
}

/* Beside the devices: an element on line 3, column 1. */
static const struct {
    const char *element, *finding;
} elements[] = {
    {"<uuid>1234</uuid>", "line 3, column 1: <uuid>: '1234' is not a UUID"},
    {"<currentMemory unit='MiB'>63</currentMemory>",
     "line 3, column 1: <currentMemory>: less than"},
    {"<vcpu>0</vcpu>", "'0' is not a number from 1 to 1024"},
    {"<vcpu current='1'>2</vcpu>", "line 3, column 7: <vcpu>: current='1'"},
    {"<vcpu cpuset='0-3'>2</vcpu>", "attribute cpuset='0-3' is not supported"},
    {"<iothreads>1</iothreads>", "<iothreads>: not supported"},
    {"<memtune/>", "<memtune>: not supported"},
    {"<maxMemory>1</maxMemory>", "<maxMemory>: not supported"},
    {"<sysinfo type='smbios'/>", "<sysinfo>: not supported"},
    {"<on_poweroff>restart</on_poweroff>", "'restart' is not supported here"},
    {"<on_poweroff>preserve</on_poweroff><on_reboot>destroy</on_reboot>",
     "'preserve' is supported"},
    {"<on_crash>coredump-destroy</on_crash>", "'coredump-destroy' is not supported here"},
    {"<clock offset='variable'/>", "offset='variable' is not supported (known: utc, localtime)"},
    {"<clock><timer name='hpet' present='maybe'/></clock>", "is neither yes/on nor no/off"},
    {"<cpu mode='maximum'/>", "mode='maximum' is not supported"},
    {"<cpu mode='custom'/>", "mode='custom' needs a <model>"},
    {"<cpu mode='custom'><model>a,b</model></cpu>", "'a,b' is no CPU model"},
    {"<cpu match='minimum'/>", "match='minimum' is not supported"},
    {"<cpu mode='host-passthrough' migratable='off'/>", "cannot be migrated"},
    {"<cpu><feature policy='forbid' name='vmx'/></cpu>", "policy='forbid' is not supported"},
    {"<cpu><feature policy='require' name='x,y'/></cpu>", "'x,y' is no CPU feature"},
    {"<cpu><topology sockets='2' cores='2' threads='1'/></cpu>",
     "sockets x dies x cores x threads is 4, but there are 1 vCPUs"},
    {"<cpu><numa><cell id='0'/></numa></cpu>", "<numa>: not supported within <cpu>"},
    {"<memoryBacking><source type='file'/></memoryBacking>", "type='file' is not supported"},
    {"<memoryBacking><access mode='shared'/></memoryBacking>", "shared memory needs"},
    {"<memoryBacking><hugepages><page size='3' unit='MiB'/></hugepages></memoryBacking>",
     "is no page size"},
    {"<pm><suspend-to-mem enabled='no'/></pm>", "needs <features> with <acpi/>"},
    {"<resource><fibrechannel appid='x'/></resource>", "<fibrechannel>: not supported"},
};

static void test_elements(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(elements); i++) {
        CLEANUP_FREE char *xml =
            text_format("<domain type='qemu'>\n<name>t</name><memory>65536</memory>\n%s\n"
                        "<os><type>hvm</type></os><devices/></domain>",
                        elements[i].element);
        CLEANUP_FREE char *message = support_parse_error(xml);
        if (!strstr(message, elements[i].finding))
            fail_msg("%s\ngives  %s\nshould %s", elements[i].element, message, elements[i].finding);
    }
}

static void test_memory(void **state)
{
    (void)state;
    static const struct {
        const char *element, *finding;
    } cases[] = {
        {"", "<memory> is missing"},
        {"<memory>0</memory>", "0 bytes is out of range"},
        {"<memory>-1</memory>", "'-1' is not a size"},
        {"<memory>1 GiB</memory>", "'1 GiB' is not a size"},
        {"<memory unit='PiB'>1</memory>", "line 2, column 23: <memory>: unit='PiB' is not known"},
        {"<memory unit='TiB'>99999999999</memory>", "'99999999999' is not a size: too large"},
        {"<memory>99999999999999999999999999</memory>", "is not a size: too large"},
        {"<memory unit='TiB'>65</memory>", "is out of range"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        CLEANUP_FREE char *xml =
            text_format("<domain type='qemu'>\n<name>t</name>%s<os><type>hvm</type></os>"
                        "<devices/></domain>",
                        cases[i].element);
        CLEANUP_FREE char *message = support_parse_error(xml);
        if (!strstr(message, cases[i].finding))
            fail_msg("%s\ngives  %s\nshould %s", cases[i].element, message, cases[i].finding);
    }
}

static void test_missing(void **state)
{
    (void)state;
    CLEANUP_FREE char *message = support_parse_error("<domain/>");
    assert_string_equal(message, "line 1, column 1: <domain>: attribute 'type' is missing\n"
                                 "line 1, column 1: <domain>: <name> is missing\n"
                                 "line 1, column 1: <domain>: <memory> is missing\n"
                                 "line 1, column 1: <domain>: <os> is missing\n"
                                 "line 1, column 1: <domain>: <devices> is missing");
}

/* Columns count characters, and positions hold far into a long document. */
static void test_positions(void **state)
{
    (void)state;
    CLEANUP_TEXT struct text xml = {0};
    text_append(&xml, "<domain type='qemu'>\r\n<name>t</name><memory>65536</memory>\n"
                      "<os><type>hvm</type></os><devices>\n");
    for (int i = 0; i < 100000; i++)
        text_append(&xml, "<!-- %d -->\n", i);
    text_append(&xml, "<!-- \xc3\xa4\xe2\x82\xac --><video a='>' \n\tb=\"'\"   c = 'x' >"
                      "<model type='none'/></video></devices></domain>");
    CLEANUP_FREE char *message = support_parse_error(xml.data);
    assert_string_equal(message,
                        "line 100004, column 19: <video>: attribute a='>' is not supported\n"
                        "line 100005, column 2: <video>: attribute b=''' is not supported\n"
                        "line 100005, column 10: <video>: attribute c='x' is not "
                        "supported");
}

static void test_many_findings(void **state)
{
    (void)state;
    CLEANUP_TEXT struct text text = {0};
    for (int i = 0; i < 250; i++)
        text_append(&text, "<tpm/>");
    CLEANUP_FREE char *xml = support_wrap(text.data);
    CLEANUP_FREE char *message = support_parse_error(xml);
    assert_non_null(strstr(message, "\nand 150 more"));
}

static char *with_metadata(const char *metadata)
{
    return text_format("<domain type='qemu'>\n<name>t</name><memory>65536</memory>\n"
                       "<metadata>\n%s\n</metadata>\n"
                       "<os><type>hvm</type></os><devices/></domain>",
                       metadata);
}

#define GROUP "<m:group xmlns:m='https://mudanza.io/xmlns/domain/1'>"

static void test_group(void **state)
{
    (void)state;
    static const struct {
        const char *metadata, *message;
    } cases[] = {
        {GROUP "</m:group>", "line 4, column 1: <m:group>: '' is no name for a group: 1 to 64 "
                             "letters, digits, '.', '_', '-'"},
        {GROUP " web </m:group>", "line 4, column 1: <m:group>: ' web ' is no name for a group: 1 "
                                  "to 64 letters, digits, '.', '_', '-'"},
        {GROUP "a</m:group>" GROUP "b</m:group>",
         "line 4, column 65: <m:group>: a VM is in one group only"},
        {GROUP "<b/>a</m:group>", "line 4, column 1: <m:group>: takes a name and nothing else"},
        {"<m:share xmlns:m='https://mudanza.io/xmlns/domain/1'/>",
         "line 4, column 1: <m:share>: not supported; of this namespace there is <group>"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        CLEANUP_FREE char *xml = with_metadata(cases[i].metadata);
        CLEANUP_FREE char *message = support_parse_error(xml);
        assert_string_equal(message, cases[i].message);
    }
    CLEANUP_FREE char *ours = with_metadata(GROUP "web-1</m:group>");
    CLEANUP_DOMAIN struct domain *grouped = support_parse(ours);
    assert_string_equal(grouped->group, "web-1");
    CLEANUP_FREE char *others = with_metadata("<group>a</group><m:group xmlns:m='x'>a</m:group>");
    CLEANUP_DOMAIN struct domain *ungrouped = support_parse(others);
    assert_null(ungrouped->group);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_at_once), cmocka_unit_test(test_only_unsupported),
        cmocka_unit_test(test_devices),     cmocka_unit_test(test_elements),
        cmocka_unit_test(test_memory),      cmocka_unit_test(test_missing),
        cmocka_unit_test(test_positions),   cmocka_unit_test(test_many_findings),
        cmocka_unit_test(test_group),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
