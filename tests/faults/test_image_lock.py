# SPDX-License-Identifier: Apache-2.0
"""In the middle of a handover no QEMU holds its image locks; a third host gets the disk all the same
not, as src/vm/image_lock.h says. The moment: the destination is about to let its guest run."""

from lib import guest
from lib.moving import PATIENCE, MoveCase

from . import injection
from .cell import COPY, DEADLINES, DISK, QUIET, Move, may_write

#: Both QEMUs are without their locks there: the source's has given them up before END.
WINDOW = "destination-cont-before"


class ImageLock(MoveCase):
    """A and B move a VM, C tries to start another one with its disk."""

    def begin(self, fault):
        """A guest on A, whose move to B is held in the window; B has one more fault."""
        self.faults = injection.Faults(self.lab.directory / "faults")
        self.addCleanup(self.faults.close)
        self.a, self.c = (self.lab.agent(host, emulator=self.emulator, options=DEADLINES)
                          for host in "AC")
        self.b = self.lab.agent("B", emulator=self.emulator, options=(
            *DEADLINES, "--fault", fault, "--fault-socket", self.faults.path))
        self.lab.pair()
        self.image = self.lab.directory / "disk.raw"
        self.image.write_bytes(bytes(DISK))
        self.image.chmod(0o600)
        disk = guest.disk(self.image)
        self.heart = self.boot(self.a, cmdline=QUIET, devices=disk + guest.bridge())
        self.c.define(guest.bare("other", cmdline=QUIET, accelerator="qemu", devices=disk))
        self.refused()
        self.move_on = Move(self.a, "vm", "B", {"bandwidth": COPY})

    def in_window(self, point=WINDOW):
        """Neither QEMU holds what would keep C's out."""
        reached = self.faults.wait(point, PATIENCE)
        (source,), (destination,) = self.a.qemus(), self.b.qemus()
        self.assertFalse(may_write(source, self.image))
        self.assertFalse(may_write(destination, self.image))
        return reached

    def refused(self):
        error = self.c.cli_fails("start", "other")
        self.assertIn(f"VM other: starting QEMU: disk vda: image {self.image} is locked",
                      error.stderr)
        self.assertIn("mudanza list", error.stderr)
        self.assert_shut_off(self.c, "other")
        self.assertEqual(self.c.qemus(), [])

    def outcome(self):
        self.move_on.join(PATIENCE)
        return self.move_on.report and self.move_on.report["outcome"]

    def owner_may_write(self, agent):
        (pid,) = agent.qemus()
        self.assertTrue(may_write(pid, self.image))
        self.assert_beats_at(self.heart, agent)

    def leave(self, owner):
        """The owner keeps C out until its VM ends."""
        self.refused()
        owner.cli("destroy", "vm", json=False)
        self.c.cli("start", "other", json=False)
        (pid,) = self.c.qemus()
        self.assertTrue(may_write(pid, self.image))

    def test_move(self):
        self.begin(f"{WINDOW}:hold")
        reached = self.in_window()
        self.refused()
        reached.let_go()
        self.assertEqual(self.outcome(), "completed")
        self.owner_may_write(self.b)
        self.leave(self.b)

    def test_rollback(self):
        """The destination never ran the guest: the source takes its locks anew."""
        self.begin(f"destination-loaded:hold,{WINDOW}:error")
        reached = self.in_window("destination-loaded")
        self.refused()
        reached.let_go()
        self.assertEqual(self.outcome(), "failed")
        self.owner_may_write(self.a)
        self.leave(self.a)

    def test_without_agents(self):
        """The lock is not the agents' to lose: both of them die in the window."""
        self.begin(f"{WINDOW}:hold")
        reached = self.in_window()
        self.a.kill()
        self.b.kill()
        reached.let_go()
        self.refused()
        injection.disarm(self.b)
        self.b.start()
        self.a.start()
        self.await_that(lambda: self.a.qemus() == [], "the source's QEMU ends")
        self.owner_may_write(self.b)
        self.await_that(lambda: "job" not in self.b.vm("vm"), "the job ends")
        self.leave(self.b)
