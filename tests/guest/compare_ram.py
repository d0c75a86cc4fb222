#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Moves the bare-metal guest between two QEMUs by hand and compares their RAM byte by byte.

    compare_ram.py GUEST.ELF [--accel kvm] [--cpu MODEL] [--smp N] [--hops N] [--to QEMU] ...

The source is read at pre-switchover and again once it is done, the destination after its load and
before `cont`. Differences are printed and judged by the rule of docs/ram-digest.md; exit status 0
when there are none, or only such as the rule allows (--strict: 0 only when there are none).
"""

import argparse
import contextlib
import ctypes
import json
import re
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import heartbeat

PAGE = 4096
CLOCK = struct.Struct("<IIQQIbBH")  # struct pvclock_vcpu_time_info
CLOCK_STABLE, CLOCK_STOPPED = 1, 2
WAIT_S = 60

libc = ctypes.CDLL(None, use_errno=True)


class Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]


def read_process(pid: int, address: int, size: int) -> bytes:
    """`size` bytes of another process, in pieces the kernel takes at once."""
    buffer = ctypes.create_string_buffer(size)
    done = 0
    while done < size:
        local = Iovec(ctypes.addressof(buffer) + done, size - done)
        remote = Iovec(address + done, size - done)
        count = libc.process_vm_readv(pid, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0)
        if count <= 0:
            raise OSError(ctypes.get_errno(), f"cannot read process {pid} at {address + done:#x}")
        done += count
    return buffer.raw


class Qemu:
    """One QEMU with a QMP socket; ended on exit."""

    def __init__(self, folder: Path, name: str, command: list[str]):
        self.serial = folder / f"{name}.serial"
        path = folder / f"{name}.qmp"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            listener.settimeout(WAIT_S)
            self.process = subprocess.Popen(
                [*command, "-qmp", f"unix:{path}", "-serial", f"file:{self.serial}"])
            self.qmp = listener.accept()[0].makefile("rw", encoding="utf-8")
        self.qmp.readline()
        self.call("qmp_capabilities")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.qmp.close()

    def call(self, command: str, **arguments):
        self.qmp.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.qmp.flush()
        while True:
            answer = json.loads(self.qmp.readline())
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise RuntimeError(f"{command}: {answer['error']['desc']}")

    def ram(self, size: int) -> bytes:
        answer = self.call("human-monitor-command", **{"command-line": "gpa2hva 0"})
        return read_process(self.process.pid, int(re.search(r"is (0x\w+)", answer)[1], 16), size)

    def migration(self, *wanted: str) -> str:
        """Waits for one of these states."""
        for _ in range(WAIT_S * 100):
            state = self.call("query-migrate").get("status")
            if state in wanted:
                return state
            if state == "failed":
                break
            time.sleep(0.01)  # QMP events would need a second reader here
        raise RuntimeError(f"migration is {state}, not {' or '.join(wanted)}")

    def wait_ready(self) -> None:
        """Until the guest has its first contents."""
        for _ in range(WAIT_S * 20):
            heart = heartbeat.Heartbeat()
            heart.feed(self.serial.read_bytes() if self.serial.exists() else b"", 0)
            if heart.of("RDY"):
                return
            time.sleep(0.05)
        raise RuntimeError("the guest shows no life")


def differences(a: bytes, b: bytes) -> list[int]:
    """Addresses of all bytes that differ."""
    found = []
    for page in range(0, len(a), PAGE):
        if a[page:page + PAGE] != b[page:page + PAGE]:
            found += [i for i in range(page, page + PAGE) if a[i] != b[i]]
    return found


def clock_moved(a: bytes, b: bytes) -> bool:
    """The rule for one structure: version two up from even, the stable flag gone, all else equal
    and what a clock looks like."""
    va, *same_a, flags_a, pad_a = CLOCK.unpack(a)
    vb, *same_b, flags_b, pad_b = CLOCK.unpack(b)
    pad0, _, _, multiplier, shift = same_a
    return (va % 2 == 0 and vb == (va + 2) % 2**32 and same_a == same_b and pad_a == pad_b == 0
            and pad0 == 0 and multiplier >= 2**31 and -32 < shift < 32
            and flags_a <= CLOCK_STABLE | CLOCK_STOPPED and flags_b == flags_a & ~CLOCK_STABLE)


def judge(a: bytes, b: bytes, vcpus: int) -> bool:
    """Prints what differs; true when nothing does that the rule does not allow."""
    found = differences(a, b)
    clocks = 0
    while found:
        # The version's low byte always differs, and is the first that does.
        start = found[0]
        va, vb = a[start:start + CLOCK.size], b[start:start + CLOCK.size]
        print(f"  {start:#x}: {va.hex(' ', 4)}\n  {'':>{len(hex(start))}}  {vb.hex(' ', 4)}")
        if start % 4 or len(va) < CLOCK.size or not clock_moved(va, vb):
            print(f"  not a clock; {len(found)} bytes differ from here on")
            return False
        clocks += 1
        found = [address for address in found if address >= start + CLOCK.size]
    return clocks <= vcpus


def hop(source: Qemu, folder: Path, number: int, command: list[str], options) -> tuple[Qemu, bool]:
    """One migration: the destination, running, and whether RAM arrived."""
    size = options.memory << 20
    destination = Qemu(folder, f"hop{number}", [*command, "-S", "-incoming", "defer"])
    uri = f"unix:{folder}/hop{number}.mig"
    destination.call("migrate-incoming", uri=uri)
    source.call("migrate-set-capabilities",
                capabilities=[{"capability": "pause-before-switchover", "state": True}])
    source.call("migrate-set-parameters",
                **{"downtime-limit": options.downtime, "max-bandwidth": 256 << 20})
    if options.stop:
        source.call("stop")
    source.call("migrate", uri=uri)
    source.migration("pre-switchover")
    before = source.ram(size)
    source.call("migrate-continue", state="pre-switchover")
    source.migration("completed")
    after = source.ram(size)
    destination.migration("completed")
    loaded = destination.ram(size)
    if differences(before, after):
        print(f"hop {number}: the source changed after pre-switchover")
    rounds = source.call("query-migrate")["ram"]["dirty-sync-count"]
    print(f"hop {number}: {len(differences(after, loaded))} bytes differ, {rounds} rounds")
    right = before == after and judge(after, loaded, options.smp)
    if options.strict:
        right = after == loaded
    destination.call("cont")
    return destination, right


def main() -> int:
    parser = argparse.ArgumentParser(description="Compares RAM across a migration.")
    parser.add_argument("guest", help="guest.elf")
    parser.add_argument("--qemu", default="qemu-system-x86_64")
    parser.add_argument("--to", help="QEMU of every second hop (default: the same)")
    parser.add_argument("--accel", default="kvm")
    parser.add_argument("--machine", default="pc-q35-7.2")
    parser.add_argument("--cpu", default="qemu64,pni=off")
    parser.add_argument("--smp", type=int, default=1)
    parser.add_argument("--memory", type=int, default=64, help="MiB, below 2 GiB")
    parser.add_argument("--append", default="mem=64K rate=16", help="the guest's command line")
    parser.add_argument("--downtime", type=int, default=300, help="downtime-limit, ms")
    parser.add_argument("--stop", action="store_true", help="stop the guest first: non-live")
    parser.add_argument("--hops", type=int, default=1)
    parser.add_argument("--strict", action="store_true", help="no difference is allowed")
    options = parser.parse_args()
    arguments = ["-accel", options.accel, "-M", options.machine, "-cpu", options.cpu,
                 "-smp", str(options.smp), "-m", str(options.memory), "-display", "none",
                 "-nodefaults", "-kernel", options.guest, "-append", options.append]
    right = True
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        qemu = stack.enter_context(Qemu(folder, "start", [options.qemu, *arguments]))
        qemu.wait_ready()
        for number in range(1, options.hops + 1):
            binary = (options.to or options.qemu) if number % 2 else options.qemu
            qemu, hop_right = hop(qemu, folder, number, [binary, *arguments], options)
            stack.push(qemu)
            right = right and hop_right
            time.sleep(0.1)  # let it run: what differed once must come right by itself
    print("RAM arrived" if right else "RAM did NOT arrive")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
