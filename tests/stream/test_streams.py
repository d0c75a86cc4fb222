#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The parsers on what real QEMUs write: test_streams.py CHECK_STREAM MERGE_STREAMS EMULATOR.

Each mode's streams are captured now and put through check_stream: cut anywhere, the output is the
input; the pages are as many as QEMU counted; put in place they make the guest's memory. Those of
multifd do so also when they have been merged into one. Exits with 77 when there is no such QEMU.
"""

import json
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import capture

# enum ram_phase
DEVICES, DONE = 2, 4


def check(program, kind, streams, image=None):
    """What check_stream says, one object for each stream."""
    options = ["--image", str(image)] if image else []
    result = subprocess.run([program, *options, kind, *map(str, streams)], check=False, text=True,
                            stdout=subprocess.PIPE)
    print(result.stdout, end="", flush=True)
    if result.returncode != 0:
        raise AssertionError(f"check_stream failed on {kind}")
    return [json.loads(line) for line in result.stdout.splitlines()]


def expect(name, seen, wanted):
    if seen != wanted:
        raise AssertionError(f"{name}: {seen}, not {wanted}")


def examine_merged(merger, program, folder, channels, facts, counts):
    """The channels merged into one: all their pages, and the guest's memory."""
    merged, seed = folder / "merged", random.getrandbits(32)
    with open(merged, "wb") as output:
        subprocess.run([merger, str(seed), str(folder / "main"), *map(str, channels)], check=True,
                       stdout=output)
    seen = check(program, "ram", [merged], folder / "ram")
    expect("reason", seen[0]["reason"], "")
    expect("phase", seen[0]["phase"], DEVICES)
    expect(f"merged with seed {seed}", (seen[0]["pages"], seen[0]["zeros"]), counts)
    expect("pages that came", seen[1]["compared"], facts["memory"] * 256)


def examine(program, merger, mode, folder, facts):
    """One mode's streams against QEMU's own account."""
    multifd = mode.startswith("multifd")
    whole_image = mode in ("pre-copy", "post-copy")
    main = check(program, "ram", [folder / "main"], folder / "ram" if whole_image else None)
    expect("reason", main[0]["reason"], "")
    expect("phase", main[0]["phase"], DONE if mode == "post-copy" else DEVICES)
    pages, zeros, packets = main[0]["pages"], main[0]["zeros"], 0
    if whole_image:
        expect("pages that came", main[1]["compared"], facts["memory"] * 256)
    if multifd:
        channels = sorted(folder.glob("channel-*"))
        expect("channels", len(channels), capture.CHANNELS)
        seen = check(program, "multifd", channels, folder / "ram" if mode == "multifd" else None)
        for number, channel in enumerate(seen[:capture.CHANNELS]):
            expect("reason", channel["reason"], "")
            expect("number", channel["channel"], number)
            zeros += channel["zeros"]
            pages += channel["pages"]
            packets += channel["packets"]
        if mode == "multifd":
            examine_merged(merger, program, folder, channels, facts, (pages, zeros))
    if mode != "compress":  # there QEMU 7.2 counts some that it did not write
        expect("zero pages", zeros, facts["ram"]["duplicate"])
    if mode not in ("multifd-zlib", "multifd-zstd"):
        # QEMU 7.2 writes the last page of a full packet again as the next one's first.
        extra = pages - facts["ram"]["normal"]
        expect(f"{extra} pages more than counted", 0 <= extra <= packets, True)


def main():
    program, merger, emulator = sys.argv[1:]
    if not shutil.which(emulator):
        print(f"no {emulator}")
        return 77
    bare = [(mode, ["--guest", "bare"]) for mode in capture.CAPABILITIES]
    linux = ["--guest", "linux", "--memory", "192"]
    for mode, guest in [*bare, ("pre-copy", linux), ("multifd", linux)]:
        with tempfile.TemporaryDirectory(prefix="mudanza-streams-") as folder:
            options = capture.parser().parse_args(["--emulator", emulator, *guest, mode, folder])
            try:
                facts = capture.capture(options, Path(folder))
            except capture.Unavailable as reason:
                print(f"{mode}, {guest[1]}: {reason}")
                continue
            print(f"{mode}, {guest[1]}: QEMU {facts['version']}", flush=True)
            examine(program, merger, mode, Path(folder), facts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
