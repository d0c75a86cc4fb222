# SPDX-License-Identifier: Apache-2.0
"""libvirt on two hosts of a lab: a libvirtd each, with state of its own.

A libvirtd refuses to migrate to a host with its own UUID, so each gets a host_uuid and a host name
(a UTS namespace). Its state directories are bind mounts in a mount namespace of its own, so that
nothing of the machine's libvirt is touched.
"""

import re
import subprocess
import time
from pathlib import Path

from .contender import Contender, lines_of

LIBVIRTD = Path("/usr/sbin/libvirtd")
START = r"""
set -eu
directory=$1 name=$2 number=$3
hostname "$name"
mkdir -p "$directory"/etc "$directory"/run "$directory"/varlib "$directory"/log "$directory"/cache
cp -an /etc/libvirt/. "$directory/etc/"
mount --make-rprivate /
mount --bind "$directory/etc" /etc/libvirt
mount --bind "$directory/varlib" /var/lib/libvirt
mount --bind "$directory/log" /var/log/libvirt
mount --bind "$directory/cache" /var/cache/libvirt
cat >/etc/libvirt/libvirtd.conf <<X
unix_sock_dir = "$directory/sock"
host_uuid = "00000000-0000-4000-8000-00000000000$number"
auth_unix_rw = "none"
X
cat >/etc/libvirt/qemu.conf <<X
user = "root"
group = "root"
security_driver = "none"
remember_owner = 0
cgroup_controllers = [ ]
namespaces = [ ]
stdio_handler = "file"
X
mkdir -p "$directory/sock"
mount --bind "$directory/run" /run
exec libvirtd
"""


class Libvirt:
    """libvirtd on one host."""

    def __init__(self, host, number):
        self.host = host
        self.directory = host.directory / "libvirt"
        self.directory.mkdir()
        self.log = open(self.directory / "out", "wb")
        self.uri = f"qemu+unix:///system?socket={self.directory}/sock/libvirt-sock"
        self.process = host.popen("unshare", "-m", "--uts", "bash", "-c", START,
                                  "libvirtd", self.directory, f"host{host.name}", number,
                                  stdout=self.log, stderr=subprocess.STDOUT)
        self._wait_ready()

    def _wait_ready(self):
        for _ in range(300):  # libvirtd outside of systemd has no readiness to wait for
            if self.virsh("list", check=False).returncode == 0:
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        raise RuntimeError(f"libvirtd on {self.host.name} does not start:\n"
                           f"{(self.directory / 'out').read_text()}")

    def command(self, *words):
        """The command line `virsh WORD...` of this host."""
        return self.host.command("virsh", "-c", self.uri, *words)

    def virsh(self, *words, check=True):
        """Runs `virsh WORD...`; returns the finished process with its texts."""
        return self.host.run("virsh", "-c", self.uri, *words, check=check, capture_output=True,
                             text=True)

    def define_and_start(self, xml):
        path = self.directory / "domain.xml"
        path.write_text(xml, encoding="utf-8")
        self.virsh("define", path)
        self.virsh("start", xml.split("<name>")[1].split("<")[0])

    def version(self):
        """That of libvirtd."""
        return self.virsh("version", "--daemon").stdout.split("library: libvirt ")[1].split()[0]


class Virsh(Contender):
    """libvirtd on both hosts and `virsh migrate --live`."""

    def __init__(self, lab, name="virsh"):
        super().__init__(lab, name)
        self.hosts = {host: Libvirt(lab[host], number + 1)
                      for number, host in enumerate("AB")}
        self.count({host: libvirt.process.pid for host, libvirt in self.hosts.items()})

    def start(self, host, vm, xml):
        self.hosts[host].define_and_start(xml)

    def suspend(self, host, vm):
        self.hosts[host].virsh("suspend", vm)

    def resume(self, host, vm):
        self.hosts[host].virsh("resume", vm)

    def command(self, vm, source, destination, options):
        # --unsafe: a local directory does not count as shared storage.
        other = self.hosts[destination]
        return self.hosts[source].command("migrate", "--live", "--persistent", "--undefinesource",
                                          "--unsafe", *options, vm, other.uri, "--migrateuri",
                                          f"tcp://{other.host.address}")

    def abort(self, vm, source):
        return self.hosts[source].virsh("domjobabort", vm, check=False).returncode == 0

    def account(self, output, vm, destination):
        text = self.hosts[destination].virsh("domjobinfo", vm, "--completed").stdout
        found = re.search(r"Time elapsed:\s+(\d+) ms", text)
        return {"inside_ms": int(found[1]) if found else None, "verified": False}

    def qemu_says(self, vm):
        return sum((lines_of(libvirt.directory / "log" / "qemu" / f"{vm}.log")
                    for libvirt in self.hosts.values()), [])

    def forget(self, host):
        """libvirt keeps nothing."""

    def version(self):
        """That of libvirtd."""
        return self.hosts["A"].version()
