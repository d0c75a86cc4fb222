#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Unit tests of heartbeat.py: `python3 -m unittest` in this folder."""

import binascii
import os
import socket
import tempfile
import unittest

import heartbeat


def line(text: str) -> bytes:
    """A line as a guest sends it."""
    body = text.encode()
    return body + b" *%04x\n" % binascii.crc_hqx(body, 0)


def beat(number: int) -> bytes:
    """A beat as a guest sends it."""
    return bytes([0x80 | number & 0x7F])


def fed(*pieces: bytes) -> heartbeat.Heartbeat:
    """A Heartbeat that heard these pieces 2 ms apart."""
    heart = heartbeat.Heartbeat()
    for i, piece in enumerate(pieces):
        heart.feed(piece, i * 2_000_000, "A")
    return heart


class ParserTest(unittest.TestCase):
    def test_known_checksum(self):
        # As tests/guest/test_workset.c has it from the guests' side.
        self.assertEqual(heartbeat.parse_line(b"HB n=1 e=0x1f *c178"), ("HB", {"n": 1, "e": 31}))

    def test_every_damaged_bit_is_seen(self):
        good = line("HB n=12 t=30 s=run w=4 c=2 e=0").rstrip(b"\n")
        for i in range(len(good) * 8):
            bad = bytearray(good)
            bad[i // 8] ^= 1 << i % 8
            self.assertIsNone(heartbeat.parse_line(bytes(bad)), bad)

    def test_a_clean_run(self):
        heart = fed(line("HI guest=bare"), line("HB n=1 e=0"), *map(beat, range(2, 300)))
        self.assertEqual(heart.problems(), [])
        self.assertEqual([b.number for b in heart.beats], list(range(1, 300)))
        self.assertEqual(heart.last, {"n": 1, "e": 0})

    def test_bytes_one_by_one(self):
        stream = line("HB n=126 e=0") + beat(127) + beat(128) + line("HB n=129 e=0")
        heart = fed(*(stream[i : i + 1] for i in range(len(stream))))
        self.assertEqual(heart.problems(), [])
        self.assertEqual([b.number for b in heart.beats], [126, 127, 128, 129])

    def test_listening_from_the_middle(self):
        heart = fed(beat(200), beat(201), line("HB n=202 e=0"), beat(203))
        self.assertEqual(heart.problems(), [])
        self.assertEqual([b.number for b in heart.beats], [None, None, 202, 203])

    def test_lost_before_the_first_line(self):
        self.assertEqual(fed(beat(200), line("HB n=203 e=0")).lost, 2)

    def test_lost(self):
        self.assertEqual(fed(line("HB n=1"), beat(2), beat(5), line("HB n=10")).lost, 2 + 4)
        self.assertIn("6 heartbeats lost", fed(line("HB n=1"), beat(8)).problems())

    def test_repeated(self):
        heart = fed(line("HB n=300"), beat(301), beat(301), line("HB n=290"), beat(302))
        self.assertEqual((heart.repeated, heart.lost), (2, 0))
        self.assertIn("2 heartbeats repeated", heart.problems())

    def test_repeated_and_then_on(self):
        heart = fed(line("HB n=300"), beat(301), beat(301), beat(302), line("HB n=303"))
        self.assertEqual((heart.repeated, heart.lost), (1, 0))
        self.assertEqual([b.number for b in heart.beats], [300, 301, 301, 302, 303])

    def test_an_old_copy(self):
        """It is seen at its first line at the latest, wherever it goes on."""
        for first in range(302, 499):
            heart = fed(line("HB n=300"), *map(beat, range(301, 500)), beat(first), beat(first + 1),
                        line(f"HB n={first + 2}"))
            self.assertGreater(heart.repeated, 0, first)

    def test_more_lost_than_seven_bits_tell(self):
        """Also when what comes first after it looks like a number from before."""
        for lost in 0, 1, 63, 64, 100, 126, 127, 128, 200, 500:
            first = 301 + lost
            heart = fed(line("HB n=300"), beat(first), beat(first + 1), beat(first + 2),
                        line(f"HB n={first + 3}"), beat(first + 4))
            self.assertEqual((heart.lost, heart.repeated), (lost, 0), lost)
            self.assertEqual(heart.beats[-1].number, first + 4)

    def test_unplaced_beats_are_no_good_sign(self):
        self.assertEqual(fed(line("HB n=300"), beat(290)).repeated, 1)

    def test_late(self):
        heart = fed(line("HB n=300"), beat(303), beat(301), line("HB n=304"))
        self.assertEqual((heart.lost, heart.late, heart.repeated), (1, 1, 0))
        heart = fed(line("HB n=300"), beat(303), beat(301), beat(301), line("HB n=304"))
        self.assertEqual((heart.lost, heart.late, heart.repeated), (1, 1, 1))

    def test_damaged(self):
        self.assertEqual(len(fed(line("HB n=1"), b"HB n=2 *0000\n").damaged), 1)
        self.assertEqual(len(fed(line("HB n=1"), b"[    0.1] kernel says\n").damaged), 1)
        self.assertEqual(fed(line("HB n=1"), b"HB n=", beat(2)).damaged, [b"HB n="])

    def test_kernel_around_the_guest_is_no_damage(self):
        said = b"[    0.1] kernel says\n"
        self.assertEqual(fed(said, line("HI"), line("HB n=1"), line("BYE n=1"), said).problems(), [])

    def test_bad_memory(self):
        heart = fed(line("HB n=1 e=0"), line("BAD addr=0x1000 want=0x1 got=0x0 n=1"))
        self.assertEqual(len(heart.problems()), 1)
        self.assertIn("2 wrong words", str(fed(line("HB n=1 e=2")).problems()))

    def test_gaps_and_switchover(self):
        heart = heartbeat.Heartbeat()
        heart.feed(line("HB n=1 e=0"), 0, "A")
        heart.feed(beat(2), 2, "A")
        heart.feed(beat(3), 50, "B")
        heart.feed(beat(4), 150, "B")
        self.assertEqual(heart.gaps()[0].ns, 100)
        self.assertEqual([(g.ns, g.before.number) for g in heart.switchovers()], [(48, 2)])
        self.assertEqual(heart.summary()["switchover_ms"], [48 / 1e6])

    def test_wait(self):
        with self.assertRaises(TimeoutError):
            fed(line("HB n=1")).wait(lambda heart: heart.of("BYE"), 0.0)
        with self.assertRaises(TimeoutError):  # the round under way is not one from now on
            fed(line("HB n=1 c=5")).wait_rounds(1, 0.0)


class ListenerTest(unittest.TestCase):
    def test_udp_both_ways(self):
        with heartbeat.UdpListener() as listener:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as guest:
                guest.sendto(line("HB n=1 e=0"), listener.address)
                listener.heart.wait(lambda heart: heart.beats, 10)
                listener.send(b"q")
                self.assertEqual(guest.recv(10), b"q")
        self.assertEqual(listener.heart.beats[0].source, "127.0.0.1")

    def test_unix_both_ways(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "serial")
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
                server.bind(path)
                server.listen()
                with heartbeat.UnixListener(path) as listener:
                    guest, _ = server.accept()
                    with guest:
                        guest.sendall(line("BYE n=7"))
                        listener.heart.wait(lambda heart: heart.of("BYE"), 10)
                        listener.send(b"q")
                        self.assertEqual(guest.recv(10), b"q")


if __name__ == "__main__":
    unittest.main()
