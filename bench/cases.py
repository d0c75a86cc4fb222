# SPDX-License-Identifier: Apache-2.0
"""What is measured: guests, links, and who moves them how."""

from typing import NamedTuple

from lib import guest, paths

MIB, GIB = 1 << 20, 1 << 30
DEBIAN = paths.SETUP / "debian" / "disk.img"


class Guest(NamedTuple):
    """A kind of guest. `work` is its counter that shows what it gets done: n heartbeats, w pages
    written, c rounds over the memory that it checks."""

    title: str
    memory: int
    words: str
    work: str = "n"
    disk: object = None
    boot_s: int = 8  # until it is ready, on the machine of the README


class Case(NamedTuple):
    """One comparison.

    peers: a name and more words for `virsh migrate --live`. shape: "there" is a move to a host that
    has nothing of the guest; with "return" the guest was there a moment ago; with "sibling" another
    guest of the same image runs there (and one at the source). cut: the link is disturbed in the
    middle ("cut", "reset", "address"; bench/cuts.py). goal: what Mudanza aims at.
    """

    title: str
    guest: str
    limit: str | None
    peers: dict
    shape: str = "there"
    cut: str = ""
    post_copy: bool = False
    goal: str = ""
    round_s: int = 20  # of all contenders, on the machine of the README


GUESTS = {
    "idle": Guest("idle Linux, 1 GiB, 155 MiB in use", GIB, "mem=1 fill=100 rate=0 check=0"),
    "busy": Guest("Linux, 1 GiB, one processor reading memory without pause", GIB,
                  "mem=1 fill=100 rate=0 check=max", work="c"),
    "debian": Guest("Debian with redis, nginx, PostgreSQL and a warm page cache, 1 GiB", GIB,
                    "root=vda mem=64K fill=64K rate=0 check=0", disk=DEBIAN, boot_s=30),
    "random": Guest("4 GiB, 3 GiB of it random", 4 * GIB, "mem=1 fill=3072 rate=0 check=0",
                    boot_s=60),
    "full": Guest("1 GiB, 700 MiB of it random", GIB, "mem=1 fill=700 rate=0 check=0", boot_s=15),
    "writer": Guest("1 GiB, writes 300 MiB/s over 400 MiB, small changes", GIB,
                    "mem=400 rate=300M check=0 pattern=counter", work="w"),
    "pages": Guest("1 GiB, writes 40 MiB/s of whole random pages over 200 MiB", GIB,
                   "mem=200 rate=40M check=0 pattern=random", work="w"),
}

PARALLEL = ["--parallel", "--parallel-connections", "2"]
ZSTD = [*PARALLEL, "--comp-methods", "zstd"]
XBZRLE = ["--compressed", "--comp-methods", "xbzrle", "--comp-xbzrle-cache", str(512 * MIB)]
POST_COPY = ["--postcopy", "--postcopy-after-precopy"]

CASES = {
    "idle": Case("Idle guest, no link limit", "idle", None, {"virsh": []},
                 goal="whole command at most 0.3 x, downtime at most 0.4 x", round_s=9),
    "busy": Case("Busy guest, no link limit", "busy", None, {"virsh": []},
                 goal="the guest's own work at least 0.95 x", round_s=12),
    "idle-1gbit": Case("Idle guest, 1 Gbit/s", "idle", "1gbit",
                       {"virsh": [], "virsh-parallel-zstd": ZSTD}, round_s=16),
    "debian-1gbit": Case("Debian guest, 1 Gbit/s", "debian", "1gbit",
                         {"virsh": [], "virsh-parallel-zstd": ZSTD},
                         goal="whole command at most 0.5 x virsh at its best and 0.25 x its "
                              "default, at most 190 MiB, downtime at most 40 ms", round_s=30),
    "debian-return": Case("The same guest comes back within a minute, 1 Gbit/s", "debian", "1gbit",
                          {"virsh-parallel-zstd": ZSTD}, shape="return",
                          goal="at most 20 MiB, at most 0.25 x the best time of virsh", round_s=30),
    "sibling-1gbit": Case("A guest follows its sibling, 1 Gbit/s", "debian", "1gbit",
                          {"virsh-parallel-zstd": ZSTD}, shape="sibling",
                          goal="at most 20 MiB, at most 0.25 x the best time of virsh", round_s=36),
    "random-4g": Case("3 GiB of random data, no link limit", "random", None,
                      {"virsh": [], "virsh-parallel": PARALLEL},
                      goal="not slower than virsh at its best, downtime at most 0.1 x of it",
                      round_s=40),
    "writer-1gbit": Case("A guest writes 300 MiB/s, 1 Gbit/s", "writer", "1gbit",
                         {"virsh": [], "virsh-xbzrle": XBZRLE, "virsh-postcopy": POST_COPY},
                         goal="ends by pre-copy alone, at most 5 s, downtime at most 60 ms",
                         round_s=60),
    "pages-1gbit": Case("A guest writes 40 MiB/s of random pages, 1 Gbit/s", "pages", "1gbit",
                        {"virsh": [], "virsh-postcopy": POST_COPY}, round_s=40),
}

CUT_GOAL = "completes; data again within 2 s of the link's return; nothing is sent twice"
for _cut, _title, _seconds in (("cut", "The link is cut for 40 s", 130),
                               ("reset", "All connections are reset", 60),
                               ("address", "The peer's address changes", 100)):
    CASES[f"{_cut}-pre-copy"] = Case(f"{_title} in pre-copy, 1 Gbit/s", "full", "1gbit",
                                     {"virsh": []}, cut=_cut, goal=CUT_GOAL, round_s=_seconds)
    CASES[f"{_cut}-post-copy"] = Case(f"{_title} in post-copy, 1 Gbit/s", "pages", "1gbit",
                                      {"virsh-postcopy": POST_COPY}, cut=_cut, post_copy=True,
                                      goal=CUT_GOAL, round_s=_seconds)


def machine_xml(kind, name, listener, heartbeat_ms=2):
    """The domain of a guest whose heartbeat goes to that address."""
    chosen = GUESTS[kind]
    devices = f"    <emulator>{paths.for_everybody(paths.QEMU_10)}</emulator>\n"
    if chosen.disk:
        devices += guest.disk(chosen.disk, extra="<readonly/>")
    devices += guest.udp_serial(listener)
    return guest.linux(name, cmdline=f"heartbeat={heartbeat_ms} {chosen.words}",
                       memory=chosen.memory, devices=devices, group="bench")
