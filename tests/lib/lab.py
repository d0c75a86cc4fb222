# SPDX-License-Identifier: Apache-2.0
"""Hosts on one machine: a network namespace each, joined by a switch in one more.

    host A: br0 10.77.0.1/24, fd77::1/64 -- eth0 ===== pA \\
    host B: br0 10.77.0.2/24, fd77::2/64 -- eth0 ===== pB -- switch
    host C: br0 10.77.0.3/24, fd77::3/64 -- eth0 ===== pC /

All of a host's network is in its bridge br0, so that a guest's tap device in br0 is in one segment
with every host, wherever the guest runs. The addresses are the same in every lab: namespaces keep
labs apart, their names carry the pid. A br0 has a MAC of its own that stays: one that it took from
a guest's tap device would leave with that, and the host could not be reached for a while.
"""

import atexit
import concurrent.futures
import ctypes
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from . import paths, sandbox
from .agent import Agent

sys.path.insert(1, str(paths.SOURCE / "tests" / "guest"))
import heartbeat  # noqa: E402 (the guests' folder is not a package)

CLONE_NEWNET = 0x40000000
RTMGRP_LINK = 1
BRIDGE = ("type", "bridge", "stp_state", "0", "forward_delay", "0")
ETH0 = ("dev", "eth0")
TCP_V4 = ("match", "ip", "protocol", "6", "0xff")
TCP_V6 = ("match", "ip6", "protocol", "6", "0xff")
#: What a limited link passes at once, and for how long it keeps what comes faster.
BURST = 512 << 10
LATENCY_MS = 30
UNLIMITED = 1_000_000_000_000
QUEUE_MAX = 64 << 20
_counter = itertools.count()
_labs = []


def bits_per_second(rate):
    """The number that tc's "16mbit" stands for."""
    units = {"kbit": 10**3, "mbit": 10**6, "gbit": 10**9}
    number, unit = re.fullmatch("([0-9]+)([kmg]bit)", rate).groups()
    return int(number) * units[unit]


