# SPDX-License-Identifier: Apache-2.0
"""The three modes: what is defined and what runs, on both sides, after each kind of move."""

import itertools

from lib import guest, paths, sandbox
from lib.moving import SMALL, MoveCase, definition, traces

#: --persistent or not, --undefine-source or not.
CELLS = list(itertools.product((False, True), repeat=2))
MODES = ("--live", "--non-live")


def flags(persistent, undefine):
    return (["--persistent"] if persistent else []) + (["--undefine-source"] if undefine else [])


class ModeCase(MoveCase):
    """What holds after a move of a running VM, whatever the guest."""

    def assert_moved(self, report, source, destination, before, cell):
        """`before` is what `remember` gave; cell is (persistent, undefine)."""
        name, vm, xml, live = before
        persistent, undefine = cell
        arrived = destination.vm(name)
        self.assertEqual((report["source"], report["destination"]),
                         (source.name, destination.name))
        self.assertEqual((arrived["state"], arrived["uuid"], arrived["persistent"]),
                         ("running", vm["uuid"], persistent))
        self.assertNotIn("job", arrived)
        self.assertEqual(destination.call("DumpXml", vm=name, inactive=False)["xml"], live)
        self.assertEqual(definition(destination, name), xml if persistent else None)
        self.assertEqual(destination.qemus(), [arrived["pid"]])
        self.assertEqual(source.qemus(), [])
        if undefine:
            self.assertIsNone(source.vm(name))
        else:
            self.assert_shut_off(source, name)
            self.assertEqual(definition(source, name), xml)
        for agent, running in ((source, []), (destination, [vm["uuid"]])):
            self.assertEqual([path.name for path in (agent.run_directory / "vm").iterdir()],
                             running)
            self.assertEqual(traces(agent)["journal"], [])

    def remember(self, agent, name="vm"):
        return (name, agent.vm(name), definition(agent, name),
                agent.call("DumpXml", vm=name, inactive=False)["xml"])

    def cell(self, heart, source, destination, mode, cell):
        """One move of a VM that runs and is defined at the source and unknown elsewhere."""
        before = self.remember(source)
        report = self.move(source, destination, "vm", mode, *flags(*cell))
        self.assertEqual(report["mode"], mode.removeprefix("--"))
        self.assert_moved(report, source, destination, before, cell)
        self.assert_beats_at(heart, destination)

    def even_out(self, source, destination):
        """Makes the destination of a cell the source of the next one."""
        xml = destination.call("DumpXml", vm="vm", inactive=False)["xml"]
        if source.vm("vm"):
            source.call("Undefine", vm="vm")
        if not destination.vm("vm")["persistent"]:
            destination.define(xml)

    def matrix(self, heart, modes=MODES):
        """All cells, each the way back of the one before; the guest boots only once."""
        source, destination = self.a, self.b
        for mode, cell in itertools.product(modes, CELLS):
            with self.subTest(mode=mode, persistent=cell[0], undefine=cell[1]):
                self.cell(heart, source, destination, mode, cell)
            self.even_out(source, destination)
            source, destination = destination, source
        self.assert_sound(heart)


class BareKvm(ModeCase):
    """The bare-metal guest under KVM, slow where a KVM has to emulate each instruction."""

    slow = True

    def test_qemu_7(self):
        self.two_agents(emulator=paths.QEMU_7)
        self.matrix(self.boot(self.a, accelerator="kvm", cmdline=SMALL))

    def test_qemu_10(self):
        self.two_agents(emulator=paths.QEMU_10)
        self.matrix(self.boot(self.a, accelerator="kvm", cmdline=SMALL, machine="pc"))


class BareTcg(ModeCase):
    """The bare-metal guest under TCG."""

    def test_qemu_7(self):
        self.two_agents(emulator=paths.QEMU_7)
        self.matrix(self.boot(self.a, cmdline="mem=1 fill=1 heartbeat=20"))

    def test_qemu_10(self):
        self.two_agents()
        self.matrix(self.boot(self.a, cmdline="mem=1 fill=1 heartbeat=20"))


class LinuxTcg(ModeCase):
    """The Linux guest under TCG, which takes long to boot."""

    slow = True

    def test_qemu_7(self):
        self.two_agents(emulator=paths.QEMU_7)
        self.matrix(self.boot(self.a, make=guest.linux, cmdline="mem=4 fill=4 heartbeat=20"))

    def test_qemu_10(self):
        self.two_agents()
        self.matrix(self.boot(self.a, make=guest.linux, cmdline="mem=4 fill=4 heartbeat=20"))


