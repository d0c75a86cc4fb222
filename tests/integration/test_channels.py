# SPDX-License-Identifier: Apache-2.0
"""QEMU writes RAM into several channels at once (multifd); the other end never knows of it."""

import socket
import subprocess

from lib import paths
from lib.follow import Follow
from lib.moving import PATIENCE, MoveCase, traces

MIB = 1 << 20
#: Pages of all kinds, and writes all the time: each round has some of what went before.
BUSY = "mem=8 fill=8 rate=20M heartbeat=20"
#: What it writes is as much as its network takes.
HASTY = "mem=8 fill=4 rate=max check=64M heartbeat=20"
#: Its RAM takes 20 s at 1 MiB/s: time enough to act in the middle of the copy.
LONG = "mem=64K fill=20M heartbeat=20"


class ChannelCase(MoveCase):
    """A VM on A."""

    def start(self, cmdline=BUSY, **options):
        self.two_agents(**options)
        self.heart = self.boot(self.a, cmdline=cmdline)

    def assert_no_sockets(self, agent):
        self.assertEqual(list((agent.run_directory / "channels").iterdir()), [])

    def move_over(self, channels, source, destination, *options):
        """A move over so many channels, after which nothing is left of them."""
        report = self.move(source, destination, "vm", "--channels", str(channels), *options)
        self.assertIn(f"QEMU sends its RAM over {channels} channels", source.log_tail())
        self.assert_beats_at(self.heart, destination)
        self.assert_no_sockets(source)
        return report


class Channels(ChannelCase):
    """Moves that go through."""

    def there_and_back(self, **options):
        self.start(**options)
        self.move_over(3, self.a, self.b)
        self.move_over(2, self.b, self.a)
        self.assert_sound(self.heart)
        self.assert_nothing_logged(self.a, self.b)

    def test_qemu_7(self):
        self.there_and_back(emulator=paths.QEMU_7)

    def test_qemu_10(self):
        self.there_and_back()

    def test_from_old_to_new(self):
        """7.2 has no records of its own where it waits for its channels."""
        self.a = self.lab.agent("A", emulator=paths.QEMU_7)
        self.b = self.lab.agent("B", emulator=paths.QEMU_10)
        self.lab.pair()
        self.heart = self.boot(self.a, cmdline=BUSY)
        self.move_over(2, self.a, self.b)
        self.move_over(2, self.b, self.a)  # a machine type of that age
        self.assert_sound(self.heart)

    def test_non_live(self):
        self.start()
        self.move_over(4, self.a, self.b, "--non-live")
        self.assert_sound(self.heart)

    def test_slow_network(self):
        """Rounds, deltas, and a downtime limit that grows."""
        self.start(HASTY)
        self.lab.limit("200mbit")
        report = self.move_over(2, self.a, self.b)
        self.assertGreater(report["stream"]["delta"], 0)
        self.assert_sound(self.heart)

    def test_one_again(self):
        """What QEMU was told for one move does not stay for the next."""
        self.start()
        self.move_over(2, self.a, self.b)
        self.assert_completed(self.b.migrate("vm", "A", "--post-copy"))
        self.move(self.a, self.b)
        self.assertNotIn("channels", self.b.log_tail())
        self.assert_sound(self.heart)

    def test_stopped_at_last(self):
        """What it writes never goes through: it is stopped, and more of RAM comes behind QEMU's
        word that the switchover begins."""
        self.start(HASTY)
        self.move_over(3, self.a, self.b, "--bandwidth", "32", "--timeout", "4")
        self.assert_sound(self.heart)

    def test_unreachable(self):
        """QEMU's user cannot come to where it would have to connect: it is told beforehand."""
        self.start()
        self.a.run_directory.chmod(0o700)
        report = self.a.migrate("vm", "B", "--channels", "2")
        self.assertEqual((report["outcome"], report["phase"]), ("failed", "plan"))
        self.assertEqual([problem["check"] for problem in report["problems"]], ["channels"])
        self.assertIn(f"cannot come to {self.a.run_directory}", report["problems"][0]["message"])
        self.move(self.a, self.b)
        self.assert_sound(self.heart)

    def test_post_copy(self):
        self.start(LONG)
        refused = self.a.cli_fails("migrate", "vm", "B", "--post-copy", "--channels", "2")
        self.assertIn("post-copy over several channels", str(refused))


class Broken(ChannelCase):
    """Moves over several channels that do not go through: the VM is where it was, and can move."""

    def follow(self):
        self.start(LONG)
        self.files = traces(self.a)["files"]
        return Follow(self.a, "vm", "B", bandwidth=MIB, channels=2)

    def copying(self, move):
        move.until(lambda progress: progress["ram_bytes"] > 2 * MIB)

    def assert_back(self):
        self.await_that(lambda: not traces(self.a)["journal"], "A keeps its record")
        self.assert_beats_at(self.heart, self.a)
        self.assertEqual(self.a.vm("vm")["state"], "running")
        self.assertEqual(traces(self.a)["files"], self.files)
        self.assertEqual(self.b.qemus(), [])
        self.move_over(2, self.a, self.b)
        self.assert_sound(self.heart)

    def test_abort(self):
        with self.follow() as move:
            self.copying(move)
            self.assertEqual(self.a.cli("abort", "vm")["outcome"], "aborted")
        self.assert_back()

    def test_abort_while_cut(self):
        """QEMU's channels are full: it is told to give up all the same."""
        with self.follow() as move:
            self.copying(move)
            self.lab["B"].cut()
            move.until(lambda progress: " lost for " in progress.get("note", ""))
            abort = self.a.popen("abort", "vm", stdout=subprocess.PIPE, text=True)
            self.await_that(lambda: "job" not in self.a.vm("vm") or abort.poll() is not None,
                            "A gives up")
            self.assert_beats_at(self.heart, self.a)
            self.lab["B"].heal()
            abort.communicate(timeout=PATIENCE)
        self.await_that(lambda: not self.b.qemus(), "B keeps what arrived")
        self.assert_back()

    def test_reset(self):
        """All connections of the agents: QEMU sees a pause."""
        with self.follow() as move:
            self.copying(move)
            if not self.lab["A"].reset():
                self.skipTest("this kernel cannot destroy sockets")
            self.assert_completed(move.report())
        self.assert_beats_at(self.heart, self.b)
        self.assert_sound(self.heart)

    def test_killed_source(self):
        """The agent dies, and with it QEMU's channels: the guest runs on where it is."""
        move = self.follow()
        with move:
            self.copying(move)
            self.a.kill()
        with socket.socket(socket.AF_UNIX) as left:  # as if it had died while QEMU connects
            left.bind(str(self.a.run_directory / "channels" / "job"))
        self.a.start()
        self.assert_no_sockets(self.a)
        self.assert_back()

    def test_killed_destination(self):
        move = self.follow()
        with move:
            self.copying(move)
            self.b.kill()
            self.b.start()
            self.assertEqual(move.report()["outcome"], "failed")
        self.assert_back()
