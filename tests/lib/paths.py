# SPDX-License-Identifier: Apache-2.0
"""Where programs, emulators and guests are, and copies of them that every user can read."""

import atexit
import fcntl
import os
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent.parent
#: Where the programs under test are; other builds (sanitizers) are below the first one.
BUILD = Path(os.environ.get("MUDANZA_BUILD", SOURCE / "build")).resolve()
#: What scripts/setup unpacked: always in the first build folder.
SETUP = SOURCE / "build"

MUDANZA = BUILD / "mudanza"
MUDANZAD = BUILD / "mudanzad"

QEMU_7 = Path("/usr/bin/qemu-system-x86_64")
QEMU_10 = SETUP / "qemu-10" / "qemu-system-x86_64"


def readable_by_all(path):
    """True when an unprivileged user can come to `path`: each folder above it lets others pass."""
    path = Path(path).resolve()
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in path.parents) and \
        bool(path.stat().st_mode & stat.S_IROTH)


def for_everybody(path):
    """`path`, or the same in a copy of its folder outside of a closed home directory.

    QEMU runs as an unprivileged user: in a clone below /root it could not even be started. The
    copy is shared by the tests of one run; the runner removes it, without a runner this process.
    """
    path = Path(path)
    if readable_by_all(path):
        return path
    shared = os.environ.get("MUDANZA_TEST_SHARED")
    if not shared:
        shared = os.environ["MUDANZA_TEST_SHARED"] = tempfile.mkdtemp(prefix="mudanza-shared-")
        atexit.register(shutil.rmtree, shared, ignore_errors=True)
    os.chmod(shared, 0o755)
    copy = Path(shared) / str(path.parent.resolve()).strip("/").replace("/", "-")
    with open(f"{copy}.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not copy.exists():
            shutil.copytree(path.parent, f"{copy}.new", symlinks=True)
            subprocess.run(["chmod", "-R", "go+rX", f"{copy}.new"], check=True)
            os.rename(f"{copy}.new", copy)
    return copy / path.name
