# SPDX-License-Identifier: Apache-2.0
"""Who ran when, asked of every QEMU itself.

Each QEMU of a lab gets a second monitor, which only the oracle uses: the emulator that the agents
start is a script that adds it. From connecting to the process's end the oracle takes down each STOP
and RESUME with the time that QEMU gives it. All QEMUs share one machine's clock, so the record has
no gaps in which two could have run unseen, as samples would.
"""

import contextlib
import json
import socket
import threading
import time
from pathlib import Path

import heartbeat  # noqa: F401  (tests/lib has put the guests' folder on the path)

from lib import paths

SCRIPT = """#!/bin/sh
exec {emulator} "$@" -qmp unix:{folder}/$$,server=on,wait=off
"""
NOBODY = "00000000-0000-0000-0000-000000000000"
LOOK_S = 0.01  # how often the folders are looked at for new monitors


class Session:
    """One QEMU, followed from its start to its end."""

    def __init__(self, host, path):
        self.host = host
        self.pid = int(path.name)
        self.uuid = None
        self.alive = True
        self.runs = []  # [begin, end] in seconds; the last end is None while it runs
        self._answers = {}
        self._changed = threading.Condition()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(str(path))
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def __str__(self):
        return f"QEMU {self.pid} on {self.host}"

    def _follow(self):
        try:
            with self._socket.makefile("r", encoding="utf-8") as lines:
                self._greet(lines)
                for line in lines:
                    self._take(json.loads(line))
        except (OSError, ValueError):
            pass  # it is gone
        with self._changed:
            self.alive = False
            self._note(False, time.time())
            self._changed.notify_all()

    def _greet(self, lines):
        json.loads(lines.readline())
        self._send("qmp_capabilities")
        self._send("query-uuid")
        self._send("query-status")

    def _send(self, command, number=None):
        self._socket.sendall(json.dumps({"execute": command, "id": number or command}).encode())

    def _take(self, message):
        with self._changed:
            if "event" in message:
                stamp = message["timestamp"]
                if message["event"] in ("STOP", "RESUME"):
                    self._note(message["event"] == "RESUME",
                               stamp["seconds"] + stamp["microseconds"] / 1e6)
            elif "return" in message:
                answer = message["return"]
                if message["id"] == "query-uuid":
                    self.uuid = answer["UUID"]
                elif message["id"] == "query-status":
                    self._note(answer["running"], time.time())
                self._answers[message["id"]] = answer
            self._changed.notify_all()

    def _note(self, running, when):
        runs_already = bool(self.runs) and self.runs[-1][1] is None
        if running and not runs_already:
            self.runs.append([when, None])
        elif not running and runs_already:
            self.runs[-1][1] = when

    def running(self, seconds=30):
        """Asks it: do its vCPUs run? False when it is gone; TimeoutError when it says nothing."""
        number = f"ask-{time.monotonic()}"
        with self._changed:
            if not self.alive:
                return False
            try:
                self._send("query-status", number)
            except OSError:
                return False
            self._changed.wait_for(lambda: number in self._answers or not self.alive, seconds)
            if number in self._answers:
                return self._answers[number]["running"]
            if not self.alive:
                return False
        raise TimeoutError(f"{self} does not answer; its threads wait in "
                           f"{_waits(self.pid)}")

    def close(self):
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._thread.join()
        self._socket.close()


class Oracle:
    """Follows all QEMUs that its emulators have become; close it before the lab."""

    def __init__(self, lab):
        self.folder = lab.directory / "oracle"
        self.folder.mkdir()
        self.folder.chmod(0o755)
        self.sessions = []
        self._seen = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def emulator(self, host, emulator):
        """A program to be given to the agent of a host in place of the emulator."""
        folder = self.folder / host
        folder.mkdir()
        folder.chmod(0o777)  # QEMU's own user makes the sockets
        script = self.folder / f"qemu-{host}"
        script.write_text(SCRIPT.format(emulator=paths.for_everybody(emulator), folder=folder),
                          encoding="ascii")
        script.chmod(0o755)
        return script

    def _watch(self):
        while not self._stop.wait(LOOK_S):
            for path in self.folder.glob("*/*"):
                with contextlib.suppress(FileNotFoundError):
                    # A process's number comes again on a busy machine; a socket's file is a new one.
                    status = path.stat()
                    key = (path, status.st_ino, status.st_ctime_ns)
                    if key not in self._seen:
                        self._try(path, key)

    def _try(self, path, key):
        try:
            self.sessions.append(Session(path.parent.name, path))
        except (ConnectionRefusedError, FileNotFoundError):
            if path.exists() and _alive(int(path.name)):
                return  # bound, but not listening yet: look again
        self._seen.add(key)

    def _guests(self):
        return [session for session in list(self.sessions) if session.uuid not in (None, NOBODY)]

    def running_on(self):
        """The hosts whose QEMU says, now, that its vCPUs run."""
        return [session.host for session in self._guests() if session.running()]

    def ever_ran_on(self, host):
        return any(session.runs for session in self._guests() if session.host == host)

    def violations(self):
        """Two that ran at the same time, and copies that ran again after a newer one had run."""
        runs = sorted(((begin, end, session) for session in self._guests()
                       for begin, end in session.runs), key=lambda run: run[0])
        found = []
        for uuid in {session.uuid for _, _, session in runs}:
            passed = []
            latest = None
            for begin, end, session in (run for run in runs if run[2].uuid == uuid):
                if latest and latest[1] is not session:
                    if latest[0] is None or latest[0] > begin:
                        found.append(f"{session} ran while {latest[1]} did")
                    passed.append(latest[1])
                if session in passed:
                    found.append(f"{session}, an old copy, ran again")
                latest = (end, session)
        return found

    def close(self):
        self._stop.set()
        self._thread.join()
        for session in self.sessions:
            session.close()


def _waits(pid):
    """What the threads of a process wait for in the kernel, by name."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        name, where, call = ((task / file).read_text().strip() for file in
                             ("comm", "wchan", "syscall"))
        found.append(f"{name}: {where} ({call})")
    return found


def _alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
