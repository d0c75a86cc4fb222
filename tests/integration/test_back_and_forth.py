# SPDX-License-Identifier: Apache-2.0
"""There and back, many times, while the guest writes: nothing lost, nothing wrong, nothing twice."""

import itertools

from lib import guest
from lib.follow import Follow
from lib.moving import MoveCase

MIB = 1 << 20
#: A working set that is written again while it is sent; at STEADY, on a fast machine too, long
#: enough for rounds to repeat and not so long that they do not shrink.
BUSY = "mem=8 fill=4 rate=8M heartbeat=10"
STEADY = 32  # MiB/s
#: Written over and over, faster than SLOW can carry it.
HASTY = "mem=8 fill=4 rate=max check=64M heartbeat=10"
SLOW = 8  # MiB/s


class BackAndForth(MoveCase):
    """20 times in a row, each with all of RAM compared at the handover."""

    slow = True

    def there_and_back(self, heart, times):
        reports = []
        for source, destination in itertools.islice(
                itertools.cycle([(self.a, self.b), (self.b, self.a)]), times):
            reports.append(self.move(source, destination, "vm", "--bandwidth", STEADY))
            self.assert_beats_at(heart, destination)
            self.assertEqual(heart.problems(), [], f"after {len(reports)} moves")
        self.assert_sound(heart)
        self.assertEqual(len(heart.switchovers()), times)
        self.assert_nothing_logged(self.a, self.b)
        return reports

    def assert_rounds_repeat(self, reports):
        """Most moves had to send pages again that the guest had written meanwhile."""
        repeated = [report for report in reports if report["rounds"] > 2]
        self.assertGreater(len(repeated), len(reports) // 2, [r["rounds"] for r in reports])

    def test_bare_tcg(self):
        self.two_agents()
        heart = self.boot(self.a, cmdline=BUSY)
        self.assert_rounds_repeat(self.there_and_back(heart, 20))
        self.assertGreater(heart.last["w"], 0)

    def test_bare_kvm(self):
        self.two_agents()
        heart = self.boot(self.a, accelerator="kvm", cmdline="mem=64K fill=64K heartbeat=20")
        written = heart.last["w"]
        self.there_and_back(heart, 20)
        self.assertGreater(heart.last["w"], written)

    def test_linux(self):
        self.two_agents()
        heart = self.boot(self.a, make=guest.linux, cmdline=BUSY, vcpus=2)
        self.assert_rounds_repeat(self.there_and_back(heart, 6))


class Busy(MoveCase):
    """A guest that writes faster than the link is allowed to carry."""

    def setUp(self):
        super().setUp()
        self.two_agents()
        self.heart = self.boot(self.a, cmdline=HASTY)

    def test_post_copy(self):
        for source, destination in ((self.a, self.b), (self.b, self.a)) * 2:
            report = source.migrate("vm", destination.name, "--post-copy", "--bandwidth", SLOW)
            self.assert_completed(report)
            self.assertTrue(report["post_copy"], report)
            self.assert_beats_at(self.heart, destination)
            self.assertEqual(source.qemus(), [])
        self.assert_sound(self.heart, 2)
        self.assert_nothing_logged(self.a, self.b)

    def test_timeout_suspends_and_ends(self):
        with Follow(self.a, "vm", "B", bandwidth=SLOW * MIB, timeout_s=1, verify=True) as move:
            move.until(lambda progress: "--timeout" in progress.get("note", ""))
            move.until(lambda progress: True)  # said before it is done
            self.assertEqual(self.a.vm("vm")["state"], "paused")
            report = move.report()
        self.assert_completed(report)
        self.assertEqual(report["mode"], "live")
        self.assertEqual(self.b.vm("vm")["state"], "running")
        self.assert_beats_at(self.heart, self.b)
        self.assert_sound(self.heart)

    def test_says_when_it_does_not_converge(self):
        with Follow(self.a, "vm", "B", bandwidth=SLOW * MIB, downtime_ms=4) as move:
            progress = move.until(lambda progress: progress.get("note"))
            for remedy in ("--downtime", "--auto-converge", "--post-copy"):
                self.assertIn(remedy, progress["note"])
            self.a.call("AbortJob", vm="vm")
            self.assertEqual(move.report()["outcome"], "aborted")
        self.assert_beats_at(self.heart, self.a)

    def test_auto_converge(self):
        report = self.move(self.a, self.b, "vm", "--auto-converge", "--bandwidth", SLOW * 4,
                           "--timeout", 4)
        self.assertGreater(report["rounds"], 2)
        self.assert_beats_at(self.heart, self.b)
        self.assert_sound(self.heart)


class Limits(MoveCase):
    """--bandwidth."""

    def test_bandwidth(self):
        self.two_agents()
        heart = self.boot(self.a, cmdline="mem=4K fill=8 rate=0 heartbeat=20")
        percents = []
        with Follow(self.a, "vm", "B", bandwidth=4 * MIB, verify=True) as move:
            move.copying()
            move.until(lambda progress: percents.append(progress["percent"])
                       or progress["phase"] == "confirm")
            report = move.report()
        self.assert_completed(report)
        self.assertEqual(percents, sorted(percents))
        self.assertGreaterEqual(report["ram_bytes"], 8 * MIB)
        # What QEMU sends, it may not send in less time than this; more is the machine's affair.
        self.assertGreaterEqual(report["copy_ms"], 8 * MIB / (4 * MIB) * 1000 * 0.8)
        self.assert_beats_at(heart, self.b)
