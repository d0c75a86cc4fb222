# SPDX-License-Identifier: Apache-2.0
"""A guest's disk across moves: nothing written is lost, and never two may write.

How the second is shown. QEMU (block/file-posix.c, `locking=auto`) takes OFD locks on the image: a
shared lock on byte 100 + i for each permission i that it uses, and one on byte 200 + i for each
that it lets nobody else use; WRITE is permission 1. A QEMU that may write holds byte 101, and byte
201 so that no other can. Both QEMUs of a move have the image open with O_RDWR, so descriptors show
nothing; but as long as an image is inactive (before the handover at the destination, after it at
the source) its QEMU holds neither byte and writes nothing. So:

- Watch reads from /proc/PID/fdinfo, all through the move, whether the destination's QEMU holds
  byte 101, and *after that* whether the source's does. The right to write passes one way only, so a
  single sample with both means two writers, however far apart its two halves were read.
- Others (qemu-io, qemu-img) are refused before, during the copy, and after: not within the
  handover, where their attempt could itself keep the destination from getting its lock.
- Another VM is refused by the agents' own lock, on any host, also within the handover
  (tests/faults/test_image_lock.py).
- Every guest block is checked at the end: writers that overlapped would leave their traces.
"""

import hashlib
import os
import subprocess
import threading

from lib import VarlinkError, guest, paths
from lib.follow import Follow
from lib.guest import MIB
from lib.moving import PATIENCE, MoveCase

CHECK_DISK = paths.BUILD / "tests" / "guest" / "check_disk"
WRITE = 101
SIZE = 64 * MIB


def run(*words):
    """Runs a command; returns it finished, with one text for all that it said."""
    return subprocess.run([str(word) for word in words], stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)


def may_write(pid, image):
    """Does the process hold QEMU's lock for writing to an image? False also when it has ended."""
    status = os.stat(image)
    file = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    try:
        for fd in os.listdir(f"/proc/{pid}/fdinfo"):
            try:
                with open(f"/proc/{pid}/fdinfo/{fd}", encoding="ascii") as info:
                    if any(covers(line, file) for line in info):
                        return True
            except FileNotFoundError:
                pass  # closed meanwhile
    except (FileNotFoundError, ProcessLookupError):
        pass
    return False


def covers(line, file):
    """Is this a line of fdinfo about an OFD lock on the file that includes byte 101?"""
    words = line.split()
    if words[0] != "lock:" or words[2] != "OFDLCK" or words[6] != file:
        return False
    return int(words[7]) <= WRITE and (words[8] == "EOF" or WRITE <= int(words[8]))


class Watch:
    """Samples, from its making to `stop`, who of two QEMUs may write: (destination, source)."""

    def __init__(self, image, source, destination):
        self.samples = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(image, source, destination))
        self._thread.start()

    def _run(self, image, source, destination):
        while not self._stop.is_set():
            self.samples.append((may_write(destination, image), may_write(source, image)))

    def stop(self):
        self._stop.set()
        self._thread.join()
        return self.samples


