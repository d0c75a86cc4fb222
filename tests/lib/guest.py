# SPDX-License-Identifier: Apache-2.0
"""Domain XML of the test guests, as `virsh dumpxml` would write it."""

from xml.sax.saxutils import quoteattr, escape

from . import paths

MIB = 1 << 20
#: The bare-metal guest: one file that QEMU boots as a kernel.
BARE = paths.BUILD / "tests" / "guest" / "guest.elf"
#: The Linux guest: the distribution's cloud kernel and an initrd with our init.
KERNEL = paths.SETUP / "linux" / "vmlinuz"
INITRD = paths.BUILD / "tests" / "guest" / "initrd.img"


def udp_serial(where):
    """A serial port whose every byte becomes a packet to `where`: Host.listener().address."""
    address, port = where
    return f"""\
    <serial type='udp'>
      <source mode='connect' host='{address}' service='{port}'/>
      <source mode='bind' host='0.0.0.0' service='0'/>
    </serial>
"""


def file_serial(path):
    """A serial port that is written to a file."""
    return f"    <serial type='file'><source path={quoteattr(str(path))}/></serial>\n"


def disk(path, target="vda", bus="virtio", fmt="raw", cache="none", extra=""):
    """A disk in a file; bus is virtio, scsi or sata."""
    return f"""\
    <disk type='file' device='disk'>
      <driver name='qemu' type='{fmt}' cache='{cache}'/>
      <source file={quoteattr(str(path))}/>
      <target dev='{target}' bus='{bus}'/>{extra}
    </disk>
"""


def bridge(name="br0", mac=None, model="virtio"):
    """A network card in a bridge of the host."""
    address = f"\n      <mac address='{mac}'/>" if mac else ""
    return f"""\
    <interface type='bridge'>{address}
      <source bridge='{name}'/>
      <model type='{model}'/>
    </interface>
"""


def domain(name, *, kernel, initrd=None, cmdline="", devices="", accelerator="qemu",
           memory=64 * MIB, vcpus=1, machine="q35", uuid=None, cpu=None, group=None):
    """A whole domain around a directly booted kernel.

    accelerator: "kvm" or "qemu" (TCG); memory in bytes; cpu: the <cpu> element, if any;
    group: of VMs that may share pages.
    """
    initrd = f"\n    <initrd>{escape(str(paths.for_everybody(initrd)))}</initrd>" if initrd else ""
    metadata = f"""
  <metadata><mudanza:group xmlns:mudanza='https://mudanza.io/xmlns/domain/1'>{escape(group)}\
</mudanza:group></metadata>""" if group else ""
    return f"""\
<domain type='{accelerator}'>
  <name>{escape(name)}</name>{f"{chr(10)}  <uuid>{uuid}</uuid>" if uuid else ""}{metadata}
  <memory unit='bytes'>{memory}</memory>
  <vcpu>{vcpus}</vcpu>
  <os>
    <type arch='x86_64' machine='{machine}'>hvm</type>
    <kernel>{escape(str(paths.for_everybody(kernel)))}</kernel>{initrd}
    <cmdline>{escape(cmdline)}</cmdline>
  </os>
  <features><acpi/></features>{f"{chr(10)}  {cpu}" if cpu else ""}
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
{devices}  </devices>
</domain>
"""


def bare(name, *, cmdline="", devices="", accelerator="kvm", **options):
    """The bare-metal guest; see tests/guest for the words of its command line."""
    return domain(name, kernel=BARE, cmdline=cmdline, devices=devices, accelerator=accelerator,
                  **options)


def linux(name, *, cmdline="", devices="", accelerator="qemu", memory=256 * MIB, **options):
    """The Linux guest; the same words and its own ("ip=10.77.0.9/24"), without their prefix."""
    words = " ".join(f"mudanza.{word}" for word in cmdline.split())
    return domain(name, kernel=KERNEL, initrd=INITRD, cmdline=f"console=ttyS0 quiet {words}",
                  devices=devices, accelerator=accelerator, memory=memory, **options)
