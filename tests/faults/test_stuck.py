# SPDX-License-Identifier: Apache-2.0
"""A destination's QEMU that is still busy with what it has been given when its agent comes back."""

import os
import signal
import threading

from lib.moving import PATIENCE

from .cell import COPY, Cell, CellCase

#: What a restarted agent says once a QEMU has not answered for longer than one that is well takes.
SILENT = "its QEMU does not answer; waiting for it"
#: Looks at the sockets, one after the other, that find nothing in any: what an agent has just taken
#: out of one is in another by the next look.
EMPTY_LOOKS = 3


class Stuck(CellCase):
    def test_owner_loads_slowly(self):
        """The rest of the guest lies in the socket of a QEMU that has not read it. Nobody else may.

        The rest must fit into that socket: so the guest stands from the beginning, which leaves
        nothing but the devices' state for the end, and the socket is empty before.
        """
        self.run_cell(Cell(
            "slow load", "there", faults=("source-pre-switchover:hold", "destination-owner-after:kill"),
            point="source-pre-switchover", act="stuck",
            options=(("bandwidth", COPY), ("mode", "non_live"))))
        self.assertIn(SILENT, self.b.log_tail(1 << 20))

    def act_stuck(self, reached):
        (pid,) = self.b.qemus()
        self.empty_looks = 0
        self.await_that(self.all_is_read, "the stream's sockets do not become empty")
        os.kill(pid, signal.SIGSTOP)
        go_on = threading.Thread(target=self.go_on, args=(pid,), daemon=True)
        go_on.start()
        self.addCleanup(go_on.join)
        reached.let_go()

    def all_is_read(self):
        """Has nothing been on its way between the QEMUs in the last looks? The source's waits."""
        self.empty_looks = 0 if self.bytes_in_sockets() else self.empty_looks + 1
        return self.empty_looks >= EMPTY_LOOKS

    def bytes_in_sockets(self):
        """Bytes in all connections of both hosts, of either direction."""
        listed = "".join(self.lab[host].run("ss", "-xtnH", "state", "established",
                                            capture_output=True, text=True).stdout for host in "AB")
        return sum(int(n) for line in listed.splitlines() for n in line.split()[1:3])

    def go_on(self, pid):
        try:
            self.await_that(lambda: SILENT in self.b.log_tail(), "the new agent finds it silent")
        finally:
            os.kill(pid, signal.SIGCONT)
