# SPDX-License-Identifier: Apache-2.0
"""Carries cases out: all that share a guest and a link share a stage, with one boot for each system.

Theory of operation. Mudanza and libvirt have their own guest each, of the same kind; between its
turns a guest is suspended and costs nothing. In each round every contender has one move, in turn,
from wherever the guest is to the other host, so that what changes on the machine changes for all.
Who begins changes from round to round. Memory is warm: a virtual machine may have given what is
free back to its host, and who gets it again first pays five times as much for a page. That can be
most of a move's time, says nothing about who moves, and does not happen on hosts that are machines.
Mudanza moves twice: plainly, as its peers do, and with --verify, which compares all RAM while the
guest stands still and is listed apart, because comparing takes time that no peer spends.
"""

import subprocess
import sys
import time

from . import cases, meter
from .contender import Mudanza
from .peer_libvirt import Virsh

VM = "bench"
BEFORE_MS = 1000  # before a move: what the guest's work during it is compared with
SETTLE_MS = 1300  # of calm before each move
BOOT_S = 900
LISTEN_S = 30     # after a move, until the guest is heard at its new place
GIVEN_UP_MAX = 2  # a contender whose moves never end is not asked more often than this
RETURN_S = 40     # a guest that moved less long ago comes back at once; older ones move once more
#: Memory that is touched before a move: that of the guest, and of what a daemon may keep of it.
WARM_GUESTS, WARM_MAX = 2, 4 << 30
TOUCH = """
import mmap, sys
memory = mmap.mmap(-1, int(sys.argv[1]), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory.madvise(mmap.MADV_HUGEPAGE)
pages = len(memory) // mmap.PAGESIZE
memory[::mmap.PAGESIZE] = bytes([1]) * pages
"""
MUDANZA = {"mudanza": [], "mudanza-verify": ["--verify"]}


def warm_memory(size):
    """Has the machine have `size` bytes of free memory of which every page was used just now."""
    subprocess.run([sys.executable, "-c", TOUCH, str(size)], check=True)


def other(host):
    """The other one of two."""
    return "B" if host == "A" else "A"


class Moving:
    """A running guest of one system: where it is, what it says."""

    def __init__(self, lab, system, kind, name=VM, at="A", heartbeat_ms=2, *, addresses=None):
        """addresses: of the hosts, which the guest's packets come from and go to (None: those that
        the hosts use among themselves)."""
        self.system, self.kind, self.name, self.at = system, kind, name, at
        self.moved = 0  # when, by the monotonic clock
        self.addresses = addresses or {host: lab[host].address for host in "ABC"}
        self.listener = lab["C"].listener(address=self.addresses["C"])
        system.start(at, name, cases.machine_xml(kind, name, self.listener.address, heartbeat_ms))

    @property
    def heart(self):
        return self.listener.heart

    def await_ready(self):
        """Returns when it has booted."""
        self.heart.wait(lambda h: h.of("RDY") or h.of("ERR"), BOOT_S)
        if self.heart.of("ERR"):
            raise RuntimeError(f"{self.system.name}: the guest says {self.heart.of('ERR')[0]}")
        self.settle()

    def suspend(self):
        self.system.suspend(self.at, self.name)

    def resume(self):
        self.system.resume(self.at, self.name)

    def settle(self):
        """Returns when it has been running for a while."""
        seen = len(self.heart.lines)
        self.heart.wait(lambda h: sum(l.kind == "HB" for l in h.lines[seen:]) >= 2, LISTEN_S)
        goal = self.heart.last["t"] + SETTLE_MS
        self.heart.wait(lambda h: h.last["t"] >= goal, LISTEN_S)

    def move(self, options, **how):
        """One move to the other host; what it cost and what the guest felt. how: as for
        Contender.move."""
        destination = other(self.at)
        heart, counter = self.heart, cases.GUESTS[self.kind].work
        first = len(heart.beats) - 1
        gauge, sample = self.system.move(self.name, self.at, destination, options, **how)
        if sample["completed"]:
            self.at, self.moved = destination, time.monotonic()
            there = self.addresses[destination]
            heart.wait(lambda h: h.beats[-1].source == there, LISTEN_S)
        lines = len(heart.lines)
        try:
            heart.wait(lambda h: any(l.kind == "HB" for l in h.lines[lines:]), LISTEN_S)
        except TimeoutError:
            if sample["completed"] or "meanwhile" not in how:
                raise
            sample["error"] += "; the guest stands still"
        felt = self._felt(heart.beats[first:], gauge, counter, sample["completed"])
        share = felt["work_share"]
        lost = None if share is None else (1 - share) * sample["total_ms"]
        return sample | felt | {"work_lost_ms": lost}

    def wrong_memory(self):
        """What the guest says of memory that is not as it must be; it looks where its words have it
        check or write. Empty: nothing."""
        return " ".join(f"{line.kind} {line.fields}"
                        for line in self.heart.of("BAD") + self.heart.of("ERR"))

    def _felt(self, beats, gauge, counter, completed):
        gaps = [(b.time_ns - a.time_ns, a.source != b.source) for a, b in zip(beats, beats[1:])]
        before = meter.work_rate(self.heart.lines, counter, gauge.wall_ns - BEFORE_MS * 1_000_000,
                                 gauge.wall_ns)
        during = meter.work_rate(self.heart.lines, counter, gauge.wall_ns, gauge.end_wall_ns)
        changed = [ns for ns, moved in gaps if moved]
        return {"downtime_ms": changed[0] / 1e6 if completed else None,
                "worst_gap_ms": max(ns for ns, _ in gaps) / 1e6,
                "work_per_s": during,
                "work_share": during / before if before and during is not None else None}


