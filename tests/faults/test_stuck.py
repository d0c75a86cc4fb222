# SPDX-License-Identifier: Apache-2.0
"""A destination's QEMU that is still busy with what it has been given when its agent comes back."""

import os
import signal
import threading

from lib.moving import PATIENCE

from .cell import COPY, Cell, CellCase

#: What a restarted agent says once a QEMU has not answered for longer than one that is well takes.
SILENT = "its QEMU does not answer; waiting for it"


class Stuck(CellCase):
    def test_owner_loads_slowly(self):
        """All of the guest lies in the socket of a QEMU that has not read it. Nobody else may."""
        self.run_cell(Cell(
            "slow load", "there", faults=("source-pre-switchover:hold", "destination-owner-after:kill"),
            point="source-pre-switchover", act="stuck", options=(("bandwidth", COPY),)))
        self.assertIn(SILENT, self.b.log_tail(1 << 20))

    def act_stuck(self, reached):
        (pid,) = self.b.qemus()
        os.kill(pid, signal.SIGSTOP)
        go_on = threading.Thread(target=self.go_on, args=(pid,), daemon=True)
        go_on.start()
        self.addCleanup(go_on.join)
        reached.let_go()

    def go_on(self, pid):
        try:
            self.await_that(lambda: SILENT in self.b.log_tail(), "the new agent finds it silent")
        finally:
            os.kill(pid, signal.SIGCONT)
