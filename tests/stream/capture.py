#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Captures what a real QEMU writes when it migrates a test guest.

    capture.py [--emulator QEMU] [--guest KIND] [--memory MIB] [--words WORDS] MODE FOLDER

MODE is one of `pre-copy`, `post-copy`, `xbzrle`, `compress` (until QEMU 9.0), `shared`, `multifd`,
`multifd-zlib`, `multifd-zstd`. In FOLDER appear `main`, for multifd `channel-0` and so on, and
`facts.json`: version, QEMU's own count of pages, and, where the memory can be read, `ram`, the
guest's memory as it must be at the other end. KIND is `bare` (default) or `linux`.
"""

import argparse
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from lib import paths  # noqa: E402

WAIT_S = 60
MIB = 1 << 20
CHANNELS = 2
BARE = paths.BUILD / "tests" / "guest" / "guest.elf"
KERNEL = paths.SETUP / "linux" / "vmlinuz"
INITRD = paths.BUILD / "tests" / "guest" / "initrd.img"

CAPABILITIES = {
    "pre-copy": [],
    "post-copy": ["postcopy-ram"],
    "xbzrle": ["xbzrle"],
    "compress": ["compress"],
    "shared": ["x-ignore-shared"],
    "multifd": ["multifd"],
    "multifd-zlib": ["multifd"],
    "multifd-zstd": ["multifd"],
}


class Unavailable(Exception):
    """This QEMU or this machine cannot do it."""


class Qemu:
    """One QEMU with a QMP connection; ended on exit."""

    def __init__(self, command, folder, name):
        path = folder / f"{name}.qmp"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            listener.settimeout(WAIT_S)
            self.process = subprocess.Popen(
                [*command, "-qmp", f"unix:{path}", "-serial", "stdio"],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
            try:
                connection = listener.accept()[0]
            except BaseException:
                self.process.kill()
                self.process.wait()
                raise
        connection.settimeout(WAIT_S)
        self.qmp = connection.makefile("rw", encoding="utf-8")
        connection.close()  # the file keeps it open
        self.events = []
        self.read()  # the greeting
        self.call("qmp_capabilities")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.qmp.close()

    def read(self):
        line = self.qmp.readline()
        if not line:
            raise RuntimeError("QEMU ended")
        return json.loads(line)

    def call(self, command, **arguments):
        self.qmp.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.qmp.flush()
        while True:
            answer = self.read()
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise RuntimeError(f"{command}: {answer['error']['desc']}")
            self.events.append(answer)

    def wait(self, name, key, value):
        """Until an event of this name has data[key] == value; a migration that fails is an error."""
        while True:
            while self.events:
                event = self.events.pop(0)
                data = event.get("data", {})
                if event["event"] == name and data.get(key) == value:
                    return
                if event["event"] == "MIGRATION" and data["status"] in ("failed", "cancelled"):
                    raise RuntimeError(f"migration: {self.call('query-migrate')}")
            self.events.append(self.read())

    def version(self):
        version = self.call("query-version")["qemu"]
        return f"{version['major']}.{version['minor']}.{version['micro']}"

    def major_version(self):
        return int(self.version().partition(".")[0])

    def enable(self, names):
        """Turns capabilities on, all others stay off."""
        known = {entry["capability"] for entry in self.call("query-migrate-capabilities")}
        if not known.issuperset(names):
            raise Unavailable(f"QEMU {self.version()} has no {', '.join(names)}")
        self.call("migrate-set-capabilities",
                  capabilities=[{"capability": name, "state": True} for name in names])

    def wait_ready(self):
        """Until the guest has written all of its memory once; it says RDY."""
        for line in self.process.stdout:
            if b"RDY" in line:
                return
        raise RuntimeError("the guest ended before it was ready")


class Recorder:
    """Takes QEMU's connections at `path`, writes what comes to files, and passes it on to `onward`,
    if there is such a path, and what comes back. Works in a thread until the last one ends."""

    def __init__(self, path, folder, onward=None):
        self.folder, self.onward = folder, onward
        self.connections = 0
        self.bytes = 0
        self.changed = threading.Condition()
        self.threads = []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(16)
        self.start(self.accept)

    def start(self, function, *arguments):
        thread = threading.Thread(target=function, args=arguments)
        self.threads.append(thread)
        thread.start()

    def accept(self):
        with contextlib.suppress(OSError):  # close() ends it
            while True:
                source = self.listener.accept()[0]
                self.start(self.record, source, self.folder / f"connection-{self.connections}")
                self.connections += 1

    def record(self, source, path):
        with source, open(path, "wb") as file, contextlib.ExitStack() as stack:
            onward = None
            if self.onward:
                onward = stack.enter_context(socket.socket(socket.AF_UNIX))
                onward.connect(str(self.onward))
                back = threading.Thread(target=self.copy, args=(onward, source, lambda _: None))
                back.start()
                stack.callback(back.join)
            self.copy(source, onward, lambda data: self.write(file, data))

    def write(self, file, data):
        file.write(data)
        with self.changed:
            self.bytes += len(data)
            self.changed.notify_all()

    @staticmethod
    def copy(source, target, see):
        with contextlib.suppress(OSError):  # the other direction tells what went wrong
            while data := source.recv(MIB):
                see(data)
                if target:
                    target.sendall(data)
            if target:
                target.shutdown(socket.SHUT_WR)

    def wait_bytes(self, count):
        with self.changed:
            if not self.changed.wait_for(lambda: self.bytes >= count, WAIT_S):
                raise RuntimeError(f"only {self.bytes} of {count} bytes came")

    def close(self):
        """Waits until all connections have ended."""
        self.listener.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join()
        self.listener.close()


def machine(options, ram):
    """QEMU's arguments but for its monitor and what comes in."""
    words = options.words
    if options.guest == "linux":
        prefixed = " ".join(f"mudanza.{word}" for word in words.split())
        boot = ["-kernel", str(KERNEL), "-initrd", str(INITRD),
                "-append", f"console=ttyS0 quiet {prefixed}"]
    else:
        boot = ["-kernel", str(BARE), "-append", words]
    size = f"{options.memory}M"
    return [options.emulator, "-accel", "tcg", "-display", "none", "-nodefaults",
            "-machine", "q35,memory-backend=ram", "-m", size, "-object",
            f"memory-backend-file,id=ram,mem-path={ram},share=on,size={size}", *boot]


