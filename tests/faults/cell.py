# SPDX-License-Identifier: Apache-2.0
"""One cell: a move, a fault at one point of it, and everything that must hold afterwards."""

import dataclasses
import hashlib
import os
import signal
import threading
import time

from lib import AgentError, VarlinkError, guest, paths, sandbox
from lib.guest import MIB
from lib.moving import PATIENCE, MoveCase, traces

from . import injection
from .oracle import Oracle

import heartbeat  # noqa: E402  (tests/lib has put the guests' folder on the path)

#: Copied at COPY bytes a second, its RAM keeps the copy going for several looks at it.
QUIET = "mem=64K fill=2M heartbeat=20"
COPY = 8 * MIB
#: Writes more than COPY carries, so that post-copy has something to do.
BUSY = "mem=4 fill=4 rate=20M check=16M heartbeat=20"
#: Where a post-copy's source begins to send slowly, and how slowly: pages are missing for seconds.
SLOW_FROM, TRICKLE = "source-commit-after", "8mbit"
#: For a KVM that emulates each instruction.
SLOW = "mem=64K fill=64K heartbeat=20"
DISK = 1 * MIB
#: Seconds: shorter than what an administrator would choose, longer than a busy machine's hiccups.
DEADLINES = ("--peer-silence", "5", "--peer-lost", "10")
#: From the end of the fault to a known outcome; the longest deadline of an agent is 60 s.
SETTLE = 150
WRITE = 101  # the byte of QEMU's lock for writing to an image


@dataclasses.dataclass(frozen=True)
class Cell:
    """outcome: one of the words of matrix.py, or several with "|". faults: what A and B are
    started with; restarted: the same for their first restart. act: what the test itself does at
    `point`, which one of the two holds. slow: A holds at SLOW_FROM, and sends slowly from there to
    the fault."""

    name: str
    outcome: str
    faults: tuple = ("", "")
    restarted: tuple = ("", "")
    point: str = ""
    act: str = ""
    options: tuple = ()
    accelerator: str = "qemu"
    emulators: tuple = (paths.QEMU_10, paths.QEMU_10)
    cmdline: str = QUIET
    machine: str = "q35"
    slow: bool = False


class Move(threading.Thread):
    """A move that runs beside the test. report: None when its agent died first."""

    def __init__(self, agent, vm, host, options):
        super().__init__(daemon=True)
        self.connection = agent.connect()
        self.connection.socket.settimeout(300)
        self.parameters = {"vm": vm, "host": host, "options": options}
        self.report = None
        self.start()

    def run(self):
        try:
            for reply in self.connection.follow("Migrate", **self.parameters):
                self.report = reply.get("report")
        except (EOFError, OSError, VarlinkError):
            pass
        self.connection.close()


def kill(pid):
    """Kills a process and waits until it is gone."""
    pidfd = os.pidfd_open(pid)
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    left = sandbox.wait_gone([pidfd], PATIENCE)
    os.close(pidfd)
    assert not left, f"process {pid} does not end"


def state_of(pid):
    """The letter of a process' state ("T": stopped)."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        return stat.read().rpartition(")")[2].split()[0]


def may_write(pid, image):
    """Does the process hold QEMU's lock for writing to the image? See tests/integration/test_disk."""
    status = os.stat(image)
    file = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    for fd in os.listdir(f"/proc/{pid}/fdinfo"):
        with open(f"/proc/{pid}/fdinfo/{fd}", encoding="ascii") as info:
            for words in (line.split() for line in info):
                if words[0] == "lock:" and words[2] == "OFDLCK" and words[6] == file and \
                        int(words[7]) <= WRITE and (words[8] == "EOF" or WRITE <= int(words[8])):
                    return True
    return False


