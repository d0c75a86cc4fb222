# SPDX-License-Identifier: Apache-2.0
"""Agents that die and come back: VMs run on, and the agent knows again what is so."""

import os
import select
import signal
import subprocess

from lib import AgentError, VarlinkError, guest, paths, sandbox
from lib.follow import Follow
from lib.guest import MIB
from lib.moving import PATIENCE, SMALL, MoveCase, definition, journal_states, traces

#: A guest whose RAM takes 20 s at 1 MiB/s: time enough to act in the middle of the copy.
LONG = "mem=64K fill=20M heartbeat=20"


class RestartCase(MoveCase):
    """What can be said of a VM whose agent is dead."""

    def await_beats(self, heart, agent, count=5):
        """So many more heartbeats, all from one host; no agent is asked."""
        known = len(heart.beats)
        heart.wait(lambda heart: len(heart.beats) >= known + count, PATIENCE)
        self.assertEqual({beat.source for beat in heart.beats[known:]}, {agent.host.address})

    def await_end(self, agent, seconds=PATIENCE):
        """The agent ends by itself; returns its exit status."""
        return agent.process.wait(seconds)

    def await_no_qemus(self, agent):
        pidfds = [os.pidfd_open(pid) for pid in agent.qemus()]
        left = sandbox.wait_gone(pidfds, PATIENCE)
        for pidfd in pidfds:
            os.close(pidfd)
        self.assertEqual(left, set())

    def assert_back_to_start(self, heart, before_a, before_b):
        """After a failed move: the VM runs at A, B is as it was, a second attempt succeeds."""
        self.await_that(lambda: "job" not in self.a.vm("vm"), "A goes on with the move")
        self.await_that(lambda: not self.b.vm("vm"), "B keeps what arrived")
        self.await_that(lambda: not traces(self.a)["journal"], "A keeps its record")
        self.await_beats(heart, self.a)
        self.assertEqual(self.without_processes(self.a), before_a)
        self.assertEqual(self.without_processes(self.b), before_b)
        self.assertEqual(self.b.qemus(), [])
        self.move(self.a, self.b)
        self.assert_beats_at(heart, self.b)
        self.assertEqual(self.a.qemus(), [])
        self.assert_sound(heart)

    def without_processes(self, agent):
        """Traces, but for pids, which a restarted agent changes."""
        found = traces(agent)
        del found["processes"]
        return found

    def start_long_move(self, **options):
        """A and B, a VM on A and what both look like; returns its Heartbeat."""
        self.two_agents(**options)
        heart = self.boot(self.a, cmdline=LONG)
        self.before = self.without_processes(self.a), self.without_processes(self.b)
        return heart


