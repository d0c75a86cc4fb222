# SPDX-License-Identifier: Apache-2.0
"""mudanza demo: what it shows, and that nothing of it stays behind, however it ends."""

import contextlib
import glob
import json
import os
import signal
import subprocess
import unittest
from pathlib import Path

from lib import guest, paths, sandbox
from lib.agent import SANITIZER_REPORT

SECONDS = 170  # it promises less than three minutes


class Run:
    """One run of the program, and the traces that are its own."""

    def __init__(self, *options, program=paths.MUDANZA, **popen):
        self.process = subprocess.Popen(
            [program, "demo", "--kernel", guest.KERNEL, "--initrd", guest.INITRD, *options],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, start_new_session=True, **popen)
        self.name = f"mudanza-demo-{self.process.pid}-"
        self.stdout = self.stderr = ""

    def until(self, text):
        """Reads what it says until `text` came."""
        for line in self.process.stderr:
            self.stderr += line
            if text in line:
                return
        raise AssertionError(f"ended without '{text}':\n{self.stderr}")

    def finish(self):
        """Waits for its end; returns its status."""
        stdout, stderr = self.process.communicate(timeout=SECONDS)
        self.stdout += stdout
        self.stderr += stderr
        if SANITIZER_REPORT.search(self.stderr.encode()):
            raise AssertionError(f"sanitizer report:\n{self.stderr}")
        return self.process.returncode

    def pids(self):
        """Its processes: children, and what names its directory."""
        found = {int(pid) for namespace in sandbox.namespaces(self.name)
                 for pid in sandbox.pids(namespace)}
        for path in glob.glob(f"/proc/{self.process.pid}/task/*/children"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that ended
                found |= {int(pid) for pid in Path(path).read_text(encoding="ascii").split()}
        for path in glob.glob("/proc/[0-9]*/cmdline"):
            try:
                if self.name.encode() in Path(path).read_bytes():
                    found.add(int(path.split("/")[2]))
            except (FileNotFoundError, ProcessLookupError):
                continue  # ended while we looked
        return found

    def left(self):
        """What is still there of it."""
        return [*sandbox.namespaces(self.name), *glob.glob(f"/tmp/{self.name}*"), *self.pids()]

    def left_after(self, seconds):
        """The same, once those processes of it that are left have ended, or the time is up."""
        pidfds = []
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                pidfds.append(os.pidfd_open(pid))
        sandbox.wait_gone(pidfds, seconds)
        for pidfd in pidfds:
            os.close(pidfd)
        return self.left()

    def close(self):
        """For a test that fails in the middle: the watcher cleans up behind it."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.communicate(timeout=60)
        self.process.stdout.close()
        self.process.stderr.close()


class DemoCase(unittest.TestCase):
    """Starts runs and ends them."""

    def setUp(self):
        if os.geteuid() != 0:
            self.skipTest("network namespaces need root")

    def demo(self, *options, **popen):
        run = Run(*options, **popen)
        self.addCleanup(run.close)
        return run


class Shows(DemoCase):
    """The whole story."""

    slow = True

    def check_story(self, run):
        self.assertIn("\n1. Live, alpha to beta", run.stderr)
        self.assertIn("\n2. Non-live, beta to alpha", run.stderr)
        self.assertIn("\n3. Offline, alpha to beta", run.stderr)
        self.assertEqual(run.stderr.count("none lost or repeated. Memory checked: no wrong byte."),
                         2, run.stderr)
        places = [line.strip() for line in run.stderr.splitlines()
                  if line.startswith("   alpha: ")]
        self.assertEqual(places, ["alpha: demo shut off, defined; beta: demo running, transient.",
                                  "alpha: demo running, defined; beta: nothing.",
                                  "alpha: nothing; beta: demo shut off, defined."])

    def check_reports(self, reports):
        moves = [(r["mode"], r["source"], r["destination"], r["outcome"], r["verified"])
                 for r in reports]
        self.assertEqual(moves, [("live", "alpha", "beta", "completed", True),
                                 ("non-live", "beta", "alpha", "completed", True),
                                 ("offline", "alpha", "beta", "completed", False)])
        self.assertTrue(all(r["ram_bytes"] > 128 << 20 for r in reports[:2]), reports)

    def test_two_at_once(self):
        lines, table = self.demo("--json"), self.demo()
        for run in (lines, table):
            self.assertEqual(run.finish(), 0, run.stderr)
            self.check_story(run)
            self.assertEqual(run.left(), [])
        self.assertEqual(lines.stdout.count("\n"), 1)
        self.check_reports(json.loads(lines.stdout)["reports"])
        rows = [line.split()[:5] for line in table.stdout.strip().splitlines()]
        self.assertEqual(rows[1:], [["demo", "live", "completed", "alpha", "beta"],
                                    ["demo", "non-live", "completed", "beta", "alpha"],
                                    ["demo", "offline", "completed", "alpha", "beta"]])

    def test_ctrl_c_aborts_a_move(self):
        run = self.demo("--json")
        run.until("demo: copy")
        run.process.send_signal(signal.SIGINT)
        self.assertEqual(run.finish(), 1, run.stderr)
        self.assertEqual([r["outcome"] for r in json.loads(run.stdout)["reports"]], ["aborted"])
        self.assertEqual(run.left(), [])

    def test_a_signal_ends_a_move(self):
        run = self.demo("--json")
        run.until("2. Non-live")
        run.until("demo: copy")
        run.process.send_signal(signal.SIGTERM)
        self.assertEqual(run.finish(), 1, run.stderr)
        self.assertEqual(json.loads(run.stdout)["error"]["kind"], "cancelled")
        self.assertEqual(run.left(), [])

    def test_killed(self):
        run = self.demo()
        run.until("It is up")
        pidfds = []
        for pid in run.pids():
            with contextlib.suppress(ProcessLookupError):  # short-lived: ended while we looked
                pidfds.append(os.pidfd_open(pid))
        self.assertGreater(len(pidfds), 3)  # watcher, agents, QEMU
        run.process.kill()
        run.process.wait()
        late = sandbox.wait_gone(pidfds, 60)
        for pidfd in pidfds:
            os.close(pidfd)
        self.assertEqual(late, set())
        # A process that was no longer, or not yet, listed may still be on its way out.
        self.assertEqual(run.left_after(20), [])


class LeavesNothing(DemoCase):
    """Ends while the guest boots."""

    def test_interrupted(self):
        # Who started us may ignore it (nohup), which the program would inherit, and keep to.
        self.addCleanup(signal.signal, signal.SIGHUP, signal.signal(signal.SIGHUP, signal.SIG_DFL))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            with self.subTest(signal=number):
                run = self.demo()
                run.until("Booting")
                self.assertGreater(len(run.pids()), 2)
                run.process.send_signal(number)
                self.assertEqual(run.finish(), 1, run.stderr)
                self.assertTrue(run.stderr.endswith("mudanza: interrupted\n"), run.stderr)
                self.assertEqual(run.stdout, "")
                self.assertEqual(run.left(), [])


class Refuses(DemoCase):
    """What it needs and does not find is an error that says what to do."""

    def refusal(self, *options, **popen):
        run = self.demo("--json", *options, **popen)
        self.assertEqual(run.finish(), 1, run.stderr)
        self.assertEqual(run.left(), [])
        return json.loads(run.stdout)["error"]

    def test_an_ordinary_user(self):
        program = paths.for_everybody(paths.MUDANZA)
        error = self.refusal(program=program, user=65534, group=65534, extra_groups=[])
        self.assertEqual(error["kind"], "denied")
        self.assertIn("sudo", error["hint"])

    def test_no_kernel(self):
        error = self.refusal("--kernel", "/nonexistent/vmlinuz")
        self.assertEqual(error["kind"], "not-found")
        self.assertIn("/nonexistent/vmlinuz", error["message"])

    def test_no_programs(self):
        error = self.refusal(env={**os.environ, "PATH": "/nonexistent"})
        self.assertEqual(error["kind"], "not-found")
        self.assertIn("scripts/setup", error["hint"])

    def test_a_guest_that_is_none(self):
        run = self.demo("--kernel", __file__, "--json")
        self.assertEqual(run.finish(), 1)
        self.assertIn("error", json.loads(run.stdout))
        self.assertEqual(run.left(), [])
