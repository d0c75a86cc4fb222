# SPDX-License-Identifier: Apache-2.0
"""Moves that are ended in the middle, by their user or by a fault: the VM is where it was.

The faults are those of the column "plan, prepare, copy" of the fault matrix in docs/handover.md.
"""

import json
import os
import signal
import subprocess

from lib import paths, sandbox
from lib.follow import Follow
from lib.moving import PATIENCE, MoveCase, Stopped, traces

MIB = 1 << 20
#: Its RAM takes 20 s at SLOW: time enough to act in the middle of the copy.
LONG = "mem=64K fill=20M heartbeat=20"
SLOW = 1  # MiB/s
#: Its whole stream fits into the sockets on the way, or nearly so.
SHORT = "mem=16K rate=0 heartbeat=20"

#: An emulator that says when it is to take a VM in, and waits until somebody opens the gate.
GATE = """#!/bin/sh
case " $* " in *" -incoming "*)
    echo here >{folder}/arrived
    read -r line <{folder}/gate ;;
esac
exec {emulator} "$@"
"""


class AbortCase(MoveCase):
    """A VM on A that is on its way to B."""

    def start(self, cmdline=LONG, **options):
        """A and B, a VM on A, and what both look like; its Heartbeat becomes self.heart."""
        self.two_agents(**options)
        self.heart = self.boot(self.a, cmdline=cmdline)
        self.before = traces(self.a), traces(self.b)

    def follow(self, **options):
        options.setdefault("bandwidth", SLOW * MIB)
        return Follow(self.a, "vm", "B", **options)

    def assert_report(self, report, phase, outcome="aborted"):
        self.assertEqual((report["outcome"], report["phase"]), (outcome, phase), report)
        self.assertTrue(report["reason"], report)

    def assert_back(self):
        """The VM runs at A, both hosts are as they were, and a second attempt succeeds."""
        self.assertEqual(self.a.vm("vm")["state"], "running")
        self.assert_beats_at(self.heart, self.a)
        self.assertEqual(traces(self.a), self.before[0])
        self.assertEqual(traces(self.b), self.before[1])
        self.move(self.a, self.b)
        self.assert_beats_at(self.heart, self.b)
        self.assert_sound(self.heart)

    def abort(self):
        """`mudanza abort`, which must have its way; returns its report."""
        return self.a.cli("abort", "vm")

    def interrupt(self, *options):
        """`mudanza migrate`, ended by Ctrl-C in the copy; returns its report."""
        process = self.a.popen("migrate", "vm", "B", "--json", "--bandwidth", str(SLOW), *options,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.await_copy()
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=PATIENCE)
        self.assertEqual(process.returncode, 1, errors)
        return json.loads(output)

    def await_copy(self, name="vm"):
        """Follows the move that somebody else has started until RAM is on its way."""
        self.await_that(lambda: "job" in self.a.vm(name), "the move begins")
        with self.a.connect() as connection:
            for reply in connection.follow("GetJob", vm=name):
                progress = reply.get("progress", {})
                if progress.get("phase") == "copy" and progress["ram_bytes"]:
                    return
        self.fail("the move is over without having copied")