class Adoption(RestartCase):
    """kill -9 of an agent that does nothing at the moment."""

    def everything(self, agent):
        """All that an agent tells of itself and its VMs."""
        vms = agent.call("List", all=True)["vms"]
        return (vms, {vm["name"]: (definition(agent, vm["name"]),
                                   agent.call("DumpXml", vm=vm["name"], inactive=False)["xml"])
                      for vm in vms},
                agent.call("GetAgent"), agent.call("ListHosts", probe=False))

    def test_several_vms(self):
        """A with QEMU 7.2, B with 10.0: one VM of each state, before and after."""
        self.a = self.lab.agent("A", emulator=paths.QEMU_7)
        self.b = self.lab.agent("B", emulator=paths.QEMU_10)
        self.lab.pair()
        runs = self.boot(self.a, "runs", machine="pc-q35-7.2")
        waits = self.boot(self.a, "waits", machine="pc-i440fx-7.2")
        kvm = self.boot(self.a, "kvm", accelerator="kvm", machine="pc-q35-7.2")
        self.a.call("Suspend", vm="waits")
        self.a.define(guest.bare("off"))
        before = self.everything(self.a)
        self.assertEqual([vm["state"] for vm in before[0]],
                         ["running", "shut_off", "running", "paused"])

        self.a.kill()
        self.await_beats(runs, self.a)
        self.await_beats(kvm, self.a)
        self.a.start()

        self.assertEqual(self.everything(self.a), before)
        self.a.call("Suspend", vm="runs")
        self.assertEqual(self.a.vm("runs")["state"], "paused")
        self.a.call("Resume", vm="runs")
        self.a.call("Resume", vm="waits")
        self.await_beats(runs, self.a)
        self.await_beats(waits, self.a)
        self.a.call("Destroy", vm="kvm")
        self.assert_shut_off(self.a, "kvm")
        self.a.call("Start", vm="off", paused=False)
        for name, heart in (("runs", runs), ("waits", waits)):
            self.move(self.a, self.b, name)
            self.assert_beats_at(heart, self.b)

        before = self.everything(self.b)
        self.assertEqual([(vm["state"], vm["persistent"]) for vm in before[0]],
                         [("running", False)] * 2)
        self.b.kill()
        self.await_beats(runs, self.b)
        self.b.start()
        self.assertEqual(self.everything(self.b), before)
        self.b.cli("shutdown", "waits", "--wait", 60, json=False)
        self.assertIsNone(self.b.vm("waits"))
        self.assertEqual(self.b.qemus(), [self.b.vm("runs")["pid"]])
        for heart in runs, waits, kvm:
            self.assertEqual(heart.problems(), [])

    def test_qemu_killed(self):
        """A VM whose QEMU dies is shut off, a transient one is gone: at once, or at the start."""
        self.two_agents()
        self.boot(self.a, "moved")
        self.move(self.a, self.b, "moved")
        for killed_alone in True, False:
            with self.subTest(killed_alone=killed_alone):
                if not self.b.vm("moved"):
                    self.a.call("Start", vm="moved", paused=False)
                    self.move(self.a, self.b, "moved")
                self.boot(self.b, "kept") if not self.b.vm("kept") else \
                    self.b.call("Start", vm="kept", paused=False)
                self.assertEqual(len(self.b.qemus()), 2)
                if not killed_alone:
                    self.b.kill()
                self.b.end_qemus()
                if not killed_alone:
                    self.b.start()
                self.await_that(lambda: not self.b.vm("moved"), "a transient VM stays")
                self.await_that(lambda: self.b.vm("kept")["state"] == "shut_off",
                                "it is not shut off")
                self.assert_shut_off(self.b, "kept")
                self.assertEqual(list((self.b.run_directory / "vm").iterdir()), [])

    def test_second_agent(self):
        """Two agents on one state directory would run a VM twice: the second one is refused."""
        first = self.lab.agent("A")
        first.define(guest.bare("vm"))
        words = [str(word) for word in first.words]
        run_directory = self.lab["A"].directory / "other"
        words[words.index("--run-dir") + 1] = str(run_directory)
        words[words.index("--socket") + 1] = str(run_directory / "socket")
        words[words.index("--listen") + 1] = f"{self.lab['A'].address}:16518"
        second = self.lab["A"].run(*words, check=False, capture_output=True, text=True,
                                   timeout=PATIENCE)
        self.assertEqual(second.returncode, 1)
        self.assertIn(str(first.state_directory), second.stderr)
        self.assertIn("another agent", second.stderr)
        self.assertEqual(first.vm("vm")["state"], "shut_off")


