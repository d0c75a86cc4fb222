#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Listens to a test guest's heartbeat (the format is in beat.h) and judges what it hears.

    heartbeat.py udp:ADDRESS:PORT     QEMU: -chardev udp,host=ADDRESS,port=PORT
    heartbeat.py unix:PATH            QEMU: -chardev socket,path=PATH,server=on,wait=off
    heartbeat.py file:PATH            what was written so far

As a module: a Heartbeat judges bytes; UdpListener and UnixListener feed one from a thread.
"""

import argparse
import binascii
import json
import socket
import struct
import sys
import threading
import time
from typing import NamedTuple

SO_TIMESTAMPNS = 35  # asm-generic/socket.h; Python has no name for it
BEAT = 0x80
BEAT_MASK = 0x7F
LINE_MAX = 4096


class Beat(NamedTuple):
    """One heartbeat: arrival in ns, its whole number (None before the first HB line), its origin."""

    time_ns: int
    number: int | None
    source: object


class Line(NamedTuple):
    """One valid line: arrival in ns, kind (HI, HB, RDY, BAD, ST, BYE, ERR), fields, origin."""

    time_ns: int
    kind: str
    fields: dict
    source: object


class Gap(NamedTuple):
    """From the end of one heartbeat to the next one's."""

    ns: int
    before: Beat
    after: Beat


def parse_line(text: bytes) -> tuple[str, dict] | None:
    """Kind and fields of a line without its newline; None when its checksum is wrong."""
    body, star, crc = text.rpartition(b" *")
    if not star or not body.isascii() or crc != b"%04x" % binascii.crc_hqx(body, 0):
        return None
    kind, *words = body.decode().split(" ")
    fields = {}
    for word in words:
        name, _, value = word.partition("=")
        try:
            fields[name] = int(value, 0)
        except ValueError:
            fields[name] = value
    return kind, fields


