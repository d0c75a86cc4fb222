# SPDX-License-Identifier: Apache-2.0
"""Post-copy: agents and QEMUs that end while pages are still on their way.

The two lines "post-copy" of the fault matrix in docs/handover.md: what an agent or the network does
never costs the guest; a QEMU that ends does, and both hosts say so.
"""

import os
import signal

from lib import paths, sandbox
from lib.follow import Follow
from lib.moving import PATIENCE, MoveCase, traces

#: Written over and over, so that nearly all of it is missing when the guest changes sides, and
#: random, so that nothing makes it smaller on the way.
BUSY = "mem=6 rate=max check=64M pattern=random heartbeat=20"


class PostCopyCase(MoveCase):
    """A VM on its way from A to B, held in the middle of post-copy by a slow link."""

    options = {"cmdline": BUSY}
    slow_link = "10mbit"
    bandwidth = None
    rounds = 2

    def start(self):
        self.two_agents()
        self.heart = self.boot(self.a, **self.options)
        self.lab["A"].limit(self.slow_link)

    def follow(self, **options):
        if self.bandwidth:
            options["bandwidth"] = self.bandwidth
        return Follow(self.a, "vm", "B", post_copy=True, **options)

    def switch(self, move):
        """The guest runs on B, and misses pages that come very slowly."""
        move.until(lambda progress: "runs on B" in progress.get("note", ""))

    def report(self):
        """How the move ended, or ends, as A says."""
        with self.a.connect() as connection:
            *_, last = connection.follow("GetJob", vm="vm")
        return last["report"]

    def assert_arrived(self):
        """The VM is whole on B and free there, nothing is left on A, and it can move back."""
        self.assert_beats_at(self.heart, self.b)
        self.await_that(lambda: "job" not in self.b.vm("vm"), "B is done with the move")
        self.assertEqual(self.b.vm("vm")["state"], "running")
        self.assert_shut_off(self.a)
        self.assertEqual(self.a.qemus(), [])
        self.await_that(lambda: traces(self.a)["journal"] + traces(self.b)["journal"] == [],
                        "both forget the job")
        self.assert_sound(self.heart, self.rounds)
        self.assertEqual(len(self.heart.of("RDY")), 1)

    def end(self, agent):
        """Kills the QEMU of an agent."""
        pidfd = os.pidfd_open(*agent.qemus())
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        self.assertEqual(sandbox.wait_gone([pidfd], PATIENCE), set())
        os.close(pidfd)


class Interrupted(PostCopyCase):
    """An agent ends, and another one takes up what it left."""

    def source(self, end, ended):
        self.start()
        with self.follow() as move:
            self.switch(move)
            end(self.a)
            ended(move)
        self.lab["A"].limit(None)
        self.assertEqual(len(self.a.qemus()), 1)
        self.a.start()
        report = self.report()
        self.assert_completed(report)
        self.assertTrue(report["post_copy"], report)
        self.assertIn("post-copy from A goes on", self.b.log_tail(1 << 20))
        self.assert_arrived()

    def destination(self, end, ended):
        self.start()
        with self.follow() as move:
            self.switch(move)
            end(self.b)
            ended(move)
            self.assertEqual(len(self.b.qemus()), 1)
            self.lab["A"].limit(None)
            self.b.start()
            self.assert_completed(move.report())
        self.assertRegex(self.a.log_tail(1 << 20), "post-copy to B: .*; recovering")
        self.assertIn("post-copy from A goes on", self.b.log_tail(1 << 20))
        self.assert_arrived()

    def kill_source(self):
        self.source(lambda agent: agent.kill(), lambda move: move.cut_off())

    def kill_destination(self):
        # A looks for B's agent for a minute before it gives the stream up: nothing to wait for.
        self.destination(lambda agent: agent.kill(), lambda move: None)


class Agents(Interrupted):
    """Under TCG, with QEMU 10."""

    def test_source_killed(self):
        self.kill_source()

    def test_destination_killed(self):
        self.kill_destination()

    def test_source_told_to_end(self):
        def ended(move):
            report = move.report()
            self.assertEqual(report["outcome"], "in_doubt", report)
            self.assertIn("told to end in post-copy", report["reason"])

        self.source(lambda agent: agent.stop(), ended)

    def test_destination_told_to_end(self):
        def ended(move):
            move.until(lambda progress: "interrupted, recovering" in progress.get("note", ""))

        self.destination(lambda agent: agent.stop(), ended)


class Qemus(PostCopyCase):
    """A QEMU ends while pages are missing: the guest is lost, and everybody says so."""

    def lost(self, name):
        self.start()
        agent = getattr(self, name)
        with self.follow() as move:
            self.switch(move)
            self.end(agent)
            report = move.report()
        self.assertEqual(report["outcome"], "failed", report)
        self.assertIn("lost", report["reason"])
        self.assertIn(f"on host {agent.name}", report["reason"])
        self.assertTrue(report["hint"], report)
        self.assertIn("lost", self.b.log_tail(1 << 20))
        self.await_that(lambda: traces(self.a)["journal"] + traces(self.b)["journal"] == [],
                        "both forget the job")
        self.assertEqual((self.a.qemus(), self.b.qemus()), ([], []))
        self.await_that(lambda: "job" not in self.a.vm("vm"), "A lets the VM go")
        self.assert_shut_off(self.a)
        self.assertIsNone(self.b.vm("vm"))
        self.a.call("Start", vm="vm", paused=False)
        self.heart.wait(lambda heart: len(heart.of("RDY")) == 2, PATIENCE)

    def test_source(self):
        self.lost("a")

    def test_destination(self):
        self.lost("b")


CONSOLE = "<console type='file'><source path='/dev/null'/><target type='virtio'/></console>"
#: Starts QEMU without the device that the VM on A has: its part of the state cannot be loaded.
AMNESIA = """#!/bin/bash
words=()
while (($#)); do
    if [[ "$*" == *-incoming* && $1 == -device && $2 == *{device}* ]]; then shift 2; continue; fi
    words+=("$1"); shift
done
exec {emulator} "${{words[@]}}"
"""


class WayBack(PostCopyCase):
    """The destination's QEMU cannot load the guest that has changed sides: it never ran there."""

    def test_load_fails(self):
        emulator = self.lab.directory / "qemu"
        emulator.write_text(AMNESIA.format(device="virtconsole",
                                           emulator=paths.for_everybody(self.emulator)))
        emulator.chmod(0o755)
        self.a = self.lab.agent("A", emulator=self.emulator)
        self.b = self.lab.agent("B", emulator=emulator)
        self.lab.pair()
        self.heart = self.boot(self.a, cmdline=BUSY, devices=CONSOLE)
        self.lab["A"].limit("50mbit")  # else it is there before post-copy is due
        before = traces(self.a), traces(self.b)
        with self.follow() as move:
            report = move.report()
        self.assertEqual((report["outcome"], report["phase"], report["post_copy"]),
                         ("failed", "handover", True), report)
        self.assertIn("could not load the VM", report["reason"])
        self.assertEqual((traces(self.a), traces(self.b)), before)
        self.assert_beats_at(self.heart, self.a)
        self.assert_sound(self.heart, 2)


class Kvm(Interrupted):
    """Under KVM, with the older QEMU; a KVM that emulates each instruction is slow."""

    slow = True
    emulator = paths.QEMU_7
    options = {"accelerator": "kvm", "cmdline": "mem=1M rate=max check=256K heartbeat=20"}
    slow_link = "1mbit"
    bandwidth = 256 << 10
    rounds = 1

    def test_source_killed(self):
        self.kill_source()

    def test_destination_killed(self):
        self.kill_destination()
