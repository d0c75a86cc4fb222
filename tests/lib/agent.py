# SPDX-License-Identifier: Apache-2.0
"""An agent under test, and the command line that talks to it."""

import json as json_module
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import time

from . import paths, sandbox
from .varlink import Connection

PORT = 16517
SANITIZER_REPORT = re.compile(
    rb"(ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|runtime error:|SUMMARY: \w+Sanitizer)")


class AgentError(Exception):
    """The agent did not do what its life cycle promises."""


class CliError(Exception):
    """The command line ended with another exit status than 0."""

    def __init__(self, command, status, stdout, stderr):
        self.status = status
        self.stdout = stdout
        self.stderr = stderr
        super().__init__(f"{' '.join(command)}: exit status {status}\n{stdout}{stderr}")


class Agent:
    """mudanzad on a host, with directories of its own below the lab's.

    emulator: path of a QEMU binary (paths.QEMU_7, paths.QEMU_10); qemu_user: whom QEMU runs as
    (None: the agent's default); listen: whether it takes calls from other agents; address: where;
    within: words before the agent's own, which set up what only this host has and end in "exec".
    """

    def __init__(self, host, name=None, *, emulator=paths.QEMU_7, qemu_user=None, listen=True,
                 address=None, port=PORT, options=(), environment=None, within=()):
        self.host = host
        self.name = name or host.name
        self.port = port
        self.directory = host.directory / f"agent-{self.name}"
        self.state_directory = self.directory / "state"
        self.run_directory = self.directory / "run"
        self.socket = self.run_directory / "mudanza.sock"
        self.log = self.directory / "log"
        self.emulator = paths.for_everybody(emulator)
        self.environment = dict(environment or {})
        self.process = None
        self.directory.mkdir()
        self.directory.chmod(0o755)
        self.words = [*within, paths.MUDANZAD, "--name", self.name, "--state-dir", self.state_directory,
                      "--run-dir", self.run_directory, "--socket", self.socket,
                      "--emulator", self.emulator]
        if listen:
            self.words += ["--listen", f"{address or host.address}:{port}"]
        if qemu_user:
            self.words += ["--qemu-user", qemu_user]
        self.words += options
        self._fingerprint = None

    # --- life and death ------------------------------------------------------------------------

    def start(self, seconds=30):
        """Starts it and waits until it says READY=1; the second time, it is a restart."""
        path = self.directory / "notify"
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(str(path))
            environment = {**os.environ, "NOTIFY_SOCKET": str(path), **self.environment}
            with open(self.log, "ab") as log:
                self.process = self.host.popen(*self.words, env=environment, stdout=log,
                                               stderr=subprocess.STDOUT)
            self._await_ready(notify, time.monotonic() + seconds)
        return self

    def _await_ready(self, notify, deadline):
        pidfd = os.pidfd_open(self.process.pid)
        try:
            poll = select.poll()
            poll.register(notify, select.POLLIN)
            poll.register(pidfd, select.POLLIN)
            while (rest := deadline - time.monotonic()) > 0:
                events = dict(poll.poll(rest * 1000))
                if notify.fileno() in events and b"READY=1" in notify.recv(4096).split(b"\n"):
                    return
                if pidfd in events:
                    raise AgentError(f"agent {self.name} ended with status {self.process.wait()} "
                                     f"before it was ready:\n{self.log_tail()}")
            raise AgentError(f"agent {self.name} is not ready in time:\n{self.log_tail()}")
        finally:
            os.close(pidfd)

    def signal(self, number):
        """Sends a signal to the agent alone, never to its QEMUs."""
        self.process.send_signal(number)

    def kill(self):
        """Kills it as a crash would; its QEMUs go on."""
        self.process.kill()
        self.process.wait()

    def stop(self, seconds=30):
        """Ends it as systemd would; its QEMUs go on. It must say that all was well."""
        self.process.terminate()
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AgentError(f"agent {self.name} does not end:\n{self.log_tail()}") from None
        if status != 0:
            raise AgentError(f"agent {self.name} ended with {status}:\n{self.log_tail()}")

    def restart(self):
        """Ends it politely and starts it again over the same state."""
        self.stop()
        self.start()

    @property
    def running(self):
        return self.process is not None and self.process.poll() is None

    def finish(self):
        """The lab's last word to it; returns what is wrong as a list of texts."""
        complaints = []
        if self.running:
            self.process.send_signal(signal.SIGCONT)
            try:
                self.stop()
            except AgentError as error:
                complaints.append(str(error))
        elif self.process is not None and self.process.returncode not in (0, -signal.SIGKILL):
            complaints.append(f"agent {self.name} had ended with {self.process.returncode}:\n"
                              f"{self.log_tail()}")
        if self.log.exists() and SANITIZER_REPORT.search(self.log.read_bytes()):
            complaints.append(f"agent {self.name}: sanitizer report:\n{self.log_tail(20000)}")
        logs = os.environ.get("MUDANZA_TEST_LOGS")
        if logs and self.log.exists():
            shutil.copy(self.log, os.path.join(logs, f"{self.host.name}-{self.name}.log"))
        return complaints

    def log_tail(self, size=4000):
        """The last `size` bytes of what the agent said."""
        try:
            return self.log.read_bytes()[-size:].decode(errors="replace")
        except FileNotFoundError:
            return ""

    # --- talking to it -------------------------------------------------------------------------

    def connect(self):
        """A Varlink connection to its socket."""
        return Connection(self.socket)

    def call(self, method, **parameters):
        """One Varlink call on a connection of its own."""
        with self.connect() as connection:
            return connection.call(method, **parameters)

    def command(self, *words):
        """The command line `mudanza WORD...` of this host as words, to be started by a test."""
        return self.host.command("env", f"MUDANZA_CONNECT={self.socket}", paths.MUDANZA, *words)

    def popen(self, *words, **options):
        """Starts `mudanza WORD...` on this host; the lab ends it at the latest."""
        options.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.Popen(self.command(*words), **options)

    def run(self, *words, stdin=None, timeout=300):
        """Runs `mudanza WORD...`; returns the finished process with its texts, whatever it says."""
        source = {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
        result = subprocess.run(self.command(*words), capture_output=True, text=True,
                                timeout=timeout, check=False, **source)
        if SANITIZER_REPORT.search(result.stderr.encode()):
            raise AgentError(f"mudanza {words}: sanitizer report:\n{result.stderr}")
        return result

    def cli(self, *words, json=True, stdin=None, timeout=300):
        """Runs `mudanza WORD...`, which must succeed; returns its JSON, or with json=False its
        text."""
        words = [str(word) for word in words]
        result = self.run(*words, *(["--json"] if json else []), stdin=stdin, timeout=timeout)
        if result.returncode != 0:
            raise CliError(words, result.returncode, result.stdout, result.stderr)
        return json_module.loads(result.stdout) if json else result.stdout

    def cli_fails(self, *words, stdin=None, timeout=300):
        """Runs `mudanza WORD...`, which must fail; returns the CliError with its words."""
        words = [str(word) for word in words]
        result = self.run(*words, stdin=stdin, timeout=timeout)
        if result.returncode == 0:
            raise AssertionError(f"{words} succeeded:\n{result.stdout}{result.stderr}")
        return CliError(words, result.returncode, result.stdout, result.stderr)

    # --- what most tests do --------------------------------------------------------------------

    @property
    def fingerprint(self):
        if self._fingerprint is None:
            self._fingerprint = self.call("GetAgent")["fingerprint"]
        return self._fingerprint

    def define(self, xml):
        """Defines a VM from XML text; returns its name."""
        return self.call("Define", xml=xml)["vm"]["name"]

    def vm(self, name):
        """What the agent says about a VM; None when it does not know it."""
        for vm in self.call("List", all=True)["vms"]:
            if vm["name"] == name:
                return vm
        return None

    def migrate(self, vm, destination, *options, timeout=300):
        """`mudanza migrate`; returns the report, however it ended.

        The exit status must agree with the report: 0 only for a completed move.
        """
        result = self.run("migrate", vm, destination, *map(str, options), "--json",
                          timeout=timeout)
        try:
            report = json_module.loads(result.stdout)
        except ValueError:
            raise CliError(["migrate", vm, destination], result.returncode, result.stdout,
                           result.stderr) from None
        if (result.returncode == 0) != (report["outcome"] == "completed"):
            raise AssertionError(f"exit status {result.returncode} with report {report}")
        return report

    def qemus(self):
        """The pids of the QEMU processes on this agent's host (of all agents there)."""
        return self.host.qemus()

    def end_qemus(self):
        """Kills this host's QEMUs: the crash of all guests."""
        for pid in self.qemus():
            pidfd = os.pidfd_open(pid)
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            sandbox.wait_gone([pidfd], 10)
            os.close(pidfd)