class Upgrade(ModeCase):
    """From QEMU 7.2 to QEMU 10.0, under a machine type of 7.2."""

    def upgrade(self, modes, cell, **options):
        self.a = self.lab.agent("A", emulator=paths.QEMU_7)
        self.b = self.lab.agent("B", emulator=paths.QEMU_10)
        self.lab.pair()
        self.assertTrue(self.a.call("GetAgent")["emulator_version"].startswith("7.2"))
        self.assertTrue(self.b.call("GetAgent")["emulator_version"].startswith("10.0"))
        for mode in modes:
            heart = self.boot(self.a, **options)
            with self.subTest(mode=mode):
                self.cell(heart, self.a, self.b, mode, cell)
                self.assert_sound(heart)
            for agent in self.a, self.b:
                if vm := agent.vm("vm"):
                    if vm["state"] != "shut_off":
                        agent.call("Destroy", vm="vm")
                    if agent.vm("vm"):
                        agent.call("Undefine", vm="vm")

    def test_kvm_q35(self):
        self.upgrade(MODES, (True, True), accelerator="kvm", machine="pc-q35-7.2",
                     cmdline=SMALL)

    def test_kvm_pc(self):
        self.upgrade(["--live"], (False, False), accelerator="kvm", machine="pc-i440fx-7.2",
                     cmdline=SMALL)

    def test_bare_tcg(self):
        self.upgrade(MODES, (True, False), machine="pc-q35-7.2", cmdline=SMALL)

    def test_linux_tcg(self):
        self.upgrade(["--live"], (False, True), make=guest.linux, machine="pc-q35-7.2",
                     cmdline="mem=4 fill=4 heartbeat=20")


class Live(ModeCase):
    """What only a running VM shows."""

    def test_transient_ends_with_its_shutdown(self):
        self.two_agents()
        heart = self.boot(self.a)
        self.move(self.a, self.b)
        self.assert_beats_at(heart, self.b)
        self.b.cli("shutdown", "vm", "--wait", 60, json=False)
        heart.wait(lambda heart: heart.of("BYE"), 60)
        self.assertIsNone(self.b.vm("vm"))
        self.assertEqual(self.b.qemus(), [])
        self.assert_shut_off(self.a)

    def test_live_is_the_default(self):
        self.two_agents()
        self.boot(self.a)
        self.assertEqual(self.move(self.a, self.b)["mode"], "live")

    def test_a_paused_vm_arrives_paused(self):
        self.two_agents()
        heart = self.boot(self.a)
        self.a.call("Suspend", vm="vm")
        self.move(self.a, self.b)
        self.assertEqual(self.b.vm("vm")["state"], "paused")
        known = len(heart.beats)
        self.b.call("Resume", vm="vm")
        heart.wait(lambda heart: len(heart.beats) > known, 60)
        self.assertEqual({beat.source for beat in heart.beats[known:]}, {self.b.host.address})
        self.assertEqual(heart.problems(), [])

    def test_new_name(self):
        self.two_agents()
        heart = self.boot(self.a)
        uuid = self.a.vm("vm")["uuid"]
        self.move(self.a, self.b, "vm", "--name", "other", "--persistent")
        self.assert_beats_at(heart, self.b)
        self.assertIsNone(self.b.vm("vm"))
        arrived = self.b.vm("other")
        self.assertEqual((arrived["state"], arrived["uuid"], arrived["persistent"]),
                         ("running", uuid, True))
        self.assertIn("<name>other</name>", definition(self.b, "other"))
        self.assert_shut_off(self.a)
        self.assertIn("<name>vm</name>", definition(self.a, "vm"))


