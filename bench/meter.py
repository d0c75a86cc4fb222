# SPDX-License-Identifier: Apache-2.0
"""What a move costs, seen from outside of whoever carries it out.

CPU time comes from a control group (cgroup2) for each host and contender: processes that end
during the move, the source's QEMU above all, count as well. Bytes come from the hosts' network
interfaces, downtime from a third host that hears the guest.
"""

import os
import resource
import time
from pathlib import Path


def _cgroup2():
    for line in Path("/proc/mounts").read_text(encoding="ascii").splitlines():
        fields = line.split()
        if fields[2] == "cgroup2":
            return Path(fields[1])
    raise RuntimeError("no cgroup2 file system is mounted: CPU time cannot be measured")


class CpuGroup:
    """A control group that only accounts; close_all() when the processes of all are gone."""

    _open = []

    def __init__(self, name):
        self.path = _cgroup2() / name
        self.path.mkdir()
        self._open.append(self)

    def add(self, pid):
        """A process, and all that it starts from now on."""
        (self.path / "cgroup.procs").write_text(str(pid), encoding="ascii")

    def seconds(self):
        """CPU seconds used so far."""
        text = (self.path / "cpu.stat").read_text(encoding="ascii")
        return int(text.split()[text.split().index("usage_usec") + 1]) / 1e6

    @classmethod
    def close_all(cls):
        """Removes the groups; their processes have ended."""
        while cls._open:
            cls._open.pop().path.rmdir()


def process_seconds(pid):
    """CPU seconds of a process and its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def forget_peak(pid):
    """Lets a process's memory peak begin anew."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


def peak_mib(pid):
    """The most memory a process had resident since forget_peak, in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} shows no VmHWM")


def sent_bytes(pid):
    """Bytes that left a process's host by its link."""
    for line in Path(f"/proc/{pid}/net/dev").read_text(encoding="ascii").splitlines():
        name, _, counters = line.partition(":")
        if name.strip() == "eth0":
            return int(counters.split()[8])
    raise RuntimeError(f"process {pid} has no eth0")


def work_rate(lines, counter, begin_ns, end_ns):
    """What the guest got done in a second of that time by one of its counters (n, w or c).

    From its lines at or before the beginning and at or after the end, each about 100 ms from the
    next: what it did not get done while it stood still is part of it. None when there are none.
    """
    beats = [line for line in lines if line.kind == "HB" and counter in line.fields]
    before = [line for line in beats if line.time_ns <= begin_ns]
    after = [line for line in beats if line.time_ns >= end_ns]
    if not before or not after or after[0].time_ns == before[-1].time_ns:
        return None
    done = after[0].fields[counter] - before[-1].fields[counter]
    return done * 1e9 / (after[0].time_ns - before[-1].time_ns)


class Meter:
    """One move: created just before its command, `stop` just after it.

    groups: the CpuGroups of both hosts; daemons: pids of the agents or libvirtds there.
    """

    def __init__(self, groups, daemons):
        self._groups, self._daemons = groups, daemons
        for pid in daemons:
            forget_peak(pid)
        self._cpu = self._cpu_now()
        self._sent = [sent_bytes(pid) for pid in daemons]
        self.wall_ns = time.time_ns()  # the listener's clock
        self._began = time.monotonic_ns()

    def _cpu_now(self):
        # The command line's own time: it is a child of this process.
        own = resource.getrusage(resource.RUSAGE_CHILDREN)
        return (sum(group.seconds() for group in self._groups) + own.ru_utime + own.ru_stime,
                sum(process_seconds(pid) for pid in self._daemons))

    def stop(self):
        """The move is over: what it cost."""
        total_ns = time.monotonic_ns() - self._began
        self.end_wall_ns = time.time_ns()
        cpu = self._cpu_now()
        sent = [sent_bytes(pid) for pid in self._daemons]
        return {"total_ms": total_ns / 1e6,
                "wire_mib": sum(b - a for a, b in zip(self._sent, sent)) / (1 << 20),
                "cpu_s": cpu[0] - self._cpu[0],
                "daemon_cpu_s": cpu[1] - self._cpu[1],
                "daemon_mib": max(peak_mib(pid) for pid in self._daemons)}