class Host:
    """One host: its namespace, its addresses and a directory of its own."""

    def __init__(self, lab, name, number):
        self.lab = lab
        self.name = name
        self.namespace = f"{lab.prefix}{name}"
        self.address = f"10.77.0.{number}"
        self.address6 = f"fd77::{number}"
        self.directory = lab.directory / name
        self.directory.mkdir()
        self.directory.chmod(0o755)
        self.mac = f"02:00:00:00:00:{number:02x}"
        sandbox.ip("netns", "add", self.namespace)
        for words in (("-n", self.namespace, "link", "set", "lo", "up"),
                      ("-n", lab.switch, "link", "add", f"p{name}", "master", "sw", "type", "veth",
                       "peer", "name", "eth0", "netns", self.namespace),
                      ("-n", self.namespace, "link", "add", "br0", "address", self.mac, *BRIDGE),
                      ("-n", self.namespace, "link", "set", "eth0", "master", "br0"),
                      ("-n", self.namespace, "addr", "add", f"{self.address}/24", "dev", "br0"),
                      ("-n", self.namespace, "addr", "add", f"{self.address6}/64", "dev", "br0",
                       "nodad")):
            sandbox.ip(*words)
        if lab.ordered:
            self.keep_order()

    def connect(self):
        """Brings the links up; returns when what is sent arrives.

        The bridge comes last: one that is up before its port has a carrier waits for the kernel's
        next look at such things, up to a second, and loses what is sent until then.
        """
        with self.inside(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)) as changes:
            changes.bind((0, RTMGRP_LINK))
            changes.settimeout(30)
            self.run("tc", "qdisc", "add", *ETH0, "root", "handle", "1:", "htb")
            sandbox.ip("-n", self.lab.switch, "link", "set", f"p{self.name}", "up")
            sandbox.ip("-n", self.namespace, "link", "set", "eth0", "up")
            while not self._up("eth0"):
                changes.recv(65536)
            sandbox.ip("-n", self.namespace, "link", "set", "br0", "up")
            while not self._up("br0"):
                changes.recv(65536)

    def keep_order(self):
        """One processor at a time carries what belongs to one flow.

        Each processor has a queue of its own for what passes a veth pair, and one of a virtual
        machine may stand still at any time. A guest that speaks a byte a datagram, from two threads
        of its QEMU, was heard to stammer.
        """
        mask = (1 << os.cpu_count()) - 1
        every = ",".join(f"{mask >> at & 0xffffffff:08x}"
                         for at in reversed(range(0, mask.bit_length(), 32)))
        queue = "/sys/class/net/{}/queues/rx-0/rps_cpus"
        for namespace, device in ((self.namespace, "eth0"), (self.lab.switch, f"p{self.name}")):
            sandbox.ip("netns", "exec", namespace, "tee", queue.format(device), text=every)

    def know(self, other):
        """Sends to the other host without asking for its MAC address first: while the kernel asks,
        datagrams wait, and one that is sent in the moment of the answer overtakes them."""
        for address in (other.address, other.address6):
            sandbox.ip("-n", self.namespace, "neigh", "add", address, "lladdr", other.mac, "dev",
                       "br0", "nud", "permanent")

    def _up(self, device):
        links = json.loads(sandbox.ip("-n", self.namespace, "-j", "link", "show", "dev", device))
        return links[0]["operstate"] == "UP"

    def command(self, *words):
        """The words of a command line that runs on this host."""
        return ["ip", "netns", "exec", self.namespace, *map(str, words)]

    def run(self, *words, **options):
        """Runs a command on this host to its end, as subprocess.run does."""
        options.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.run(self.command(*words), check=options.pop("check", True), **options)

    def popen(self, *words, **options):
        """Starts a command on this host; the lab ends it."""
        options.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.Popen(self.command(*words), **options)

    def inside(self, make):
        """Calls `make` in this host's network and returns what it returns: sockets that it makes
        stay of this host."""
        result = concurrent.futures.Future()

        def call():
            try:
                with open(sandbox.NAMESPACES / self.namespace, "rb") as namespace:
                    if libc.setns(namespace.fileno(), CLONE_NEWNET) != 0:
                        raise OSError(ctypes.get_errno(), "setns")
                result.set_result(make())
            except BaseException as error:  # also what make() raises: it is the caller's
                result.set_exception(error)

        libc = ctypes.CDLL(None, use_errno=True)
        thread = threading.Thread(target=call)  # setns is for one thread; this one ends with it
        thread.start()
        thread.join()
        return result.result()

    def socket(self, family=socket.AF_INET, kind=socket.SOCK_STREAM):
        """A socket of this host's network."""
        return self.inside(lambda: socket.socket(family, kind))

    def listener(self, port=0, address=None):
        """Hears a test guest whose serial port is guest.udp_serial(listener.address); see
        tests/guest/heartbeat.py. address: another one of this host's. The lab closes it."""
        listener = self.inside(lambda: heartbeat.UdpListener(address or self.address, port))
        self.lab.listeners.append(listener)
        return listener

    def limit(self, rate):
        """Limits what this host sends ("1gbit"); None takes the limit away.

        Datagrams have no limit: they are the guests' heartbeats, and would share the fate of a full
        queue. Nothing is lost when a limit changes, either: the link keeps its queueing discipline,
        and only a class in it changes.
        """
        bits = UNLIMITED if rate is None else bits_per_second(rate)
        waiting = BURST + bits * LATENCY_MS // 8000
        for words in (("class", "replace", *ETH0, "parent", "1:", "classid", "1:1", "htb",
                       "rate", f"{bits}bit", "burst", str(BURST), "cburst", str(BURST),
                       "quantum", "65536"),
                      ("qdisc", "replace", *ETH0, "parent", "1:1", "handle", "2:", "bfifo",
                       "limit", str(min(waiting, QUEUE_MAX))),
                      ("filter", "replace", *ETH0, "parent", "1:", "protocol", "ip", "prio", "1",
                       "handle", "800::1", "u32", *TCP_V4, "flowid", "1:1"),
                      ("filter", "replace", *ETH0, "parent", "1:", "protocol", "ipv6", "prio", "2",
                       "handle", "801::1", "u32", *TCP_V6, "flowid", "1:1")):
            self.run("tc", *words)

    def held_up(self):
        """How often limit() has kept something waiting that this host wanted to send."""
        told = self.run("tc", "-statistics", "-json", "qdisc", "show", *ETH0,
                        stdout=subprocess.PIPE, text=True).stdout
        return next(qdisc["overlimits"] for qdisc in json.loads(told) if qdisc["kind"] == "htb")

    def cut(self):
        """Cuts the host off without a sign: its link stays up, nothing passes."""
        sandbox.ip("-n", self.lab.switch, "link", "set", f"p{self.name}", "nomaster")

    def heal(self):
        """Joins the host again."""
        sandbox.ip("-n", self.lab.switch, "link", "set", f"p{self.name}", "master", "sw")

    def reset(self):
        """Breaks all TCP connections of this host, both ends of them; whether the kernel can."""
        # ss says that it failed although it did not, wherever IPv6 sockets are among them.
        done = self.run("ss", "-K", "-t", "-H", "state", "established", check=False,
                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        return bool(done.stdout)

    def datagrams(self):
        """The kernel's account of this host's datagrams: who lost one knows where to look."""
        def read():
            with open("/proc/thread-self/net/snmp", encoding="ascii") as file:
                names, values = (line.split()[1:] for line in file if line.startswith("Udp:"))
            return dict(zip(names, map(int, values)))

        return self.inside(read)

    def pids(self):
        """The processes on this host."""
        return sandbox.pids(self.namespace)

    def qemus(self):
        """The QEMU processes on this host, whoever started them."""
        found = []
        for pid in self.pids():
            try:
                name = os.path.basename(os.readlink(f"/proc/{pid}/exe"))
            except OSError:
                continue
            if name.startswith("qemu-system"):
                found.append(pid)
        return found

    def probes(self):
        """Those of qemus() that an agent only asks what they can do (src/qemu/probe_session.c):
        they have its monitor and are no VM's. They end soon, by themselves."""
        found = []
        for pid in self.qemus():
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    words = file.read().split(b"\0")
            except OSError:
                continue  # it has ended
            if b"chardev=monitor,mode=control" in words and not {b"-uuid", b"-name"} & set(words):
                found.append(pid)
        return found


class Lab:
    """Some hosts. Close it (or use it in a `with`); at the latest the end of the process does.

    ordered: datagrams arrive in the order in which they were sent, at the price of interrupts from
    processor to processor, which a benchmark would measure.
    """

    def __init__(self, hosts="ABC", *, ordered=True):
        self.ordered = ordered
        self.prefix = f"mz{os.getpid()}-{next(_counter)}-"
        self.directory = Path(tempfile.mkdtemp(prefix=self.prefix))
        self.directory.chmod(0o755)
        self.agents = []
        self.listeners = []
        self.hosts = {}
        self.switch = f"{self.prefix}sw"
        self._reaper = subprocess.Popen(
            [sys.executable, sandbox.__file__, self.prefix, str(self.directory)],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)
        _labs.append(self)
        try:
            sandbox.ip("netns", "add", self.switch)
            sandbox.ip("-n", self.switch, "link", "add", "sw", *BRIDGE)
            sandbox.ip("-n", self.switch, "link", "set", "sw", "up")
            self.hosts = {name: Host(self, name, number + 1) for number, name in enumerate(hosts)}
            for host in self.hosts.values():
                host.connect()
            for host, other in itertools.permutations(self.hosts.values(), 2):
                host.know(other)
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_exception):
        self.close()

    def __getitem__(self, name):
        return self.hosts[name]

    def agent(self, host, **options):
        """Starts an agent on a host and waits until it is ready; see Agent for the options."""
        agent = Agent(self.hosts[host], **options)
        self.agents.append(agent)
        agent.start()
        return agent

    def pair(self, *agents):
        """Makes agents known to one another."""
        for one, other in itertools.permutations(agents or self.agents, 2):
            one.call("AddHost", name=other.name, address=other.host.address, port=other.port,
                     fingerprint=other.fingerprint)

    def limit(self, rate):
        """Limits every host's link; None takes the limits away."""
        for host in self.hosts.values():
            host.limit(rate)

    def close(self):
        """Ends agents and everything else on the hosts and removes all traces. Twice is fine.

        Returns what the agents complained about on their way out (sanitizers, mostly).
        """
        if self not in _labs:
            return []
        _labs.remove(self)
        complaints = []
        try:
            self._keep_account()
            for listener in self.listeners:
                listener.close()
            for agent in self.agents:
                complaints += agent.finish()
        finally:
            sandbox.cleanup(self.prefix, self.directory)
            self._reaper.communicate(b"done")
        return complaints

    def _keep_account(self):
        """For whoever looks into a test that failed because of a datagram."""
        logs = os.environ.get("MUDANZA_TEST_LOGS")
        if logs:
            account = {host.name: host.datagrams() for host in self.hosts.values()}
            Path(logs, "datagrams.json").write_text(json.dumps(account), encoding="utf-8")


def _close_all():
    for lab in list(_labs):
        lab.close()


def _terminated(number, _frame):
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)


atexit.register(_close_all)
# SIGINT is KeyboardInterrupt already; SIGTERM would end Python without a word.
signal.signal(signal.SIGTERM, _terminated)
