# SPDX-License-Identifier: Apache-2.0
"""What a lab occupies outside of its own process, and how all of it is given back.

A lab owns the network namespaces whose names begin with its prefix, every process in them, and
one directory. Nothing else: so it can be cleaned up from its prefix and directory alone, by the
lab itself or, should the lab be killed, by its reaper (this file run as a program). Processes are
found through their namespace, which they cannot leave: a QEMU that outlives its agent by design is
found as well.
"""

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

NAMESPACES = Path("/run/netns")


def ip(*words, text=""):
    """Runs ip(8) with `text` as its input; an error carries its message."""
    result = subprocess.run(["ip", *map(str, words)], input=text, capture_output=True, text=True,
                            check=False)
    if result.returncode != 0:
        raise OSError(f"ip {' '.join(map(str, words))}: {result.stderr.strip()}")
    return result.stdout


def namespaces(prefix):
    """The names of the network namespaces that begin with `prefix`."""
    if not NAMESPACES.is_dir():
        return []
    return sorted(path.name for path in NAMESPACES.iterdir() if path.name.startswith(prefix))


def pids(namespace):
    """The processes in a network namespace."""
    try:
        return [int(word) for word in ip("netns", "pids", namespace).split()]
    except OSError:
        return []


def open_files(pid):
    """What each descriptor of a process stands for, as the kernel names it; without those that are
    closed while we look."""
    folder = f"/proc/{pid}/fd"
    found = []
    for name in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(f"{folder}/{name}"))
    return found


def wait_gone(pidfds, seconds):
    """Waits until all processes have ended; returns the pidfds of those that have not."""
    deadline = time.monotonic() + seconds
    left = set(pidfds)
    poll = select.poll()
    for pidfd in left:
        poll.register(pidfd, select.POLLIN)
    while left and (rest := deadline - time.monotonic()) > 0:
        for pidfd, _ in poll.poll(rest * 1000):
            poll.unregister(pidfd)
            left.discard(pidfd)
    return left


def kill_all(namespace, seconds=20):
    """Kills what is in a namespace, and what that starts meanwhile; returns when it is empty."""
    deadline = time.monotonic() + seconds
    while (found := pids(namespace)) and time.monotonic() < deadline:
        pidfds = []
        for pid in found:
            try:
                pidfd = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            pidfds.append(pidfd)
            # The pid may have passed to another process before pidfd_open: look again.
            if pid in pids(namespace):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        wait_gone(pidfds, 5)
        for pidfd in pidfds:
            os.close(pidfd)


def cleanup(prefix, directory):
    """Ends the lab of that prefix and directory; what is gone already is fine."""
    for namespace in namespaces(prefix):
        kill_all(namespace)
        try:
            ip("netns", "del", namespace)
        except OSError as error:
            print(f"cleanup: {error}", file=sys.stderr)
    shutil.rmtree(directory, ignore_errors=True)


def reap(prefix, directory):
    """Waits on stdin: "done" means that the lab cleaned up, its end alone that the lab is dead."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if sys.stdin.buffer.read() != b"done":
        cleanup(prefix, directory)


if __name__ == "__main__":
    reap(sys.argv[1], sys.argv[2])
