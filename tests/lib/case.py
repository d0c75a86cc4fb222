# SPDX-License-Identifier: Apache-2.0
"""A test case with a lab of its own, and the one system setting that guests may need."""

import fcntl
import os
import unittest
from pathlib import Path

from . import paths
from .lab import Lab

USERFAULTFD = Path("/proc/sys/vm/unprivileged_userfaultfd")
LOCK = Path("/run/lock/mudanza-test-userfaultfd")


class LabCase(unittest.TestCase):
    """Each test gets a fresh lab in self.lab; what agents complain about at the end fails it.

    hosts: the names of the lab's hosts. slow: left out by `run-integration --quick`.
    """

    hosts = "ABC"
    slow = False

    def setUp(self):
        if os.geteuid() != 0:
            self.skipTest("network namespaces need root")
        for program in (paths.MUDANZA, paths.MUDANZAD):
            if not program.exists():
                self.fail(f"{program} is not built")
        self.lab = Lab(self.hosts)
        self.addCleanup(self._close)

    def _close(self):
        complaints = self.lab.close()
        if complaints:
            self.fail("\n".join(complaints))

    def agents(self, *hosts, **options):
        """Starts agents on hosts, each known to the others; returns them in order."""
        agents = [self.lab.agent(host, **options) for host in hosts]
        self.lab.pair(*agents)
        return agents


class unprivileged_userfaultfd:
    """Lets QEMU use userfaultfd (post-copy) as an unprivileged user, as packaging/sysctl.d does.

    Shared by everything that runs on this machine: the last one to leave puts the old value back.
    """

    def __enter__(self):
        self._lock = open(LOCK, "a+", encoding="ascii")
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                first = True
            except BlockingIOError:
                fcntl.flock(self._lock, fcntl.LOCK_SH)
                first = False
            self._lock.seek(0)
            saved = self._lock.read()
            if first:
                # What a killed run left in the file is still the value from before it.
                if not saved:
                    self._lock.write(USERFAULTFD.read_text(encoding="ascii"))
                    self._lock.flush()
                USERFAULTFD.write_text("1", encoding="ascii")
                fcntl.flock(self._lock, fcntl.LOCK_SH)
                return self
            if saved:
                return self
            fcntl.flock(self._lock, fcntl.LOCK_UN)  # the last one left just now: be the first

    def __exit__(self, *_exception):
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            return  # somebody else still needs it
        self._lock.seek(0)
        USERFAULTFD.write_text(self._lock.read(), encoding="ascii")
        self._lock.truncate(0)
        self._lock.close()