class KilledInMove(RestartCase):
    """kill -9 in the middle of a move."""

    def sockets(self, agent):
        """How many sockets QEMU has open; those of a move must not stay."""
        (pid,) = agent.qemus()
        return sum(target.startswith("socket:") for target in sandbox.open_files(pid))

    def test_source_in_copy(self):
        heart = self.start_long_move()
        sockets = self.sockets(self.a)
        with Follow(self.a, "vm", "B", bandwidth=MIB, verify=True) as move:
            move.copying()
            self.a.kill()
            move.cut_off()
        self.await_beats(heart, self.a)
        self.a.start()
        self.await_that(lambda: self.sockets(self.a) == sockets, "QEMU keeps the move's sockets")
        self.await_that(lambda: not self.b.qemus(), "B waits for a move that is void")
        self.assertIn("is undone: aborted by the source", self.b.log_tail())
        self.assert_back_to_start(heart, *self.before)

    def test_source_in_copy_qemu_7(self):
        heart = self.start_long_move(emulator=paths.QEMU_7)
        with Follow(self.a, "vm", "B", bandwidth=MIB, verify=True) as move:
            move.copying()
            self.a.kill()
        self.await_beats(heart, self.a)
        self.a.start()
        self.assert_back_to_start(heart, *self.before)

    def test_source_in_non_live_copy(self):
        """The guest stands when its agent dies; the restarted one lets it run again."""
        heart = self.start_long_move()
        with Follow(self.a, "vm", "B", bandwidth=MIB, mode="non_live") as move:
            move.copying()
            self.a.kill()
        self.a.start()
        self.assert_back_to_start(heart, *self.before)

    def test_destination_in_copy(self):
        heart = self.start_long_move()
        with Follow(self.a, "vm", "B", bandwidth=MIB, verify=True) as move:
            move.copying()
            self.b.kill()
            self.b.start()
            report = move.report()
        self.assertEqual(report["outcome"], "failed")
        self.assertIn("B", report["reason"])
        self.await_beats(heart, self.a)
        self.assertEqual(self.a.vm("vm")["state"], "running")
        self.assert_back_to_start(heart, *self.before)

    def test_both_in_copy(self):
        heart = self.start_long_move()
        with Follow(self.a, "vm", "B", bandwidth=MIB, verify=True) as move:
            move.copying()
            self.a.kill()
            self.b.kill()
        self.b.start()
        self.a.start()
        self.assert_back_to_start(heart, *self.before)

    def handover(self, victim, **options):
        """Kills an agent as soon as the handover begins; the VM then runs on exactly one host."""
        heart = self.start_long_move()
        with Follow(self.a, "vm", "B", **options) as move:
            move.phase("handover")
            victim().kill()
        victim().start()
        self.await_that(lambda: not any("job" in vm for agent in (self.a, self.b)
                                        for vm in agent.call("List", all=True)["vms"]),
                        "the move does not come to an end")
        states = [(agent.vm("vm") or {}).get("state") for agent in (self.a, self.b)]
        self.assertIn(states, (["running", None], ["shut_off", "running"]))
        here, there = (self.a, self.b) if states[0] == "running" else (self.b, self.a)
        self.assert_beats_at(heart, here)
        self.await_beats(heart, here)
        self.assertEqual((len(here.qemus()), there.qemus()), (1, []))
        self.assert_sound(heart)
        if here is self.a:
            self.move(self.a, self.b)
            self.assert_beats_at(heart, self.b)
        self.move(self.b, self.a)
        self.assert_beats_at(heart, self.a)
        self.assert_sound(heart)

    def test_source_at_handover(self):
        self.handover(lambda: self.a)

    def test_source_at_handover_verifying(self):
        self.handover(lambda: self.a, verify=True)

    def test_destination_at_handover(self):
        self.handover(lambda: self.b)


class Terminated(RestartCase):
    """SIGTERM in the middle of a move: it is undone, and its report says why."""

    def test_source_in_copy(self):
        heart = self.start_long_move()
        with Follow(self.a, "vm", "B", bandwidth=MIB, verify=True) as move:
            move.copying()
            self.a.stop()
            report = move.report()
        self.assertEqual(report["outcome"], "aborted")
        self.assertIn("agent of A was told to end", report["reason"])
        self.assertEqual(self.b.qemus(), [])
        self.await_beats(heart, self.a)
        self.a.start()
        self.assertEqual(self.a.call("GetJob", vm="vm")["report"], report)
        self.assert_back_to_start(heart, *self.before)

    def test_destination_in_copy(self):
        heart = self.start_long_move()
        with Follow(self.a, "vm", "B", bandwidth=MIB, verify=True) as move:
            move.copying()
            self.b.stop()
            report = move.report()
        self.assertEqual(report["outcome"], "failed")
        self.assertIn("host B: its agent was told to end", report["reason"])
        self.assertEqual(self.b.qemus(), [])
        self.await_beats(heart, self.a)
        self.b.start()
        self.assert_back_to_start(heart, *self.before)