def prepare(source, destination, mode):
    """Capabilities and parameters; a failure means that this QEMU cannot do it."""
    names = [*CAPABILITIES[mode], "events"]
    for qemu in filter(None, (source, destination)):
        qemu.enable(names)
        if mode.startswith("multifd"):
            method = mode.partition("-")[2] or "none"
            qemu.call("migrate-set-parameters", **{"multifd-channels": CHANNELS,
                                                   "multifd-compression": method})
    # A bare guest is over in one round: slow enough, and patient enough, that there are some.
    limits = {"xbzrle": {"max-bandwidth": 8 * MIB, "downtime-limit": 1},
              "post-copy": {"max-bandwidth": 8 * MIB, "downtime-limit": 1}}
    source.call("migrate-set-parameters", **limits.get(mode, {"max-bandwidth": 0}))


def move(source, recorder, mode, target):
    """Migrates; returns QEMU's account."""
    # Streams that are put together and compared with RAM: with multifd no page may go twice, as the
    # channels have no order, and before 9.0 QEMU's TCG forgot that a page was written again.
    if mode.startswith("multifd") or (mode.endswith("-copy") and source.major_version() < 9):
        source.call("stop")
    source.call("migrate", uri=f"unix:{target}")
    if mode == "post-copy":
        recorder.wait_bytes(2 * MIB)
        source.call("migrate-start-postcopy")
    source.wait("MIGRATION", "status", "completed")
    return source.call("query-migrate")


def name_files(folder):
    """Connections come in any order: a channel says its number, the main one does not."""
    for path in sorted(folder.glob("connection-*")):
        with open(path, "rb") as file:
            start = file.read(25)
        channel = start[:4] == b"\x11\x22\x33\x44"
        path.rename(folder / (f"channel-{start[24]}" if channel else "main"))


def capture(options, folder):
    """Writes the streams and facts.json to `folder`. Raises Unavailable when it cannot be done."""
    for needed in (options.emulator, *((KERNEL, INITRD) if options.guest == "linux" else (BARE,))):
        if not shutil.which(needed) and not Path(needed).exists():
            raise Unavailable(f"no {needed}")
    post_copy = options.mode == "post-copy"
    if post_copy and not os.path.isdir("/dev/shm"):
        raise Unavailable("no /dev/shm")
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        # In a file the kernel can fill in missing pages only if it is in a tmpfs.
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(
            prefix="mudanza-capture-", dir="/dev/shm" if post_copy else None)))
        target, incoming = work / "target", work / "incoming"
        source = stack.enter_context(Qemu(machine(options, work / "source.ram"), work, "source"))
        destination = None
        if post_copy:
            destination = stack.enter_context(Qemu(
                [*machine(options, work / "destination.ram"), "-S", "-incoming", "defer"],
                work, "destination"))
        try:
            prepare(source, destination, options.mode)
        except RuntimeError as error:
            raise Unavailable(str(error)) from None
        if destination:
            destination.call("migrate-incoming", uri=f"unix:{incoming}")
        source.wait_ready()
        recorder = Recorder(target, folder, incoming if destination else None)
        try:
            info = move(source, recorder, options.mode, target)
            if destination:  # it has all pages when it says so
                destination.wait("MIGRATION", "status", "completed")
        except BaseException:
            for qemu in filter(None, (source, destination)):
                qemu.process.kill()  # so that their connections end
            raise
        finally:
            recorder.close()
        name_files(folder)
        shutil.copyfile(work / ("destination.ram" if destination else "source.ram"), folder / "ram")
        facts = {"version": source.version(), "mode": options.mode, "guest": options.guest,
                 "memory": options.memory, "ram": info["ram"], "xbzrle": info.get("xbzrle-cache")}
    (folder / "facts.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return facts


def parser():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--emulator", default=str(paths.QEMU_7))
    options.add_argument("--guest", choices=("bare", "linux"), default="bare")
    options.add_argument("--memory", type=int, default=16, help="in MiB")
    options.add_argument("--words", default="mem=1 fill=2 rate=40M check=2M",
                         help="of the guest's command line")
    options.add_argument("mode", choices=CAPABILITIES)
    options.add_argument("folder", type=Path)
    return options


def main():
    options = parser().parse_args()
    try:
        facts = capture(options, options.folder)
    except Unavailable as error:
        print(f"capture: {error}", file=sys.stderr)
        return 77
    print(json.dumps(facts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