class ByUser(AbortCase):
    """`mudanza abort VM` and Ctrl-C."""

    def test_plan(self):
        self.start()
        with Stopped(self.b.process.pid) as peer, self.follow() as move:
            move.phase("plan")
            self.assert_report(self.abort(), "plan")
            self.assert_report(move.report(), "plan")
            self.assertEqual(self.a.vm("vm")["state"], "running")
            peer.resume()
        self.assert_back()

    def test_prepare(self):
        folder = self.lab.directory / "gate"
        folder.mkdir(mode=0o755)
        for name in ("arrived", "gate"):
            os.mkfifo(folder / name)
            (folder / name).chmod(0o666)
        emulator = folder / "qemu"
        emulator.write_text(GATE.format(folder=folder,
                                        emulator=paths.for_everybody(self.emulator)))
        emulator.chmod(0o755)
        self.a = self.lab.agent("A", emulator=self.emulator)
        self.b = self.lab.agent("B", emulator=emulator)
        self.lab.pair()
        self.heart = self.boot(self.a, cmdline=SHORT)
        self.before = traces(self.a), traces(self.b)
        with self.follow() as move:
            move.phase("prepare")
            (folder / "arrived").read_text(encoding="ascii")
            self.assert_report(self.abort(), "prepare")
            self.assert_report(move.report(), "prepare")
        self.assertEqual(traces(self.b), self.before[1])
        emulator.write_text(f"#!/bin/sh\nexec {paths.for_everybody(self.emulator)} \"$@\"\n")
        self.assert_back()

    def test_copy(self):
        self.start()
        with self.follow() as move:
            move.copying()
            self.assert_report(self.abort(), "copy")
            self.assert_report(move.report(), "copy")
        self.assert_back()

    def test_copy_of_a_stopped_guest(self):
        self.start()
        with self.follow(mode="non_live") as move:
            move.copying()
            self.assertEqual(self.a.vm("vm")["state"], "paused")
            self.assert_report(self.abort(), "copy")
            self.assert_report(move.report(), "copy")
        self.assert_back()

    def test_post_copy_before_its_start(self):
        self.start()
        with self.follow(post_copy=True) as move:
            move.copying()
            self.assert_report(self.abort(), "copy")
        self.assert_back()

    def test_copy_with_a_hanging_peer(self):
        self.start()
        with self.follow() as move:
            move.copying()
            with Stopped(self.b.process.pid) as peer:
                connection = self.a.connect()
                self.addCleanup(connection.close)
                connection.send({"method": "io.mudanza.AbortJob", "parameters": {"vm": "vm"}})
                self.heart.wait(lambda heart: len(heart.beats) > 0, PATIENCE)
                peer.resume()
            self.assert_report(connection.receive()["parameters"]["report"], "copy")
            self.assert_report(move.report(), "copy")
        self.assert_back()

    def test_handover(self):
        self.start(SHORT)
        with self.follow(verify=True) as move:
            # What is left fits into the sockets between here and there.
            move.until(lambda progress: progress["ram_bytes"] > 400000)
            with Stopped(*self.b.qemus()):
                move.phase("handover")
                self.assertEqual(self.a.vm("vm")["state"], "paused")
                self.assert_report(self.abort(), "handover")
            self.assert_report(move.report(), "handover")
        self.assert_back()

    def test_past_the_point_of_return(self):
        self.start(SHORT)
        with self.follow() as move:
            move.until(lambda progress: progress["ram_bytes"] > 400000)
            with Stopped(*self.b.qemus()):
                move.phase("handover")
                self.await_that(lambda: [entry[-1] for entry in traces(self.a)["journal"]] !=
                                ["prepared"], "the source commits")
                error = self.a.cli_fails("abort", "vm")
                self.assertIn("past the point of return", error.stderr)
                self.assertIn("mudanza job vm", error.stderr)
                self.assertEqual(self.a.vm("vm")["state"], "paused")
            self.assert_completed(move.report())
        self.assert_beats_at(self.heart, self.b)
        self.assertEqual(self.a.qemus(), [])
        self.assertEqual(self.heart.problems(), [])

    def test_interrupt(self):
        self.start()
        self.assert_report(self.interrupt(), "copy")
        self.assert_back()

    def test_interrupt_non_live(self):
        self.start()
        self.assert_report(self.interrupt("--non-live", "--verify"), "copy")
        self.assert_back()

    def test_killed_command_leaves_the_move(self):
        self.start("mem=64K fill=4M heartbeat=20")
        process = self.a.popen("migrate", "vm", "B", "--bandwidth", str(4 * SLOW),
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.await_copy()
        process.kill()
        process.wait()
        with self.a.connect() as connection:
            *_, last = connection.follow("GetJob", vm="vm")
        self.assert_completed(last["report"])
        self.assert_beats_at(self.heart, self.b)

    def test_nothing_to_abort(self):
        self.start()
        error = self.a.cli_fails("abort", "vm")
        self.assertEqual(error.status, 1)
        self.assertIn("not being moved", error.stderr)
        self.assertEqual(traces(self.a), self.before[0])


class ByFault(AbortCase):
    """Something dies in the copy."""

    def kill(self, pid):
        pidfd = os.pidfd_open(pid)
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        self.assertEqual(sandbox.wait_gone([pidfd], PATIENCE), set())
        os.close(pidfd)

    def test_destination_qemu(self):
        self.end_destination("live")

    def test_destination_qemu_non_live(self):
        self.end_destination("non_live")

    def end_destination(self, mode):
        self.start()
        with self.follow(mode=mode) as move:
            move.copying()
            self.kill(*self.b.qemus())
            report = move.report()
        self.assert_report(report, "copy", "failed")
        self.assertIn("host B", report["reason"])
        self.assertIn("QEMU", report["reason"])
        self.assert_back()

    def test_source_qemu(self):
        self.start()
        with self.follow() as move:
            move.copying()
            self.kill(*self.a.qemus())
            report = move.report()
        self.assert_report(report, "copy", "failed")
        self.assertIn("QEMU process here ended", report["reason"])
        self.await_that(lambda: self.a.vm("vm")["state"] == "shut_off", "A sees its VM end")
        self.assertEqual(traces(self.b), self.before[1])
        after = traces(self.a)
        self.assertEqual((after["journal"], after["definitions"], self.a.qemus()),
                         ([], self.before[0]["definitions"], []))
        beats = len(self.heart.beats)
        self.a.call("Start", vm="vm", paused=False)
        self.heart.wait(lambda heart: len(heart.of("RDY")) == 2 and len(heart.beats) > beats,
                        PATIENCE)
        self.move(self.a, self.b)
        self.assertEqual(self.b.vm("vm")["state"], "running")


class Silence(AbortCase):
    """Peers of which nothing is heard any more: one is cut off, one stands still."""

    #: Instead of 3 s and a minute.
    IMPATIENT = ("--peer-silence", "1", "--peer-lost", "3")

    def test_in_copy(self):
        self.start(options=self.IMPATIENT)
        silent = self.lab.agent("C", emulator=self.emulator, options=self.IMPATIENT)
        self.lab.pair()
        other = self.boot(self.a, "other", cmdline=LONG)
        self.before = traces(self.a), traces(self.b)
        before_c = traces(silent)
        with self.follow() as cut, self.a.connect() as stopped:
            stopped.send({"method": "io.mudanza.Migrate", "parameters": {
                "vm": "other", "host": "C", "options": {"bandwidth": SLOW * MIB}}})
            self.await_copy("other")
            cut.copying()
            self.lab["B"].cut()
            with Stopped(silent.process.pid):
                reports = cut.report(), stopped.receive()["parameters"]["report"]
                for report, host in zip(reports, ("host B", "host C")):
                    self.assert_report(report, "copy", "failed")
                    self.assertIn(host, report["reason"])
                    self.assertIn("no connection for 3 s", report["reason"])
                for heart in self.heart, other:
                    self.assert_beats_at(heart, self.a)
            self.lab["B"].heal()
        for agent in self.b, silent:
            self.await_that(lambda agent=agent: not agent.call("List", all=True)["vms"],
                            f"{agent.name} undoes what arrived")
        self.assertEqual(traces(silent), before_c)
        self.await_that(lambda: not traces(self.a)["journal"], "A has told both")
        self.assert_back()
        self.move(self.a, silent, "other")
        self.assert_beats_at(other, silent)
        self.assert_sound(other)
