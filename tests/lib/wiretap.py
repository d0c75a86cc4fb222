# SPDX-License-Identifier: Apache-2.0
"""What passes over a host's link: a capture by tcpdump, and the TCP streams in it."""

import os
import signal
import struct
import subprocess

SNAPLEN = 262144
GLOBAL_HEADER, PACKET_HEADER, ETHERNET, IPV4 = 24, 16, 14, 0x0800
MICROSECONDS = 0xA1B2C3D4
TCP = 6


class Wiretap:
    """Captures from its making until `stop`: everything, in full length."""

    def __init__(self, host, path, *words):
        self.path = path
        self._process = host.popen(
            "tcpdump", "-i", "eth0", "-w", path, "-s", SNAPLEN, "-B", 65536, "-U", "-Z", "root",
            "--immediate-mode", *words, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "LC_ALL": "C"})
        line = ""
        while "listening on" not in line:  # from here on nothing is missed
            line = self._process.stderr.readline()
            if not line:
                raise OSError(f"tcpdump ended with {self._process.wait()}")

    def stop(self):
        """Ends the capture; returns its bytes. Nothing may have been dropped."""
        self._process.send_signal(signal.SIGINT)
        _, said = self._process.communicate(timeout=60)
        if "\n0 packets dropped by kernel" not in f"\n{said}":
            raise OSError(f"tcpdump: {said}")
        with open(self.path, "rb") as file:
            return file.read()


def packets(capture):
    """The Ethernet frames of a capture (a pcap file's bytes)."""
    (magic,) = struct.unpack_from("<I", capture)
    if magic != MICROSECONDS:
        raise ValueError(f"not a pcap file: {magic:#x}")
    at = GLOBAL_HEADER
    while at < len(capture):
        _, _, size, whole = struct.unpack_from("<IIII", capture, at)
        if size != whole:
            raise ValueError("a packet was cut short")
        yield capture[at + PACKET_HEADER:at + PACKET_HEADER + size]
        at += PACKET_HEADER + size


def streams(capture):
    """The TCP streams of a capture: {(source, port, destination, port): bytes}, each direction of
    its own, put in order. A byte that is missing or differs when it is sent again is an error."""
    found = {}
    for frame in packets(capture):
        if struct.unpack_from(">H", frame, 12)[0] != IPV4 or frame[ETHERNET + 9] != TCP:
            continue
        size = struct.unpack_from(">H", frame, ETHERNET + 2)[0]
        packet = frame[ETHERNET:ETHERNET + size]
        segment = packet[(packet[0] & 15) * 4:]
        ports = struct.unpack_from(">HH", segment)
        key = (packet[12:16], ports[0], packet[16:20], ports[1])
        number = struct.unpack_from(">I", segment, 4)[0]
        if segment[13] & 2:  # SYN: the stream begins behind it
            found[key] = (number + 1, [])
        data = segment[(segment[12] >> 4) * 4:]
        if data:
            found[key][1].append(((number - found[key][0]) & 0xFFFFFFFF, data))
    return {key: _in_order(pieces) for key, (_, pieces) in found.items()}


def _in_order(pieces):
    stream = bytearray()
    for at, data in sorted(pieces, key=lambda piece: piece[0]):
        known = len(stream) - at
        if known < 0:
            raise ValueError(f"{-known} bytes are missing at {len(stream)}")
        if bytes(stream[at:at + len(data)]) != data[:known]:
            raise ValueError(f"other bytes were sent again at {at}")
        stream += data[known:]
    return bytes(stream)


def tls_records(stream):
    """The records of one direction: (type, body) each; ValueError when it is anything else."""
    at = 0
    while at < len(stream):
        if len(stream) - at < 5:
            raise ValueError(f"{len(stream) - at} bytes behind the last record")
        kind, version, size = struct.unpack_from(">BHH", stream, at)
        if kind not in (20, 21, 22, 23) or version not in (0x0301, 0x0303) or size > 16640:
            raise ValueError(f"no TLS record at {at}: {stream[at:at + 16]!r}")
        if at + 5 + size > len(stream):
            raise ValueError(f"the record at {at} is cut short")
        yield kind, stream[at + 5:at + 5 + size]
        at += 5 + size
