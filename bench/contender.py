# SPDX-License-Identifier: Apache-2.0
"""Who is measured: something on two hosts that runs guests and moves them by a command."""

import json
import os
import re
import subprocess

from lib import paths

from . import meter

#: What the agent of a destination says of what came although it was there (src/wire/link.c).
SENT_TWICE = re.compile(r"(\d+) blocks came although they were here")
#: A move that takes longer than this is given up and recorded as one that never ended.
PATIENCE_S = 60


class MoveFailed(Exception):
    """A move neither completed nor was given up by us: the benchmark cannot go on with its guest."""


class Contender:
    """Hosts A and B with their daemons, and a command that moves a VM between them.

    Subclasses start the daemons, name them to `count`, and carry out the rest.
    """

    def __init__(self, lab, name):
        self.lab, self.name = lab, name
        self.groups = {host: meter.CpuGroup(f"{lab.prefix}{host}-{name}") for host in "AB"}
        self.daemons = {}

    def count(self, daemons):
        """Takes the daemons' pids: their CPU time and memory count from now on, and that of all
        that they start."""
        self.daemons = daemons
        for host, pid in daemons.items():
            self.groups[host].add(pid)

    def start(self, host, vm, xml):
        raise NotImplementedError

    def suspend(self, host, vm):
        raise NotImplementedError

    def resume(self, host, vm):
        raise NotImplementedError

    def destroy(self, host, vm):
        raise NotImplementedError

    def command(self, vm, source, destination, options):
        """The move's whole command line."""
        raise NotImplementedError

    def tell_address(self, host, peer, address):
        """The peer of a host has another address now; nothing where nobody can be told."""

    def abort(self, vm, source):
        """Ends a move that goes on and on; the guest runs on at its source. False: it cannot be
        ended, as in post-copy."""
        raise NotImplementedError

    def account(self, output, vm, destination):
        """What the contender itself says about a move that completed: inside_ms, and whether RAM
        was compared."""
        raise NotImplementedError

    def qemu_says(self, vm):
        """Lines: what both QEMUs of a VM wrote and told, as far as it is known."""
        raise NotImplementedError

    def blocks(self, sample):
        """What a disturbed move sent again, see cuts.py; nothing where that is not known."""
        return {}

    def forget(self, host):
        """Nothing of a VM that left `host` may be left there: the next move to it is a first one."""

    def move(self, vm, source, destination, options, *, meanwhile=None, patience_s=PATIENCE_S):
        """Moves a VM; measures it. Returns the meter and what it measured.

        meanwhile: called once the command runs; what it returns, a dictionary, is part of it. With
        it a move may fail: that is then a result like others.
        """
        words = self.command(vm, source, destination, options)
        gauge = meter.Meter([self.groups[h] for h in (source, destination)],
                            [self.daemons[h] for h in (source, destination)])
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
        sample = {"resumed_ms": None}
        if meanwhile:
            sample |= meanwhile(process)
        try:
            output, errors = process.communicate(timeout=patience_s)
            given_up = False
        except subprocess.TimeoutExpired:
            if not self.abort(vm, source):
                process.kill()
            output, errors = process.communicate(timeout=PATIENCE_S)
            given_up = process.returncode != 0  # else it ended just then
        sample |= gauge.stop()
        completed = process.returncode == 0
        if not completed and not given_up and not meanwhile:
            raise MoveFailed(f"{self.name}: {' '.join(map(str, words))}\n{output}{errors}")
        sample |= self.account(output, vm, destination) if completed else \
            {"inside_ms": None, "verified": False}
        outcome = "completed" if completed else "given up" if given_up else "failed"
        return gauge, sample | {"completed": completed, "outcome": outcome,
                                "error": "" if completed else last_line(errors)}


def lines_of(path):
    """A file's lines; none when it is not there."""
    return path.read_text(errors="replace").splitlines() if path.exists() else []


def last_line(text):
    """What a command said at its end."""
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""


class Mudanza(Contender):
    """Agents on both hosts."""

    def __init__(self, lab, name="mudanza", options=()):
        super().__init__(lab, name)
        self.agents = {host: lab.agent(host, emulator=paths.QEMU_10, qemu_user="root",
                                       address="0.0.0.0", options=options)
                       for host in "AB"}
        lab.pair(*self.agents.values())
        self.count({host: agent.process.pid for host, agent in self.agents.items()})

    def start(self, host, vm, xml):
        self.agents[host].define(xml)
        self.agents[host].call("Start", vm=vm, paused=False)

    def suspend(self, host, vm):
        self.agents[host].call("Suspend", vm=vm)

    def resume(self, host, vm):
        self.agents[host].call("Resume", vm=vm)

    def destroy(self, host, vm):
        self.agents[host].call("Destroy", vm=vm)
        self.agents[host].call("Undefine", vm=vm)

    def command(self, vm, source, destination, options):
        return self.agents[source].command("migrate", vm, destination, "--persistent",
                                           "--undefine-source", "--json", *options)

    def tell_address(self, host, peer, address):
        other = self.agents[peer]
        self.agents[host].call("AddHost", name=peer, address=address, port=other.port,
                               fingerprint=other.fingerprint)

    def abort(self, vm, source):
        return self.agents[source].run("abort", vm).returncode == 0

    def account(self, output, vm, destination):
        report = json.loads(output)
        return {"inside_ms": report["total_ms"], "verified": report["verified"], "report": report}

    def qemu_says(self, vm):
        lines = []
        for agent in self.agents.values():
            lines += [line for line in agent.log_tail(1 << 24).splitlines() if "QEMU event" in line]
            lines += lines_of(agent.state_directory / "log" / f"{vm}.log")
        return lines

    def blocks(self, sample):
        stream = sample.get("report", {}).get("stream")
        logs = [agent.log_tail(1 << 24) for agent in self.agents.values()]
        twice = [int(count) for log in logs for count in SENT_TWICE.findall(log)]
        return {"resent": stream["resent"], "sent_twice": sum(twice)} if stream else {}

    def forget(self, host):
        # Kept RAM goes with the agent's end. The source keeps its copy during the move, as it would
        # in real life: that is part of what a move costs.
        self.agents[host].restart()
        self.count({**self.daemons, host: self.agents[host].process.pid})

    def version(self):
        """That of the agents."""
        return self.agents["A"].call("GetAgent")["version"]


def qemu_version():
    """Of the binary that everybody uses."""
    text = subprocess.run([paths.QEMU_10, "--version"], capture_output=True, text=True,
                          check=True).stdout
    return text.split("version ")[1].split()[0]


def machine():
    """What the figures depend on besides the programs: processor and how many of it."""
    model = "unknown"
    with open("/proc/cpuinfo", encoding="utf-8") as info:
        for line in info:
            if line.startswith("model name"):
                model = line.split(":")[1].strip()
                break
    return {"processor": model, "cores": os.cpu_count(), "kernel": os.uname().release}
