# SPDX-License-Identifier: Apache-2.0
"""What the stream engine makes of a move, as the report tells it."""

import re
import unittest

from lib.moving import MoveCase, SMALL

PAGES = ("zero", "repeated", "known", "delta", "compressed", "plain")


class Compression(MoveCase):
    """The guest's memory arrives bit for bit, compressed as it was asked for."""

    def test_each_codec(self):
        self.two_agents()
        heart = self.boot(self.a, cmdline=SMALL)
        here, there = self.a, self.b
        for codec in "zstd", "lz4", "none":
            stream = self.move(here, there, "vm", "--compress", codec)["stream"]
            self.assertEqual([use["codec"] for use in stream["codecs"]], [codec])
            self.assertGreater(sum(stream[kind] for kind in PAGES), 0)
            for memory in stream["memory"], stream["destination_memory"]:
                self.assertGreater(memory, 0)
                self.assertLessEqual(memory, stream["memory_limit"])
            self.assertEqual((stream["cuts"], stream["resent"]), (0, 0))
            if codec == "zstd":
                self.assertEqual(stream["plain"], 0)
            elif codec == "none":
                self.assertEqual(stream["compressed"], 0)
            here, there = there, here
        self.assert_sound(heart)
        placed = re.search(r"(\d+) of its pages went straight", self.a.log_tail())
        self.assertGreater(int(placed[1]), 1000)

    def test_slow_link(self):
        """Nobody says how fast the link is: what is sent again goes as a delta all the same."""
        self.two_agents()
        heart = self.boot(self.a, cmdline="mem=16M rate=20M heartbeat=20")
        self.lab.limit("100mbit")
        stream = self.move(self.a, self.b)["stream"]
        self.assertGreater(stream["delta"], 0)
        self.assert_sound(heart)


if __name__ == "__main__":
    unittest.main()
