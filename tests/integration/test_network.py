# SPDX-License-Identifier: Apache-2.0
"""A guest on a bridge: its connections to a third host outlive its moves."""

import socket
import threading
import time

from lib import guest, paths, sandbox
from lib.follow import Follow
from lib.guest import MIB
from lib.moving import PATIENCE, MoveCase

GUEST = "10.77.0.9"
ECHO, STREAM = 7, 19
RECORD = 16
#: Guest RAM to copy: a second or more with the bandwidth that the tests give a move.
CMDLINE = f"mem=4 fill=8 heartbeat=20 ip={GUEST}/24"


class Traffic:
    """One TCP connection with the guest, judged byte by byte in a thread of its own.

    goal: what `wait` waits for rises with each good record; an error ends it and is kept.
    """

    def __init__(self, host, port):
        self.changed = threading.Condition()
        self.records = 0
        self.error = None
        self._closing = False
        self.socket = host.socket()
        self.socket.settimeout(PATIENCE)
        self.socket.connect((GUEST, port))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        try:
            self._serve()
        except OSError as error:
            self._fail(repr(error))

    def _fail(self, text):
        with self.changed:
            if not self._closing:
                self.error = f"after {self.records} records: {text}"
            self.changed.notify_all()

    def _take(self, data, number):
        """One record that came in must be the next one."""
        expected = b"%015x\n" % number
        if data != expected:
            self._fail(f"{data!r} came instead of {expected!r}")
            return False
        with self.changed:
            self.records = number + 1
            self.changed.notify_all()
        return True

    def _receive(self, size):
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            if not more:
                self._fail("the guest ended the connection")
                return b""
            data += more
        return data

    def wait(self, more):
        """Waits for so many more good records."""
        with self.changed:
            goal = self.records + more
            self.changed.wait_for(lambda: self.error or self.records >= goal, PATIENCE)
            if self.error or self.records < goal:
                raise AssertionError(self.error or f"stands still after {self.records} records")

    def close(self):
        with self.changed:
            self._closing = True
        self.socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self.socket.close()


class Stream(Traffic):
    """The guest sends numbered records without end."""

    def __init__(self, host):
        super().__init__(host, STREAM)

    def _serve(self):
        number, rest = 0, b""
        while True:
            data = self.socket.recv(65536)
            if not data:
                self._fail("the guest ended the connection")
                return
            data = rest + data
            whole = len(data) // RECORD * RECORD
            for at in range(0, whole, RECORD):
                if not self._take(data[at:at + RECORD], number):
                    return
                number += 1
            rest = data[whole:]


class Echo(Traffic):
    """The guest gives back what it gets: a window of records is always on the way."""

    WINDOW = 32

    def __init__(self, host):
        super().__init__(host, ECHO)

    def _serve(self):
        number = 0
        self.socket.sendall(b"".join(b"%015x\n" % i for i in range(self.WINDOW)))
        while True:
            data = self._receive(RECORD)
            if not data or not self._take(data, number):
                return
            self.socket.sendall(b"%015x\n" % (number + self.WINDOW))
            number += 1


def taps(host):
    """The tap devices on a host."""
    return [line.split(":")[1].strip() for line in
            sandbox.ip("-n", host.namespace, "-o", "link", "show", "type", "tun").splitlines()]


class Network(MoveCase):
    """A Linux guest with a virtio card in br0, and host C that talks to it."""

    def start(self, **options):
        self.two_agents(**options)
        heart = self.boot(self.a, make=guest.linux, cmdline=CMDLINE, devices=guest.bridge())
        streams = []
        for kind in Stream, Echo:
            streams.append(kind(self.lab["C"]))
            self.addCleanup(streams[-1].close)
        self.streams = streams
        return heart

    def flows(self, records=500):
        """Both connections go on without a wrong byte."""
        for stream in self.streams:
            stream.wait(records)

    def assert_taps(self, *on):
        """There is one tap device on these hosts' bridges, and none on the other."""
        for agent in self.a, self.b:
            self.assertEqual(len(taps(agent.host)), int(agent in on), agent.name)

    def moves_with_traffic(self, source, destination):
        """A move long enough for traffic within it."""
        with Follow(source, "vm", destination.name, verify=True, bandwidth=24 * MIB) as move:
            move.copying()
            self.flows()
            report = move.report()
        self.assert_completed(report)
        self.flows()

    def there_and_back(self, heart):
        self.flows()
        self.assert_taps(self.a)
        self.moves_with_traffic(self.a, self.b)
        self.assert_beats_at(heart, self.b)
        self.assert_taps(self.b)
        self.moves_with_traffic(self.b, self.a)
        self.assert_beats_at(heart, self.a)
        self.assert_taps(self.a)
        self.assert_sound(heart)

    def test_there_and_back(self):
        self.there_and_back(self.start())

    def test_there_and_back_qemu_7(self):
        self.there_and_back(self.start(emulator=paths.QEMU_7))

    def test_failed_arrival(self):
        """A move that ends in the middle leaves no tap device; connections do not notice."""
        self.start()
        for ending in self.abort, self.kill_there:
            with self.subTest(ending=ending.__name__):
                with Follow(self.a, "vm", "B", bandwidth=MIB) as move:
                    move.copying()
                    self.assert_taps(self.a, self.b)
                    ending()
                    self.assertIn(move.report()["outcome"], ("aborted", "failed"))
                self.flows()
                self.assert_taps(self.a)
                self.assertEqual(self.b.qemus(), [])
        self.moves_with_traffic(self.a, self.b)
        self.assert_taps(self.b)

    def abort(self):
        self.a.call("AbortJob", vm="vm")

    def kill_there(self):
        self.b.end_qemus()

    def test_destroyed(self):
        """A tap device ends with its VM."""
        self.start()
        self.a.call("Destroy", vm="vm")
        self.assert_taps()