class Disk(MoveCase):
    """The Linux guest writes numbered blocks to an ext4 and syncs each, all the time."""

    def setUp(self):
        super().setUp()
        self.folder = self.lab.directory / "images"
        self.folder.mkdir()

    def image(self, fmt, backing=None):
        """An image with an empty ext4, of root alone: QEMU gets it from the agent."""
        raw = self.folder / "disk.raw"
        with open(raw, "wb") as file:
            file.truncate(SIZE)
        self.succeeds("mkfs.ext4", "-q", raw)
        image = raw
        if fmt != "raw":
            image = self.folder / f"disk.{fmt}"
            self.succeeds("qemu-img", "convert", "-O", fmt, raw, image)
        if backing:
            base, image = image, self.folder / "overlay.qcow2"
            self.succeeds("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", fmt, image)
        image.chmod(0o600)
        return image

    def succeeds(self, *words):
        result = run(*words)
        self.assertEqual(result.returncode, 0, result.stdout)
        return result.stdout

    def start(self, image, fmt, cache, target="vda", **options):
        """Boots a guest on A that writes to the image."""
        self.fmt, self.path = fmt, image
        bus = "scsi" if target.startswith("sd") else "virtio"
        self.heart = self.boot(
            self.a, make=guest.linux, cmdline=f"mem=4 fill=8 heartbeat=20 disk={target}",
            devices=guest.disk(image, target=target, bus=bus, fmt=fmt, cache=cache), **options)
        self.writes_on(self.a)

    def writes_on(self, agent, blocks=10):
        """The guest has so many more blocks on the disk, and runs on this agent's host."""
        goal = self.heart.last.get("d", 0) + blocks
        self.heart.wait(lambda heart: heart.last.get("d", 0) >= goal, PATIENCE)
        self.assert_beats_at(self.heart, agent)

    def others_are_refused(self):
        """Nobody else can write to the image, nor read its metadata as if nobody wrote."""
        attempts = [("qemu-io", "-f", self.fmt, "-c", "write 0 512", self.path)]
        if self.fmt != "raw":  # whose reading shares the image with a writer
            attempts.append(("qemu-img", "info", self.path))
        for words in attempts:
            result = run(*words)
            self.assertNotEqual(result.returncode, 0, words)
            self.assertIn("lock", result.stdout)

    def move_watched(self, source, destination):
        """A live move in whose middle the guest writes; one of the two QEMUs may at any time."""
        with Follow(source, "vm", destination.name, verify=True, bandwidth=24 * MIB) as move:
            move.copying()
            watch = Watch(self.path, source.vm("vm")["pid"], destination.vm("vm")["pid"])
            try:
                self.others_are_refused()
                self.writes_on(source, blocks=5)
                report = move.report()
            finally:
                samples = watch.stop()
        self.assert_completed(report)
        self.assertNotIn((True, True), samples)
        self.assertEqual(samples[0], (False, True))
        self.assertTrue(may_write(destination.vm("vm")["pid"], self.path))
        order = [sample for sample in samples if any(sample)]
        self.assertEqual(order, sorted(order), "the right to write went back and forth")
        self.others_are_refused()
        self.writes_on(destination)

    def shut_down(self, agent):
        """The guest unmounts and ends; everything it wrote must be there."""
        agent.cli("shutdown", "vm", "--wait", 60, json=False)
        self.heart.wait(lambda heart: heart.of("BYE"), PATIENCE)
        self.assertEqual(self.heart.problems(), [])
        self.assertIn("unmounted", self.check())
        self.succeeds("qemu-img", "info", self.path)
        if self.fmt == "qcow2":
            self.succeeds("qemu-img", "check", "-f", "qcow2", self.path)

    def check(self):
        """The judgement on the image: e2fsck's, and on each block that the guest called safe."""
        said = self.succeeds(CHECK_DISK, "--synced", self.heart.last["d"], self.path)
        self.assertIn(" 0 findings", said)
        return said

    def whole(self, fmt, cache, emulator, **options):
        self.two_agents(emulator=emulator)
        self.start(self.image(fmt), fmt, cache, **options)
        self.others_are_refused()
        self.move_watched(self.a, self.b)
        self.shut_down(self.b)

    def test_raw(self):
        self.whole("raw", "none", paths.QEMU_10)

    def test_raw_writeback_qemu_7(self):
        self.whole("raw", "writeback", paths.QEMU_7)

    def test_qcow2_scsi_qemu_7(self):
        self.whole("qcow2", "none", paths.QEMU_7, target="sda")

    def test_qcow2_writeback(self):
        self.whole("qcow2", "writeback", paths.QEMU_10)

    def test_chain_there_and_back(self):
        """An overlay on a base image, which nobody changes."""
        self.two_agents()
        image = self.image("qcow2", backing=True)
        base = hashlib.sha256((self.folder / "disk.qcow2").read_bytes()).digest()
        self.start(image, "qcow2", "none")
        self.move_watched(self.a, self.b)
        self.move_watched(self.b, self.a)
        self.shut_down(self.a)
        self.assertEqual(hashlib.sha256((self.folder / "disk.qcow2").read_bytes()).digest(), base)

    def test_after_an_abort(self):
        """A move that fails in its middle leaves the disk to the source; a crash loses nothing."""
        self.two_agents()
        self.start(self.image("raw"), "raw", "none")
        with Follow(self.a, "vm", "B", bandwidth=MIB) as move:
            move.copying()
            watch = Watch(self.path, self.a.vm("vm")["pid"], self.b.vm("vm")["pid"])
            try:
                self.a.call("AbortJob", vm="vm")
                self.assertEqual(move.report()["outcome"], "aborted")
            finally:
                samples = watch.stop()
        self.assertEqual(set(samples), {(False, True)})
        self.writes_on(self.a)
        self.others_are_refused()
        self.move_watched(self.a, self.b)
        self.b.call("Destroy", vm="vm")
        self.assertIn("not unmounted", self.check())

    def test_third_host(self):
        """The image is one VM's wherever that VM goes, and the next one's once it has ended."""
        self.two_agents()
        c = self.lab.agent("C", emulator=self.emulator)
        self.start(self.image("raw"), "raw", "none")
        c.define(guest.bare("other", accelerator="qemu", devices=guest.disk(self.path)))

        def refused():
            self.assertIn(f"disk vda: image {self.path} is locked",
                          c.cli_fails("start", "other").stderr)
            self.assert_shut_off(c, "other")

        refused()
        with Follow(self.a, "vm", "B", bandwidth=24 * MIB) as move:
            move.copying()
            refused()
            self.assert_completed(move.report())
        refused()
        self.writes_on(self.b)
        self.b.restart()
        refused()
        self.b.call("Destroy", vm="vm")
        c.call("Start", vm="other", paused=False)
        error = self.a.cli_fails("start", "vm")
        self.assertIn("is locked", error.stderr)

    def test_second_vm(self):
        """An image that a VM writes to is refused to another VM, on either host."""
        self.two_agents()
        self.start(self.image("raw"), "raw", "none")
        for agent in self.a, self.b:
            agent.define(guest.bare("other", accelerator="qemu",
                                    devices=guest.disk(self.path)))
            with self.assertRaises(VarlinkError) as refused:
                agent.call("Start", vm="other", paused=False)
            self.assertIn(f"image {self.path} is locked", refused.exception.message)
            self.assert_shut_off(agent, "other")
        self.writes_on(self.a)
        self.shut_down(self.a)