class CellCase(MoveCase):
    """Runs cells."""

    def run_cell(self, cell):
        self.cell = cell
        self.prepare()
        self.move_on = Move(self.a, "vm", "B", dict(self.cell.options))
        if cell.slow:
            held = self.faults.wait(SLOW_FROM, PATIENCE)
            self.lab["A"].limit(TRICKLE)
            held.let_go()
        if cell.slow or cell.act:
            reached = self.faults.wait(cell.point, PATIENCE)
        if cell.act:
            getattr(self, "act_" + cell.act.replace("-", "_"))(reached)
        self.lab["A"].limit(None)
        self.settle()
        self.judge()
        self.move_again()
        self.leave()

    # --- before ----------------------------------------------------------------------------------

    def prepare(self):
        """Agents with their faults, a guest on A, and what both hosts look like without it."""
        self.oracle = Oracle(self.lab)
        self.addCleanup(self.oracle.close)
        self.faults = injection.Faults(self.lab.directory / "faults")
        self.addCleanup(self.faults.close)
        self.a, self.b = (self.lab.agent(
            host, emulator=self.oracle.emulator(host, emulator),
            options=("--log-level", "debug", *DEADLINES,
                     *(("--fault", text, "--fault-socket", self.faults.path) if text else ())))
            for host, emulator, text in zip("AB", self.cell.emulators, self.cell.faults))
        self.lab.pair()
        self.restarts = {self.a: [self.cell.restarted[0]], self.b: [self.cell.restarted[1]]}
        self.bare = self.look(self.a), self.look(self.b)
        self.image = self.lab.directory / "disk.raw"
        self.image.write_bytes(os.urandom(DISK))
        self.image.chmod(0o600)
        self.content = hashlib.sha256(self.image.read_bytes()).hexdigest()
        self.listener = self.lab["C"].listener()
        self.a.define(guest.bare(
            "vm", accelerator=self.cell.accelerator, cmdline=self.cell.cmdline,
            machine=self.cell.machine, devices=guest.disk(self.image) + guest.bridge() +
            guest.udp_serial(self.listener.address)))
        self.before = self.look(self.a), self.look(self.b)
        self.boot_on_a()

    def boot_on_a(self):
        """Starts the guest, whose numbers then begin anew."""
        self.listener.heart = self.heart = heartbeat.Heartbeat()
        self.a.call("Start", vm="vm", paused=False)
        self.heart.wait(lambda heart: heart.of("RDY"), PATIENCE)

    def look(self, agent):
        """What is on a host, but for the agent's pid, which a restart changes."""
        found = traces(agent)
        found["processes"] = [pid for pid in found["processes"] if pid != agent.process.pid]
        for vm in found["vms"]:
            vm.pop("pid", None)
        return found

    # --- the test's own part in a fault ----------------------------------------------------------

    def act_both(self, _reached):
        self.a.kill()
        self.b.kill()

    def act_cancel(self, reached):
        """Aborts the move while the agent is at the point; it goes on once that was taken."""
        answers = []

        def abort():
            try:
                answers.append(self.a.call("AbortJob", vm="vm"))
            except VarlinkError as error:
                answers.append(error)

        thread = threading.Thread(target=abort, daemon=True)
        thread.start()
        self.faults.wait("source-cancel", PATIENCE).let_go()
        reached.let_go()
        thread.join(PATIENCE)
        self.assertTrue(answers, "AbortJob does not return")
        if self.cell.outcome == "back":
            self.assertEqual(answers[0]["report"]["outcome"], "aborted", answers)
        else:
            self.assertIsInstance(answers[0], VarlinkError)
            self.assertIn("past the point of return", answers[0].message)

    def act_src_qemu(self, reached):
        kill(*self.a.qemus())
        reached.let_go()

    def act_dst_qemu(self, reached):
        kill(*self.b.qemus())
        reached.let_go()

    def act_pause(self, reached):
        """The agent stopped itself: when it has, it may go on."""
        agent = self.a if reached.point.startswith("source") else self.b
        self.await_that(lambda: state_of(agent.process.pid) == "T", "the agent stops")
        agent.signal(signal.SIGCONT)

    # --- until it is over ------------------------------------------------------------------------

    def settle(self):
        """Restarts who died, until both agents are idle and their journals empty."""
        deadline = time.monotonic() + SETTLE
        quiet = None
        while quiet is None or self.fault_to_come():
            for agent in self.a, self.b:
                if not agent.running:
                    self.restart(agent)
            quiet = self.unsettled()
            if not quiet and not self.move_on.is_alive() and not self.fault_to_come():
                return
            self.assertLess(time.monotonic(), deadline,
                            f"not settled: {quiet or 'the fault did not come'}")
            quiet = None
            time.sleep(0.05)

    def restart(self, agent):
        agent.process.wait()
        texts = self.restarts[agent]
        injection.arm(agent, self.faults, texts.pop() if texts else "")
        try:
            agent.start()
        except AgentError:
            if agent.process.poll() != -signal.SIGKILL:
                raise  # else a fault of its start: it is started once more

    def fault_to_come(self):
        return any(texts and texts[0] for texts in self.restarts.values())

    def unsettled(self):
        """What is not over yet, in words; empty when all is."""
        found = []
        for agent in self.a, self.b:
            try:
                now = self.look(agent)
            except (OSError, EOFError, VarlinkError) as error:
                return [f"{agent.name}: {error!r}"]
            found += [f"{agent.name}: VM {vm['state']}, {vm.get('job')}" for vm in now["vms"]
                      if "job" in vm or vm["state"] in ("in_doubt", "incoming")]
            found += [f"{agent.name}: journal {row}" for row in now["journal"]]
            found += [f"{agent.name}: process {pid} is asked what QEMU can do"
                      for pid in agent.host.probes()]
        return found

    # --- the oracle ------------------------------------------------------------------------------

    def judge(self):
        """The outcome is one of those that are expected, and all that is to be seen agrees."""
        outcome = self.outcome()
        self.assertIn(outcome, self.cell.outcome.split("|"), self.told())
        self.outcome_was = outcome
        self.assertEqual(self.oracle.violations(), [])
        here = {"back": self.a, "there": self.b}.get(outcome)
        states = [(agent.vm("vm") or {}).get("state") for agent in (self.a, self.b)]
        # A definition that the destination has not stored stays, and the report says so.
        warnings = (self.move_on.report or {}).get("warnings", [])
        drops = "undefine_source" in dict(self.cell.options) and \
            not any("definition stays" in warning for warning in warnings)
        at_a = None if drops else "shut_off"
        self.assertEqual(states, {"back": ["running", None], "there": [at_a, "running"]}.get(
            outcome, ["shut_off", None]), self.told())
        self.judge_report(outcome)
        self.judge_host(self.a, self.bare[0] if at_a is None else self.before[0], here)
        self.judge_host(self.b, self.before[1], here)
        if here:
            self.assert_beats_at(self.heart, here)
            self.assert_sound(self.heart)

    def outcome(self):
        """Asked of the QEMUs, not of the agents."""
        running = self.oracle.running_on()
        self.assertLessEqual(len(running), 1, self.told())
        if running:
            return {"A": "back", "B": "there"}[running[0]]
        return "crash" if self.oracle.ever_ran_on("B") else "lost"

    def told(self):
        """What one needs to know when it is not as it must be."""
        return (f"report {self.move_on.report}; A runs {self.a.vm('vm')}, B runs "
                f"{self.b.vm('vm')}")

    def judge_report(self, outcome):
        """The last word on the move, whether it came at once or after a restart, is the truth."""
        report = self.move_on.report
        if report is None or report["outcome"] == "in_doubt":
            try:
                report = self.a.call("GetJob", vm="vm")["report"]
            except VarlinkError as error:
                # Killed before there was a record, or as the user: nobody knows of the move.
                self.assertIn("never moved", error.message)
                self.assertEqual(outcome, "back")
                return
        good = {"there": ["completed"], "back": ["failed", "aborted"], "lost": ["failed"],
                "crash": ["completed", "failed"]}[outcome]
        self.assertIn(report["outcome"], good, report)
        self.assertEqual(bool(report.get("reason")), report["outcome"] != "completed", report)

    def judge_host(self, agent, without, here):
        """A host without the VM is as before; the other one has one QEMU, which may write."""
        now = self.look(agent)
        if agent is not here:
            self.assertEqual(now, without, f"left behind on {agent.name}")
            return
        self.assertEqual(now["journal"], [])
        (pid,) = now["processes"]
        self.assertEqual(agent.qemus(), [pid])
        self.assertTrue(may_write(pid, self.image), "the owner has no lock on its disk")
        self.assertEqual(len(now["links"]), len(without["links"]) + 1, now["links"])

    # --- and again -------------------------------------------------------------------------------

    def move_again(self):
        """A second attempt, there or back, completes at once."""
        if self.outcome_was in ("lost", "crash"):
            self.boot_on_a()
        source, destination = (self.b, self.a) if self.outcome_was == "there" else (self.a, self.b)
        options = ("--post-copy",) if "post_copy" in dict(self.cell.options) else ("--verify",)
        report = source.migrate("vm", destination.name, *options)
        self.assert_completed(report)
        self.assert_beats_at(self.heart, destination)
        self.assert_sound(self.heart)
        self.assertEqual(source.qemus(), [])
        self.owner = destination

    def leave(self):
        """Ends the VM: then both hosts are as they were without it, and its disk is whole."""
        self.assertEqual(self.oracle.violations(), [])
        self.owner.call("Destroy", vm="vm")
        for agent in self.a, self.b:
            if agent.vm("vm"):
                agent.call("Undefine", vm="vm")
        self.assertEqual((self.look(self.a), self.look(self.b)), self.bare)
        self.assertEqual(hashlib.sha256(self.image.read_bytes()).hexdigest(), self.content)
