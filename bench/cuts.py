# SPDX-License-Identifier: Apache-2.0
"""Cases in which the link between the hosts is disturbed in the middle of a move.

    cut      nothing passes for 40 s; the link stays up, so nobody is told
    reset    the kernel resets every TCP connection of both hosts
    address  the destination loses its address and has another one a moment later, which an
             administrator tells to whoever can be told

A move may fail here: that is what is found out. Each repetition has hosts and guests of its own. The
guests speak over a second network of the hosts, as their packets must not depend on the address that
changes.

    resumed_ms   from the link's return (the reset, the new address) until data flows again
    resent       blocks of Mudanza's stream that were sent again, as they had not arrived
    sent_twice   those that had arrived: must be 0, and the destination's agent notices each
    qemu_errors  what both QEMUs said of errors, and states of their migrations that are an error or
                 its mending
"""

import re
import time

from . import meter
from .contender import PATIENCE_S
from .stage import VM, Stage, second_network

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
            return self.guest.heart.beats[-1].source == self.guest.addresses["B"]
        return meter.sent_bytes(self.pid) - self.first > BEFORE

    def _cut(self, process):
        self.lab["B"].cut()
        # Not an event: the cut's length is what the case is about.
        self._await(process, lambda: False, CUT_S)
        self.lab["B"].heal()

    def _reset(self, _process):
        for host in "AB":
            self.lab[host].reset()

    def _address(self, _process):
        self._change_address(self.lab["B"].address, NEW_ADDRESS)

    def _change_address(self, old, new):
        # In this order: with the first address of a network the kernel drops its others.
        for word, address in ("del", old), ("add", new):
            self.lab["B"].run("ip", "addr", word, f"{address}/24", "dev", "br0")
        self.guest.system.tell_address("A", "B", new)

    def undo(self):
        """The network is as before, for whoever comes next."""
        if self.case.cut == "address":
            self._change_address(NEW_ADDRESS, self.lab["B"].address)

    def meanwhile(self, process):
        """Waits for the moment, disturbs, and waits for data to flow again."""
        if not self._await(process, self._due, PATIENCE_S):
            raise RuntimeError(f"{self.guest.system.name}: the move was over before its middle")
        {"cut": self._cut, "reset": self._reset, "address": self._address}[self.case.cut](process)
        began, sent = time.monotonic(), meter.sent_bytes(self.pid)
        again = self._await(process, lambda: meter.sent_bytes(self.pid) - sent > AGAIN, GONE_S)
        again = again or process.poll() == 0  # less than that was left
        return {"resumed_ms": (time.monotonic() - began) * 1000 if again else None}


def stage(lab, case, say):
    """A stage on which moves can be disturbed. Agents tell of each event of a QEMU."""
    return Stage(lab, case.guest, case.limit, say, addresses=second_network(lab),
                 agent_options=("--log-level", "debug"))


def qemu_errors(system):
    """What the QEMUs of a system have to complain of, as lines."""
    bad = re.compile(r"error|fail|unable|invalid|MIGRATION (cancel|postcopy-(paused|recover))",
                     re.IGNORECASE)
    return [line for line in system.qemu_says(VM) if bad.search(line)]


def run(fresh, case, system, options):
    """One disturbed move on a fresh stage; a sample."""
    guest = fresh.moving[system]
    guest.resume()
    guest.settle()
    disturbance = Disturbance(fresh.lab, guest, case)
    sample = guest.move(options, meanwhile=disturbance.meanwhile)
    disturbance.undo()
    errors = qemu_errors(guest.system)
    sample |= {"qemu_errors": len(errors), **guest.system.blocks(sample)}
    if errors and sample["completed"]:
        sample["error"] = f"QEMU: {errors[0]}"
    # Heartbeats get lost where the link is cut; wrong memory would be something else.
    if bad := guest.wrong_memory():
        sample["error"] = f"guest: {bad}"
    return sample
