# SPDX-License-Identifier: Apache-2.0
"""Networks that break in the middle of a move and come back: QEMU sees a pause, the move completes."""

from lib import sandbox
from lib.follow import Follow
from lib.moving import MoveCase, Stopped

MIB = 1 << 20
#: Seconds of silence after which a connection is made anew; a minute for the host to come back.
QUICK = ("--peer-silence", "1")
#: The same after half a minute.
PATIENT = ("--peer-silence", "30")
#: Its RAM takes some seconds at the bandwidth below: time to act in the middle.
LONG = "mem=64K fill=8M heartbeat=20"
BANDWIDTH = 2 * MIB
#: Written over and over, and random, so that nothing makes it smaller: post-copy has much to do.
HASTY = "mem=6 rate=max check=64M pattern=random heartbeat=10"


class CutCase(MoveCase):
    """A VM on its way from A to B."""

    def follow(self, cmdline=LONG, *, agents=QUICK, **options):
        self.two_agents(options=agents, address="*")
        self.heart = self.boot(self.a, cmdline=cmdline)
        return Follow(self.a, "vm", "B", **options)

    def copying(self, move):
        """Until a good part of RAM is on its way."""
        move.until(lambda progress: progress["ram_bytes"] > 2 * MIB)

    def lost(self, move, host="B"):
        """Until people are told that the network is away."""
        progress = move.until(lambda progress: " lost for " in progress.get("note", ""))
        self.assertIn(f"connection to {host} lost for", progress["note"])

    def assert_moved(self, move):
        report = move.report()
        self.assert_completed(report)
        self.assert_beats_at(self.heart, self.b)
        self.assert_sound(self.heart)
        self.assertEqual(self.a.qemus(), [])
        self.assert_nothing_logged(self.a, self.b)
        return report


class PreCopy(CutCase):
    def follow(self, **more):
        return super().follow(bandwidth=BANDWIDTH, verify=True, **more)

    def test_cut_of_some_seconds(self):
        with self.follow() as move:
            self.copying(move)
            self.lab["B"].cut()
            self.lost(move)
            self.lab["B"].heal()
            self.assertTrue(self.assert_moved(move)["verified"])

    def test_reset_of_all_connections(self):
        with self.follow() as move:
            self.copying(move)
            if not self.lab["A"].reset():
                self.skipTest("this kernel cannot destroy sockets")
            self.assertTrue(self.assert_moved(move)["verified"])

    def test_changed_address(self):
        """Who tells the new one need not wait until silence shows that the old one is gone."""
        with self.follow(agents=PATIENT) as move:
            self.copying(move)
            host = self.lab["B"]
            address = host.address.rsplit(".", 1)[0] + ".99"
            for word, what in ("del", host.address), ("add", address):
                sandbox.ip("-n", host.namespace, "addr", word, f"{what}/24", "dev", "br0")
            self.a.call("AddHost", name="B", address=address, port=self.b.port,
                        fingerprint=self.b.fingerprint)
            report = move.report()
            self.assert_completed(report)
            self.assertTrue(report["verified"])
            self.assertEqual(report["stream"]["cuts"], 1)
            self.assertNotIn("nothing came for", self.a.log_tail(1 << 20))

    def test_peer_that_stands_still_for_a_while(self):
        with self.follow() as move:
            self.copying(move)
            with Stopped(self.b.process.pid):
                self.lost(move)
            self.assertTrue(self.assert_moved(move)["verified"])

    def test_source_that_stands_still_for_a_while(self):
        with self.follow() as move:
            self.copying(move)
            with Stopped(self.a.process.pid):
                self.await_that(lambda: "nothing came for 1 s" in self.b.log_tail(1 << 20),
                                "B misses A")
            self.assertTrue(self.assert_moved(move)["verified"])


class PostCopy(CutCase):
    """The guest runs at B, and most of its memory is still at A."""

    def test_cut_of_some_seconds(self):
        self.lab["A"].limit("16mbit")
        with self.follow(HASTY, post_copy=True) as move:
            move.until(lambda progress: "changes sides" in progress.get("note", ""))
            self.assert_beats_at(self.heart, self.b)
            self.lab["A"].cut()
            self.lost(move)
            self.lab["A"].heal()
            report = self.assert_moved(move)
        self.assertTrue(report["post_copy"])
