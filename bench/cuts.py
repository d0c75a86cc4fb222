# SPDX-License-Identifier: Apache-2.0
"""Cases in which the link between the hosts is disturbed in the middle of a move.

    cut      nothing passes for 40 s; the link stays up, so nobody is told
    reset    the kernel resets every TCP connection of both hosts
    address  the destination loses its address and has another one a moment later, which an
             administrator tells to whoever can be told

A move may fail here: that is what is found out. Each repetition has hosts and guests of its own.
"""

import time

from . import meter
from .contender import PATIENCE_S

CUT_S = 40
MIB = 1 << 20
BEFORE = 150 * MIB  # sent before pre-copy is disturbed
AGAIN = MIB         # sent after it: data flows again
POLL_S = 0.01
GONE_S = 30         # data that does not flow again for so long is not waited for
NEW_ADDRESS = "10.77.0.20"


class Disturbance:
    """What happens to one move. `meanwhile` is for Contender.move."""

    def __init__(self, lab, guest, case):
        self.lab, self.guest, self.case = lab, guest, case
        self.pid = guest.system.daemons["A"]
        self.first = meter.sent_bytes(self.pid)

    def _await(self, process, condition, seconds):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if condition():
                return True
            if process.poll() is not None:
                return False
            time.sleep(POLL_S)
        return False

    def _due(self):
        """In pre-copy, some of it has been sent; in post-copy, the guest runs at B."""
        if self.case.post_copy:
            return self.guest.heart.beats[-1].source == self.lab["B"].address
        return meter.sent_bytes(self.pid) - self.first > BEFORE

    def _cut(self, process):
        self.lab["B"].cut()
        # Not an event: the cut's length is what the case is about.
        self._await(process, lambda: False, CUT_S)
        self.lab["B"].heal()

    def _reset(self, _process):
        for host in "AB":
            # It says that it failed although it did not, wherever IPv6 sockets are among them.
            self.lab[host].run("ss", "-K", "-t", "state", "established", check=False,
                               capture_output=True)

    def _address(self, _process):
        host = self.lab["B"]
        host.run("ip", "addr", "add", f"{NEW_ADDRESS}/24", "dev", "br0")
        host.run("ip", "addr", "del", f"{host.address}/24", "dev", "br0")
        self.guest.system.tell_address("A", "B", NEW_ADDRESS)

    def meanwhile(self, process):
        """Waits for the moment, disturbs, and waits for data to flow again."""
        if not self._await(process, self._due, PATIENCE_S):
            raise RuntimeError(f"{self.guest.system.name}: the move was over before its middle")
        {"cut": self._cut, "reset": self._reset, "address": self._address}[self.case.cut](process)
        began, sent = time.monotonic(), meter.sent_bytes(self.pid)
        again = self._await(process, lambda: meter.sent_bytes(self.pid) - sent > AGAIN, GONE_S)
        again = again or process.poll() == 0  # less than that was left
        return {"resumed_ms": (time.monotonic() - began) * 1000 if again else None}


def run(stage, case, system, options):
    """One disturbed move on a fresh stage; a sample."""
    guest = stage.moving[system]
    guest.resume()
    disturbance = Disturbance(stage.lab, guest, case)
    sample = guest.move(options, meanwhile=disturbance.meanwhile)
    # Heartbeats get lost where the link is cut; wrong memory would be something else.
    if sample["completed"] and (bad := guest.heart.of("BAD") + guest.heart.of("ERR")):
        sample["error"] = f"guest: {bad[0].kind} {bad[0].fields}"
    return sample