class FullDisk(RestartCase):
    """No room for the state: what needs it is refused with the reason, VMs do not notice."""

    #: Gives the agent a small file system of its own for its state; it ends with the agent and
    #: its QEMUs, as it is only in their mount namespace.
    MOUNT = 'mkdir -p "$0" && mount -t tmpfs -o size=2m,mode=0700 state "$0" && exec "$@"'

    def agent_with_small_disk(self, host):
        agent = self.lab.agent(host, emulator=self.emulator)
        agent.stop()
        agent.words = ["sh", "-c", self.MOUNT, agent.state_directory, *agent.words]
        agent.start()
        return agent

    def fill(self, agent):
        """Writes to the agent's file system until nothing more fits; returns the file."""
        path = f"/proc/{agent.process.pid}/root{agent.state_directory}/fill"
        with open(path, "wb", buffering=0) as file:
            for size in (65536, 4096, 1):
                try:
                    while file.write(bytes(size)) == size:
                        pass
                except OSError:
                    pass  # full
        return path

    def big(self, name):
        """A definition that does not fit in what the database has at hand."""
        return guest.bare(name).replace(
            "<memory", f"<description>{'x' * 65536}</description><memory", 1)

    def full_and_free(self, agent):
        """Fills the disk, looks that Define is refused for it, frees it, and Define works."""
        path = self.fill(agent)
        with self.assertRaises(VarlinkError) as refused:
            agent.define(self.big("big"))
        self.assertIn("full", refused.exception.message)
        self.assertIsNone(agent.vm("big"))
        yield
        os.unlink(path)
        agent.define(self.big("big"))
        agent.call("Undefine", vm="big")
        yield

    def full_in_copy(self, victim, **options):
        """The disk fills once the move is prepared: what it has to write has its place, so that it
        completes, and the definition arrives."""
        heart = self.boot(self.a, cmdline="mem=64K fill=4M heartbeat=20")
        stored = definition(self.a, "vm")
        with Follow(self.a, "vm", "B", bandwidth=2 * MIB, persistent=True, undefine_source=True,
                    **options) as move:
            move.copying()
            path = self.fill(victim)
            with self.assertRaises(VarlinkError) as refused:
                victim.define(self.big("big"))
            self.assertIn("full", refused.exception.message)
            report = move.report()
        self.assert_completed(report)
        self.assertEqual(report["warnings"], [])
        self.assert_beats_at(heart, self.b)
        self.assertEqual(definition(self.b, "vm"), stored)
        self.assertIsNone(self.a.vm("vm"))
        self.assertEqual((self.journal(self.a), self.journal(self.b)), ([], []))
        os.unlink(path)
        self.move(self.b, self.a, "vm", "--persistent", "--undefine-source")
        self.assertEqual(definition(self.a, "vm"), stored)
        self.assertIsNone(self.b.vm("vm"))
        self.assert_beats_at(heart, self.a)
        self.assertEqual(heart.problems(), [])

    def journal(self, agent):
        """The states of the jobs in an agent's journal."""
        path = f"/proc/{agent.process.pid}/root{agent.state_directory}/mudanza.db"
        return journal_states(path)

    def test_source_fills_in_copy(self):
        self.a, self.b = self.agent_with_small_disk("A"), self.lab.agent("B", emulator=self.emulator)
        self.lab.pair()
        self.full_in_copy(self.a)

    def test_destination_fills_in_copy(self):
        self.a, self.b = self.lab.agent("A", emulator=self.emulator), self.agent_with_small_disk("B")
        self.lab.pair()
        self.full_in_copy(self.b)

    def test_source(self):
        self.a, self.b = self.agent_with_small_disk("A"), self.lab.agent("B", emulator=self.emulator)
        self.lab.pair()
        heart = self.boot(self.a, cmdline=SMALL)
        steps = self.full_and_free(self.a)
        next(steps)
        report = self.a.migrate("vm", "B", "--verify")
        self.assertEqual(report["outcome"], "failed")
        self.assertIn("full", report["reason"])
        self.await_beats(heart, self.a)
        self.assertEqual(self.a.vm("vm")["state"], "running")
        self.assertIsNone(self.b.vm("vm"))
        next(steps)
        self.move(self.a, self.b)
        self.assert_beats_at(heart, self.b)
        self.assert_sound(heart)

    def test_destination(self):
        self.a, self.b = self.lab.agent("A", emulator=self.emulator), self.agent_with_small_disk("B")
        self.lab.pair()
        heart = self.boot(self.a, cmdline=SMALL)
        steps = self.full_and_free(self.b)
        next(steps)
        report = self.a.migrate("vm", "B", "--verify")
        self.assertEqual(report["outcome"], "failed")
        self.assertIn("full", report["reason"])
        self.assertIn("B", report["reason"])
        self.assertEqual(self.b.qemus(), [])
        self.assertIsNone(self.b.vm("vm"))
        self.await_beats(heart, self.a)
        next(steps)
        self.move(self.a, self.b)
        self.assert_beats_at(heart, self.b)
        self.assert_sound(heart)