def second_network(lab):
    """Gives each host one more address, for its guests' packets; those addresses."""
    addresses = {host: lab[host].address.replace("10.77.", "10.78.") for host in "ABC"}
    for host, address in addresses.items():
        lab[host].run("ip", "addr", "add", f"{address}/24", "dev", "br0")
    return addresses


class Stage:
    """Both systems with their guests on a fresh lab, whose end is theirs. say: takes progress.
    addresses: see Moving."""

    def __init__(self, lab, kind, limit, say, *, addresses=None, agent_options=()):
        self.lab, self.kind, self.say = lab, kind, say
        self.systems = {"mudanza": Mudanza(lab, options=agent_options), "virsh": Virsh(lab)}
        for host in "AB":
            lab[host].limit(limit)
        self.moving = {name: Moving(lab, system, kind, addresses=addresses)
                       for name, system in self.systems.items()}
        self.siblings = {}
        for guest in self.moving.values():
            guest.await_ready()
            guest.suspend()

    def versions(self):
        """Of the systems."""
        return {"mudanza": self.systems["mudanza"].version(),
                "libvirt": self.systems["virsh"].version()}

    def _add_siblings(self):
        if self.siblings:
            return
        self.say("booting the siblings")
        self.siblings = {name: [Moving(self.lab, system, self.kind, f"sibling{host}", host, 100)
                                for host in "AB"] for name, system in self.systems.items()}
        for guest in sum(self.siblings.values(), []):
            guest.await_ready()
            guest.suspend()

    def run(self, case, repeat, on_round):
        """All rounds of a case; a list of samples for each contender."""
        contenders = [("mudanza", name, options) for name, options in MUDANZA.items()]
        contenders += [("virsh", name, options) for name, options in case.peers.items()]
        samples = {name: [] for _, name, _ in contenders}
        if case.shape == "sibling":
            self._add_siblings()
        for number in range(repeat):
            began = time.monotonic()
            first = number % len(contenders)  # see the theory of operation
            for system, name, options in contenders[first:] + contenders[:first]:
                given_up = [s for s in samples[name] if not s["completed"]]
                if len(given_up) < GIVEN_UP_MAX:
                    samples[name].append(self._turn(case, system, options))
                    self.say(f"{number + 1}/{repeat} {name}: {in_words(samples[name][-1])}")
            on_round(time.monotonic() - began)
        return samples

    def _turn(self, case, system, options):
        """One contender's move, with what must come before it."""
        guest = self.moving[system]
        company = self.siblings[system] if case.shape == "sibling" else []
        for resumed in [guest, *company]:
            resumed.resume()
        if case.shape != "return":
            self.systems[system].forget(other(guest.at))
        elif system == "mudanza" and time.monotonic() - guest.moved > RETURN_S:
            guest.move([])  # libvirt keeps nothing: for it all moves are alike
        warm_memory(min(WARM_GUESTS * cases.GUESTS[guest.kind].memory, WARM_MAX))
        for settled in [*company, guest]:
            settled.settle()
        sample = guest.move(options)
        if bad := guest.wrong_memory():
            raise RuntimeError(f"{system}: the guest says {bad}")
        for suspended in [guest, *company]:
            suspended.suspend()
        return sample


def in_words(sample):
    """One sample in a line."""
    if not sample["completed"]:
        return (f"{sample['outcome']} after {sample['total_ms'] / 1000:.0f} s, "
                f"{sample['wire_mib']:.0f} MiB {sample['error']}")
    return (f"{sample['total_ms']:.0f} ms, downtime {sample['downtime_ms']:.0f} ms, "
            f"{sample['wire_mib']:.1f} MiB")