class ChangedXml(ModeCase):
    """--xml FILE."""

    def setUp(self):
        super().setUp()
        self.two_agents()
        self.here, self.there = (self.lab.directory / name for name in ("here", "there"))
        for path in self.here, self.there:
            path.touch()
            path.chmod(0o666)  # QEMU's user writes to them
        self.heart = self.boot(self.a, devices=f"""\
    <channel type='file'>
      <source path='{self.here}'/>
      <target type='virtio' name='org.example.log'/>
    </channel>
""")

    def changed(self, old, new):
        """A file with the VM's live XML, in which `old` is `new`."""
        xml = self.a.cli("dumpxml", "vm", json=False)
        self.assertIn(old, xml)
        path = self.lab.directory / "changed.xml"
        path.write_text(xml.replace(old, new), encoding="utf-8")
        return path

    def test_host_side_path(self):
        path = self.changed(str(self.here), str(self.there))
        self.move(self.a, self.b, "vm", "--xml", path, "--persistent")
        self.assert_beats_at(self.heart, self.b)
        self.assertIn(str(self.there), definition(self.b, "vm"))
        self.assertNotIn(str(self.here), definition(self.b, "vm"))
        self.assertIn(str(self.here), definition(self.a, "vm"))
        pid = self.b.vm("vm")["pid"]
        self.assertIn(str(self.there), sandbox.open_files(pid))
        self.assertNotIn(str(self.here), sandbox.open_files(pid))

    def test_guest_hardware(self):
        before = traces(self.a), traces(self.b)
        for old, new, named in ((">67108864<", ">134217728<", "memory"),
                                ("org.example.log", "org.example.other", "channel"),
                                (">1</vcpu>", ">2</vcpu>", "vCPUs")):
            with self.subTest(named=named):
                report = self.a.migrate("vm", "B", "--xml", self.changed(old, new))
                self.assertEqual(report["outcome"], "failed")
                self.assertIn("--xml", report["reason"])
                self.assertIn(named, report["reason"])
                self.assertIn("dumpxml vm", report["hint"])
                self.assertEqual((traces(self.a), traces(self.b)), before)
        self.move(self.a, self.b)
        self.assert_beats_at(self.heart, self.b)


class Offline(ModeCase):
    """A definition moves; nothing runs."""

    def setUp(self):
        super().setUp()
        self.two_agents()
        self.hear(self.a)
        self.xml = definition(self.a, "vm")

    def assert_report(self, report):
        self.assert_completed(report)
        self.assertEqual((report["mode"], report["ram_bytes"], report["downtime_ms"]),
                         ("offline", 0, 0))

    def test_persistent(self):
        for undefine in (False, True):
            with self.subTest(undefine=undefine):
                before = traces(self.b)["processes"]
                self.assert_report(self.a.migrate("vm", "B", "--offline", *flags(True, undefine)))
                self.assert_shut_off(self.b)
                self.assertEqual(definition(self.b, "vm"), self.xml)
                self.assertEqual(traces(self.b)["processes"], before)
                self.assertEqual(traces(self.b)["journal"] + traces(self.a)["journal"], [])
                if undefine:
                    self.assertIsNone(self.a.vm("vm"))
                else:
                    self.assert_shut_off(self.a)
                    self.b.call("Undefine", vm="vm")
        self.b.call("Start", vm="vm", paused=False)
        self.assertEqual(self.b.vm("vm")["state"], "running")

    def test_nothing_would_be_left(self):
        for options in ([], ["--undefine-source"]):
            with self.subTest(options=options):
                before = traces(self.a), traces(self.b)
                error = self.a.cli_fails("migrate", "vm", "B", "--offline", *options)
                self.assertEqual(error.status, 1)
                self.assertIn("--persistent", error.stderr)
                self.assertEqual((traces(self.a), traces(self.b)), before)

    def test_new_name_and_changed_xml(self):
        path = self.lab.directory / "changed.xml"
        path.write_text(self.xml.replace("heartbeat=20", "heartbeat=30"), encoding="utf-8")
        self.assert_report(self.a.migrate("vm", "B", "--offline", "--persistent", "--xml", path,
                                          "--name", "other"))
        self.assert_shut_off(self.b, "other")
        self.assertIn("heartbeat=30", definition(self.b, "other"))
        self.assertIsNone(self.b.vm("vm"))

    def test_nvram_goes_along(self):
        here, there = self.lab.directory / "here.fd", self.lab.directory / "there.fd"
        here.write_bytes(bytes(range(256)) * 64)
        xml = self.xml.replace(
            "<kernel>", "<loader readonly='yes' type='pflash'>/nowhere/code.fd</loader>"
            f"<nvram>{here}</nvram><kernel>").replace("<name>vm<", "<name>efi<")
        xml = "\n".join(line for line in xml.splitlines() if "<uuid>" not in line)
        self.a.define(xml)
        path = self.lab.directory / "changed.xml"
        path.write_text(definition(self.a, "efi").replace(str(here), str(there)), encoding="utf-8")
        self.assert_report(self.a.migrate("efi", "B", "--offline", "--persistent", "--xml", path))
        self.assertEqual(there.read_bytes(), here.read_bytes())
        self.assert_shut_off(self.b, "efi")
