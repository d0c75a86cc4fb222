# SPDX-License-Identifier: Apache-2.0
"""Pages that the destination has already need not travel; the RAM that is kept of VMs that left."""

from lib import guest, paths, sandbox
from lib.follow import Follow
from lib.moving import MoveCase

MIB = 2 ** 20
#: 24 MiB of random data that are written once.
FILLED = "mem=64K fill=24 rate=0 check=0 heartbeat=20"
#: 6 MiB that are written all the time.
BUSY = "mem=6 rate=max check=64M pattern=random heartbeat=20"


def kept(agent):
    """What an agent keeps: bytes by the VM's name."""
    return {ram["vm"]: ram["bytes"] for ram in agent.call("GetAgent")["kept_ram"]}


def files(agent, what):
    """How many files in memory of that name an agent has open."""
    return sum(what in target for target in sandbox.open_files(agent.process.pid))


def copies(agent):
    """How many copies of RAM an agent has, also those that are being made."""
    return files(agent, "mudanza-kept-ram")


def shared(*words, **options):
    """A bare guest whose RAM is shared memory."""
    backing = "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>"
    return guest.bare(*words, **options).replace("<os>", f"{backing}<os>", 1)


def in_group(name):
    """A bare guest that belongs to a group."""
    group = f'<m:group xmlns:m="https://mudanza.io/xmlns/domain/1">{name}</m:group>'

    def make(*words, **options):
        return guest.bare(*words, **options).replace("<os>", f"<metadata>{group}</metadata><os>", 1)
    return make


class Known(MoveCase):
    """On a slow network, so that what has to be sent is most of the time: then the time that a
    busy machine takes for other things makes little difference to what is known."""

    RATE = "50mbit"
    PAGES = 24 * MIB // 4096

    def assert_most_known(self, report):
        self.assertGreater(report["stream"]["known"], self.PAGES // 2, report)
        self.assertLess(report["wire_bytes"], 12 * MIB, report)

    def test_coming_back(self):
        a, b = self.two_agents()
        heart = self.boot(a, cmdline=FILLED)
        self.lab.limit(self.RATE)
        self.assertEqual(self.move(a, b)["stream"]["known"], 0)
        self.assert_most_known(self.move(b, a))
        self.assert_beats_at(heart, a)

    def test_siblings(self):
        a, b = self.two_agents()
        self.boot(b, "here", make=in_group("web"), cmdline=FILLED)
        heart = self.boot(a, "sibling", make=in_group("web"), cmdline=FILLED)
        self.boot(a, "stranger", make=in_group("mail"), cmdline=FILLED)
        self.assertEqual(self.move(a, b, "stranger")["stream"]["known"], 0)
        self.lab.limit(self.RATE)
        self.assert_most_known(self.move(a, b, "sibling"))
        self.assert_beats_at(heart, b)
        self.assertEqual(b.vm("here")["state"], "running")


class Kept(MoveCase):
    """On a network that a move has to wait for: elsewhere nothing is kept."""

    RATE = "50mbit"

    def test_until_the_vm_is_back(self):
        a, b = self.two_agents()
        heart = self.boot(a, cmdline=FILLED)
        with Follow(a, "vm", "B", bandwidth=MIB) as move:
            move.copying()
            self.assertEqual((copies(a), kept(a)), (1, {}))  # it has not left yet
            a.call("AbortJob", vm="vm")
            self.assertEqual(move.report()["outcome"], "aborted")
        self.assertEqual(copies(a), 0)
        self.lab.limit(self.RATE)
        self.move(a, b, "vm", "--undefine-source")
        self.assertGreater(kept(a)["vm"], 0)  # how much, is a matter of idle time
        self.assertLess(kept(a)["vm"], 64 * MIB)  # zeros are not
        self.assertEqual((a.call("List", all=True)["vms"], a.qemus()), ([], []))
        self.assertIn("Kept RAM", a.cli("id", "--all", json=False))
        self.assertEqual(copies(b), 0)
        self.move(b, a, "vm", "--bandwidth", "16M")
        self.assertEqual(list(kept(b)), ["vm"])
        self.await_that(lambda: copies(a) == 0, "the VM is back, and yet its RAM is kept")
        self.assert_beats_at(heart, a)
        b.restart()
        self.assertEqual(kept(b), {})

    def test_its_time_and_who_wants_none(self):
        a, b = self.agents("A", "B", emulator=self.emulator, options=("--keep-ram-seconds", "1"))
        c = self.lab.agent("C", emulator=self.emulator, options=("--dedup", "off"))
        self.lab.pair(a, b, c)
        self.lab.limit(self.RATE)
        self.boot(a, cmdline=FILLED)
        self.move(a, b)
        self.await_that(lambda: copies(a) == 0, "its time was a second")
        self.assertIn("no longer kept", a.log_tail(1 << 20))
        self.move(b, c)
        self.move(c, a)
        self.assertEqual(copies(c), 0)


class KeptAsItIs(MoveCase):
    """RAM that is shared memory is not copied: the file stays. On any network."""

    def round_trip(self, emulator):
        """There, and back again."""
        a, b = self.two_agents(emulator=emulator)
        heart = self.boot(a, make=shared, cmdline=FILLED)
        self.move(a, b)
        self.assertEqual((copies(a), files(a, "memory-backend")), (0, 1))
        self.assertGreater(kept(a)["vm"], 24 * MIB)
        self.assertEqual(a.qemus(), [])
        self.lab.limit("50mbit")
        report = self.move(b, a, "vm", "--undefine-source")
        self.assertGreater(report["stream"]["known"], 24 * MIB // 4096 // 2, report)
        self.assertEqual(list(kept(b)), ["vm"])
        self.await_that(lambda: files(a, "memory-backend") == 0,
                        "the VM is back, and yet its RAM is kept")
        self.assertEqual((copies(a), copies(b), b.call("List", all=True)["vms"]), (0, 0, []))
        self.assert_beats_at(heart, a)

    def test_there_and_back(self):
        self.round_trip(paths.QEMU_10)

    def test_there_and_back_with_qemu_7(self):
        self.round_trip(paths.QEMU_7)

    def test_post_copy(self):
        a, b = self.two_agents()
        heart = self.boot(a, make=shared, cmdline=BUSY)
        self.lab.limit("50mbit")
        report = a.migrate("vm", "B", "--post-copy")
        self.assert_completed(report)
        self.assertTrue(report["post_copy"], report)
        self.assertEqual((copies(a), files(a, "memory-backend"), a.qemus()), (0, 1, []))
        self.assertGreater(kept(a)["vm"], 6 * MIB)
        self.assert_sound(heart, rounds=2)
        self.assert_beats_at(heart, b)

    def test_a_vm_that_stays(self):
        a, _ = self.two_agents()
        heart = self.boot(a, make=shared, cmdline=FILLED)
        with Follow(a, "vm", "B", bandwidth=MIB) as move:
            move.copying()
            a.call("AbortJob", vm="vm")
            self.assertEqual(move.report()["outcome"], "aborted")
        self.assertEqual((kept(a), files(a, "memory-backend"), copies(a)), ({}, 0, 0))
        self.assert_beats_at(heart, a)

    def test_its_time(self):
        a, b = self.agents("A", "B", emulator=self.emulator, options=("--keep-ram-seconds", "1"))
        self.boot(a, make=shared, cmdline=FILLED)
        self.move(a, b)
        self.await_that(lambda: files(a, "memory-backend") == 0, "its time was a second")
        self.assertIn("no longer kept", a.log_tail(1 << 20))
