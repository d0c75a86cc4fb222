#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Unit tests of the rule in compare_ram.py: `python3 -m unittest` in this folder."""

import contextlib
import io
import unittest

import compare_ram

CLOCK = bytes.fromhex("04000000 00000000 9be18cab f80a0000 8f906202 00000000 143937c5 ff010000")
MOVED = bytes.fromhex("06000000 00000000 9be18cab f80a0000 8f906202 00000000 143937c5 ff000000")


def memory(*clocks: bytes) -> bytearray:
    """Two pages with these structures from 0xff0 on: the first crosses a page."""
    ram = bytearray(2 * compare_ram.PAGE)
    for i, clock in enumerate(clocks):
        ram[0xFF0 + 32 * i:0xFF0 + 32 * (i + 1)] = clock
    return ram


def judged(a: bytes, b: bytes, vcpus: int = 1) -> bool:
    with contextlib.redirect_stdout(io.StringIO()):
        return compare_ram.judge(bytes(a), bytes(b), vcpus)


class RuleTest(unittest.TestCase):
    def test_equal(self):
        self.assertTrue(judged(memory(CLOCK), memory(CLOCK), 0))

    def test_seen(self):
        self.assertTrue(judged(memory(CLOCK), memory(MOVED)))

    def test_version_carries(self):
        old, new = bytearray(CLOCK), bytearray(MOVED)
        old[:4], new[:4] = b"\xfe\xff\xff\xff", b"\x00\x00\x00\x00"
        self.assertTrue(judged(memory(old), memory(new)))

    def test_only_in_this_direction(self):
        self.assertFalse(judged(memory(MOVED), memory(CLOCK)))

    def test_not_more_than_processors(self):
        two = memory(CLOCK, CLOCK), memory(MOVED, MOVED)
        self.assertTrue(judged(*two, 2))
        self.assertFalse(judged(*two, 1))

    def test_no_other_bit_may_differ(self):
        for bit in range(len(MOVED) * 8):
            bad = bytearray(MOVED)
            bad[bit // 8] ^= 1 << bit % 8
            self.assertFalse(judged(memory(CLOCK), memory(bad)), bit)

    def test_no_other_byte_in_memory_may_differ(self):
        for address in (0, 0xFEF, 0x1010, 2 * compare_ram.PAGE - 1):
            bad = memory(MOVED)
            bad[address] ^= 1
            self.assertFalse(judged(memory(CLOCK), bad), address)

    def test_what_is_no_clock(self):
        for offset, value in ((0, 5), (4, 1), (27, 0x45), (28, 32), (29, 5), (30, 1)):
            old, new = bytearray(CLOCK), bytearray(MOVED)
            old[offset] = value
            new[offset] = value + 2 if offset == 0 else value
            self.assertFalse(judged(memory(old), memory(new)), offset)


if __name__ == "__main__":
    unittest.main()
