# SPDX-License-Identifier: Apache-2.0
"""What tests of moves share: guests that are listened to, and what a move may leave on a host."""

import contextlib
import os
import re
import signal
import sqlite3
import time

from . import guest, paths, sandbox
from .case import LabCase

#: For events that only a broken product keeps from coming; generous, since machines may be slow.
PATIENCE = 120
#: Small enough for a KVM that emulates each instruction, and for moves of a few 100 ms under TCG.
SMALL = "mem=64K fill=64K heartbeat=20"
#: Heartbeats only: nothing is written but the guest's own counters.
IDLE = "mem=4K rate=0 check=0 heartbeat=20"


def definition(agent, name):
    """The stored definition of a VM as XML; None when there is none."""
    vm = agent.vm(name)
    return agent.call("DumpXml", vm=name, inactive=True)["xml"] if vm and vm["persistent"] else None


def _files(agent):
    """What is in an agent's directories, but for what grows there by itself."""
    skipped = ("cache", "log")
    found = []
    for top in (agent.state_directory, agent.run_directory):
        for folder, folders, files in os.walk(top):
            folders[:] = [name for name in folders if name not in skipped]
            found += [os.path.join(folder, name) for name in folders + files
                      if not name.endswith(("-wal", "-shm"))]
    return sorted(found)


def _query(path, what):
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True,
                                            timeout=30)) as database:
        return database.execute(what).fetchall()


def _journal(agent):
    return _query(agent.state_directory / "mudanza.db", "SELECT job, source, name, state FROM journal")


def journal_states(path):
    """The states of the jobs in the journal of a database."""
    return [state for state, in _query(path, "SELECT state FROM journal")]


def traces(agent):
    """Everything on an agent's host that a move may change or forget: compare before and after."""
    host = agent.host
    vms = agent.call("List", all=True)["vms"]
    return {
        "vms": vms,
        "definitions": {vm["name"]: definition(agent, vm["name"]) for vm in vms},
        "processes": sorted(host.pids()),
        "links": sorted(line.split(":")[1].strip() for line in sandbox.ip(
            "-n", host.namespace, "-o", "link").splitlines()),
        "files": _files(agent),
        "journal": _journal(agent),
    }


class MoveCase(LabCase):
    """A case with agents A and B and the listener's host C.

    emulator: what the agents start; QEMU 10 unless a test is about another one, since QEMU before
    9.0 loses track of what a guest under TCG writes during a live migration.
    """

    emulator = paths.QEMU_10

    def two_agents(self, **options):
        """Agents on A and B, also as self.a and self.b."""
        options.setdefault("emulator", self.emulator)
        self.a, self.b = self.agents("A", "B", **options)
        return self.a, self.b

    def boot(self, agent, name="vm", *, make=guest.bare, accelerator="qemu", cmdline=IDLE,
             devices="", **options):
        """Defines and starts a guest; returns its Heartbeat once it is at work."""
        heart = self.hear(agent, name, make=make, accelerator=accelerator, cmdline=cmdline,
                          devices=devices, **options)
        agent.call("Start", vm=name, paused=False)
        heart.wait(lambda heart: heart.of("RDY"), PATIENCE)
        return heart

    def hear(self, agent, name="vm", *, make=guest.bare, accelerator="qemu", cmdline=IDLE,
             devices="", **options):
        """Defines a guest whose heartbeat is heard on C; returns its Heartbeat."""
        listener = self.lab["C"].listener()
        agent.define(make(name, accelerator=accelerator, cmdline=cmdline,
                          devices=devices + guest.udp_serial(listener.address), **options))
        return listener.heart

    def await_that(self, condition, what):
        """Looks again and again: for what the agent has no event for."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            self.assertLess(time.monotonic(), deadline, what)
            time.sleep(0.05)

    def assert_beats_at(self, heart, agent):
        """The guest lives on an agent's host: new heartbeats come from there."""
        known = len(heart.beats)
        heart.wait(lambda heart: any(beat.source == agent.host.address
                                     for beat in heart.beats[known:]), PATIENCE)

    def assert_sound(self, heart, rounds=1):
        """The guest checks all of its memory anew, and nothing was ever wrong with it."""
        heart.wait_rounds(rounds, PATIENCE)
        self.assertEqual(heart.problems(), [])

    def assert_nothing_logged(self, *agents):
        """No agent had anything to complain about."""
        for agent in agents:
            bad = re.findall(r"^(?:error|warning)\b.*", agent.log_tail(1 << 20), re.MULTILINE)
            self.assertEqual(bad, [], f"agent {agent.name}")

    def assert_completed(self, report):
        self.assertEqual(report["outcome"], "completed", report)

    def move(self, source, destination, vm="vm", *options):
        """Moves a VM, which must succeed, with all of its RAM compared; returns the report."""
        report = source.migrate(vm, destination.name, "--verify", *options)
        self.assert_completed(report)
        self.assertTrue(report["verified"], report)
        return report

    def assert_shut_off(self, agent, name="vm"):
        """The VM is known to the agent, by its definition alone."""
        vm = agent.vm(name)
        self.assertIsNotNone(vm, f"{name} is not defined on {agent.name}")
        self.assertEqual((vm["state"], vm["persistent"]), ("shut_off", True))


class Stopped:
    """Processes that stand still (SIGSTOP) within a `with`, whatever happens in it."""

    def __init__(self, *pids):
        self._pidfds = [os.pidfd_open(pid) for pid in pids]

    def __enter__(self):
        for pidfd in self._pidfds:
            signal.pidfd_send_signal(pidfd, signal.SIGSTOP)
        return self

    def __exit__(self, *_exception):
        self.resume()

    def resume(self):
        """Lets them go on; what has ended meanwhile is left alone."""
        while self._pidfds:
            pidfd = self._pidfds.pop()
            try:
                signal.pidfd_send_signal(pidfd, signal.SIGCONT)
            except ProcessLookupError:
                pass
            os.close(pidfd)