class Heartbeat:
    """Takes the bytes of one guest, from however many sources in turn, and keeps the account.

    beats, lines    everything valid that came, in order
    lost            numbers that never came
    late            heartbeats that had been taken for lost: a network does that, a guest cannot
    repeated        heartbeats whose number had come already, or had been passed before the first one
    damaged         lines with a wrong checksum, and bytes that are neither line nor beat; but not
                    what comes before the guest's first valid line (firmware, a kernel, the middle
                    of a line) or after its BYE
    """

    def __init__(self):
        self.beats: list[Beat] = []
        self.lines: list[Line] = []
        self.late = 0
        self.damaged: list[bytes] = []
        self.changed = threading.Condition()
        self._line = bytearray()
        self._last: int | None = None
        self._whole = False  # _last is a whole number, not only its low seven bits
        self._missing: set[int] = set()
        self._repeated = 0
        # Beats, by their low bits and their places in `beats`, that are either repeated or come
        # after so many lost ones that seven bits do not tell: the next HB line does.
        self._doubtful: list[tuple[int, int]] = []

    def feed(self, data: bytes, time_ns: int, source=None) -> None:
        """`data` arrived from `source` at `time_ns`."""
        with self.changed:
            for byte in data:
                if byte & BEAT:
                    self._beat(byte & BEAT_MASK, time_ns, source)
                elif byte == ord("\n") or len(self._line) >= LINE_MAX:
                    self._end_line(time_ns, source)
                else:
                    self._line.append(byte)
            self.changed.notify_all()

    def _damage(self, text: bytes) -> None:
        if self.lines and self.lines[-1].kind != "BYE":
            self.damaged.append(text)

    def _beat(self, low: int, time_ns: int, source) -> None:
        if self._line:  # a beat never stands within a line
            self._damage(bytes(self._line))
            self._line.clear()
        if self._last is None:
            self._last = low - 1
        skipped = (low - self._last - 1) & BEAT_MASK
        if self._doubtful or skipped > BEAT_MASK // 2:
            self._doubtful.append((low, len(self.beats)))
            self.beats.append(Beat(time_ns, None, source))
        else:
            self._number(self._last + 1 + skipped, time_ns, source)

    def _number(self, number: int, time_ns: int, source) -> None:
        self._count(number)
        self.beats.append(Beat(time_ns, number if self._whole else None, source))

    def _count(self, number: int) -> None:
        expected = self._last + 1
        if number >= expected:
            self._missing.update(range(expected, number))
            self._last = number
        elif number in self._missing:
            self._missing.remove(number)
            self.late += 1
        else:
            self._repeated += 1

    def _place(self, after: int) -> None:
        """The doubtful beats are the last ones before number `after`."""
        numbers = []
        for low, _ in reversed(self._doubtful):
            after -= 1 + ((after - 1 - low) & BEAT_MASK)
            numbers.append(after)
        for number, (_, place) in zip(reversed(numbers), self._doubtful):
            self._count(number)
            self.beats[place] = self.beats[place]._replace(number=number)
        self._doubtful.clear()

    @property
    def lost(self) -> int:
        return len(self._missing)

    @property
    def repeated(self) -> int:
        return self._repeated + len(self._doubtful)

    def _end_line(self, time_ns: int, source) -> None:
        text = bytes(self._line)
        self._line.clear()
        parsed = parse_line(text)
        if parsed is None:
            self._damage(text)
            return
        line = Line(time_ns, *parsed, source)
        if line.kind == "HB":
            number = line.fields["n"]
            if self._last is None:
                self._last = number - 1
            elif not self._whole:  # beats came first: only their low bits can be compared
                self._last = number - ((number - self._last) & BEAT_MASK)
            self._whole = True
            self._place(number)
            self._number(number, time_ns, source)
        self.lines.append(line)

    def of(self, kind: str) -> list[Line]:
        """All lines of one kind."""
        return [line for line in self.lines if line.kind == kind]

    @property
    def last(self) -> dict:
        """Fields of the newest HB or ST line; empty before the first."""
        for line in reversed(self.lines):
            if line.kind in ("HB", "ST"):
                return line.fields
        return {}

    def gaps(self, since_ns: int = 0) -> list[Gap]:
        """All gaps between heartbeats since then, the largest first."""
        beats = [beat for beat in self.beats if beat.time_ns >= since_ns]
        gaps = [Gap(b.time_ns - a.time_ns, a, b) for a, b in zip(beats, beats[1:])]
        return sorted(gaps, key=lambda gap: -gap.ns)

    def switchovers(self) -> list[Gap]:
        """The gaps across which the source changed, in order: last from A to first from B."""
        pairs = zip(self.beats, self.beats[1:])
        return [Gap(b.time_ns - a.time_ns, a, b) for a, b in pairs if a.source != b.source]

    def problems(self) -> list[str]:
        """Everything that is not as it must be, in words; empty when all is well."""
        found = []
        if self.lost:
            found.append(f"{self.lost} heartbeats lost")
        if self.repeated:
            found.append(f"{self.repeated} heartbeats repeated")
        if self.damaged:
            found.append(f"{len(self.damaged)} damaged lines, the first: {self.damaged[0]!r}")
        for line in self.of("BAD") + self.of("ERR"):
            found.append(f"guest: {line.kind} {line.fields}")
        if self.last.get("e"):
            found.append(f"guest: {self.last['e']} wrong words seen")
        return found

    def wait(self, condition, timeout_s: float):
        """Waits until condition(self) is true and returns its value; TimeoutError otherwise."""
        with self.changed:
            value = self.changed.wait_for(lambda: condition(self), timeout_s)
        if not value:
            raise TimeoutError(f"heartbeat: not within {timeout_s} s; last seen: {self.last}")
        return value

    def wait_rounds(self, rounds: int, timeout_s: float) -> None:
        """Waits until memory has been checked completely, `rounds` times from now on.

        The round under way when this is called does not count: it began earlier."""
        self.wait(lambda beat: "c" in beat.last, timeout_s)
        goal = self.last["c"] + 1 + rounds
        self.wait(lambda beat: beat.last["c"] >= goal, timeout_s)

    def summary(self) -> dict:
        """The account as one JSON object."""
        gaps = self.gaps()
        return {
            "beats": len(self.beats),
            "lost": self.lost,
            "late": self.late,
            "repeated": self.repeated,
            "damaged": len(self.damaged),
            "last": self.last,
            "max_gap_ms": gaps[0].ns / 1e6 if gaps else None,
            "median_gap_ms": gaps[len(gaps) // 2].ns / 1e6 if gaps else None,
            "switchover_ms": [gap.ns / 1e6 for gap in self.switchovers()],
            "problems": self.problems(),
        }


class Listener:
    """Feeds a Heartbeat from a socket in a thread of its own, until closed."""

    def __init__(self, sock: socket.socket):
        self.heart = Heartbeat()
        self.socket = sock
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while self._receive():
                pass
        except OSError:
            pass  # closed under us

    def close(self) -> None:
        """Stops listening. The account stays."""
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # an unconnected UDP socket: shutdown still wakes the thread
        self._thread.join()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class UdpListener(Listener):
    """QEMU's udp chardev. Arrival times are the kernel's (CLOCK_REALTIME), so that a busy test
    does not blur them; the source is the sender's address without the port."""

    def __init__(self, address: str = "127.0.0.1", port: int = 0):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        sock.bind((address, port))
        self.address = sock.getsockname()
        self._peer = None
        super().__init__(sock)

    def _receive(self) -> bool:
        data, ancillary, _, peer = self.socket.recvmsg(65536, 64)
        if peer is None:
            return False
        self._peer = peer
        time_ns = time.time_ns()
        for level, kind, value in ancillary:
            if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
                seconds, nanoseconds = struct.unpack("qq", value)
                time_ns = seconds * 1_000_000_000 + nanoseconds
        self.heart.feed(data, time_ns, peer[0])
        return True

    def send(self, command: bytes) -> None:
        """Command bytes to the guest, where it spoke from last."""
        self.socket.sendto(command, self._peer)


class UnixListener(Listener):
    """A serial port that is a listening UNIX socket of QEMU; the source is the path."""

    def __init__(self, path: str):
        self._path = path
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.connect(path)
        super().__init__(sock)

    def _receive(self) -> bool:
        data = self.socket.recv(65536)
        self.heart.feed(data, time.monotonic_ns(), self._path)
        return bool(data)

    def send(self, command: bytes) -> None:
        """Command bytes to the guest."""
        self.socket.sendall(command)


def _listen(where: str) -> Listener:
    kind, _, rest = where.partition(":")
    if kind == "udp":
        address, _, port = rest.rpartition(":")
        return UdpListener(address, int(port))
    if kind == "unix":
        return UnixListener(rest)
    raise SystemExit(f"heartbeat: {where}: neither udp:ADDRESS:PORT nor unix:PATH nor file:PATH")


def _follow(listener: Listener, seconds: float | None, quiet: bool) -> Heartbeat:
    """Prints lines as they come, until the guest says BYE, the time is over, or Ctrl-C."""
    heart, shown = listener.heart, 0
    deadline = None if seconds is None else time.monotonic() + seconds
    try:
        while not heart.of("BYE"):
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                break
            with heart.changed:
                heart.changed.wait_for(lambda: len(heart.lines) > shown, left)
                new = heart.lines[shown:]
            shown += len(new)
            for line in [] if quiet else new:
                print(line.kind, " ".join(f"{k}={v}" for k, v in line.fields.items()), flush=True)
    except KeyboardInterrupt:
        pass
    return heart


def main() -> int:
    """The command line; 0 when nothing was wrong and there was at least one heartbeat."""
    parser = argparse.ArgumentParser(description="Listens to a test guest's heartbeat.")
    parser.add_argument("where", help="udp:ADDRESS:PORT, unix:PATH or file:PATH")
    parser.add_argument("--seconds", type=float, help="stop after so long (default: at BYE)")
    parser.add_argument("--json", action="store_true", help="print only the account, as JSON")
    arguments = parser.parse_args()
    if arguments.where.startswith("file:"):
        heart = Heartbeat()
        with open(arguments.where.removeprefix("file:"), "rb") as file:
            heart.feed(file.read(), 0)
    else:
        with _listen(arguments.where) as listener:
            heart = _follow(listener, arguments.seconds, arguments.json)
    summary = heart.summary()
    if arguments.json:
        print(json.dumps(summary))
    else:
        for name, value in summary.items():
            print(f"{name}: {value}")
    return 0 if heart.beats and not heart.problems() else 1


if __name__ == "__main__":
    sys.exit(main())
