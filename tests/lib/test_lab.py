# SPDX-License-Identifier: Apache-2.0
"""The lab itself: what it joins, what it cuts, and that nothing of it stays behind."""

import concurrent.futures
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import unittest

from . import paths, sandbox
from .agent import Agent, AgentError
from .lab import BURST, Lab

# A process of the kind QEMU is: not ours to wait for, deaf to polite signals. Prints its pid.
DAEMON = """
import os, signal, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print(os.getpid(), flush=True)
        os.close(1)
        signal.pause()
    os._exit(0)
os.wait()
"""


def start_daemon(host):
    """Starts a daemon on a host; returns a pidfd of it."""
    output = host.run(sys.executable, "-c", DAEMON, stdout=subprocess.PIPE, text=True).stdout
    return os.pidfd_open(int(output))


def alive(pidfd):
    """False once the process has ended, waited for or not."""
    return not select.select([pidfd], [], [], 0)[0]


@unittest.skipUnless(os.geteuid() == 0, "network namespaces need root")
class Network(unittest.TestCase):
    def setUp(self):
        self.lab = Lab("AB")
        self.addCleanup(self.lab.close)

    def sender(self):
        sender = self.lab["A"].socket(kind=socket.SOCK_DGRAM)
        self.addCleanup(sender.close)
        return sender

    def receiver(self):
        receiver = self.lab["B"].socket(kind=socket.SOCK_DGRAM)
        receiver.bind((self.lab["B"].address, 0))
        receiver.settimeout(10)
        self.addCleanup(receiver.close)
        return receiver

    def test_cut_and_heal(self):
        sender, receiver = self.sender(), self.receiver()
        sender.sendto(b"before", receiver.getsockname())
        self.assertEqual(receiver.recv(100), b"before")
        self.lab["B"].cut()
        sender.sendto(b"lost", receiver.getsockname())
        self.lab["B"].heal()
        sender.sendto(b"after", receiver.getsockname())
        self.assertEqual(receiver.recv(100), b"after")

    def test_listener(self):
        listener, sender = self.lab["B"].listener(), self.sender()
        for number in range(100):  # the network is ready: not one of the first packets is lost
            sender.sendto(bytes([0x80 | number]), listener.address)
        listener.heart.wait(lambda heart: len(heart.beats) == 100, 30)
        self.assertEqual(listener.heart.problems(), [])
        self.assertEqual(listener.heart.beats[0].source, self.lab["A"].address)

    def test_probes(self):
        """A QEMU that is only asked what it can do is told from one with a guest."""
        words = (paths.QEMU_7, "-S", "-nodefaults", "-display", "none", "-machine", "none", "-chardev",
                 "null,id=monitor", "-mon", "chardev=monitor,mode=control")
        host = self.lab["A"]
        asked = host.popen(*words)
        guest = host.popen(*words, "-name", "guest=vm")
        self.addCleanup(asked.wait)
        self.addCleanup(guest.wait)
        self.addCleanup(self.lab.close)
        deadline = time.monotonic() + 60
        while len(host.qemus()) < 2 or not host.probes():  # exec may not have come yet
            self.assertEqual((asked.poll(), guest.poll()), (None, None))
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)
        self.assertEqual(host.probes(), [asked.pid])

    def test_errors_inside_come_out(self):
        with self.assertRaises(ZeroDivisionError):
            self.lab["A"].inside(lambda: 1 // 0)

    def transfer(self, size):
        """Sends `size` bytes from A to B by TCP; returns the bits per second, from the first one
        sent on, of what a limited link does not pass at once. Whoever has to wait in between makes
        it less, never more."""
        with self.lab["B"].socket() as listening, self.lab["A"].socket() as sender:
            listening.bind((self.lab["B"].address, 0))
            listening.listen()
            sender.connect(listening.getsockname())
            receiver, _ = listening.accept()
            with receiver:
                thread = threading.Thread(target=lambda: (sender.sendall(bytes(size)),
                                                          sender.shutdown(socket.SHUT_WR)))
                since = time.monotonic()
                thread.start()
                arrived = 0
                while got := len(receiver.recv(1 << 16)):
                    arrived += got
                took = time.monotonic() - since
                thread.join()
                self.assertEqual(arrived, size)
                return (arrived - BURST) * 8 / took

    def test_limit(self):
        self.lab["A"].limit("40mbit")
        self.assertLess(self.transfer(4 << 20), 48e6)  # a limit may be missed, never passed
        self.lab["A"].limit("20mbit")
        self.assertLess(self.transfer(3 << 20), 24e6)
        self.assertGreater(self.lab["A"].held_up(), 0)
        self.lab["A"].limit(None)
        self.transfer(1 << 16)  # what was sent before may owe something
        held_up = self.lab["A"].held_up()
        self.transfer(32 << 20)
        self.assertEqual(self.lab["A"].held_up(), held_up)

    def test_limit_spares_datagrams(self):
        numbers = 2000
        with self.lab["B"].socket(kind=socket.SOCK_DGRAM) as hears, \
                self.lab["A"].socket(kind=socket.SOCK_DGRAM) as says:
            hears.bind((self.lab["B"].address, 0))
            hears.settimeout(30)
            says.connect(hears.getsockname())

            def say():
                for number in range(numbers):
                    says.send(number.to_bytes(2, "big"))
                    time.sleep(0.0005)

            with concurrent.futures.ThreadPoolExecutor() as threads:
                heard = threads.submit(
                    lambda: [int.from_bytes(hears.recv(2), "big") for _ in range(numbers)])
                said = threads.submit(say)
                while not said.done():
                    for rate in "10mbit", "1gbit", None:
                        self.lab["A"].limit(rate)
                got = heard.result()
        self.assertEqual(got, list(range(numbers)))
        self.assertEqual(self.lab["B"].datagrams()["InDatagrams"], numbers)

    def test_two_labs_do_not_meet(self):
        with Lab("A") as other:
            mine, its = start_daemon(self.lab["A"]), start_daemon(other["A"])
            other.close()
            self.assertFalse(alive(its))
            self.assertTrue(alive(mine))
        os.close(mine)
        os.close(its)


@unittest.skipUnless(os.geteuid() == 0, "network namespaces need root")
class Cleanup(unittest.TestCase):
    def test_close(self):
        lab = Lab("A")
        daemon = start_daemon(lab["A"])
        self.assertTrue(alive(daemon))
        lab.close()
        self.assert_gone(lab.prefix, lab.directory, daemon)

    def assert_gone(self, prefix, directory, daemon):
        self.assertEqual(sandbox.namespaces(prefix), [])
        self.assertFalse(os.path.exists(directory))
        self.assertFalse(alive(daemon))
        os.close(daemon)

    def lab_elsewhere(self, then):
        """A lab in a process of its own, which then runs `then`; returns it and what it holds."""
        program = textwrap.dedent(f"""
            import os, signal, sys
            sys.path.insert(0, {str(paths.SOURCE / "tests")!r})
            from lib.lab import Lab
            from lib.test_lab import start_daemon
            lab = Lab("A")
            daemon = start_daemon(lab["A"])
            pid = [w for w in open(f"/proc/self/fdinfo/{{daemon}}") if w.startswith("Pid:")]
            print(lab.prefix, lab.directory, pid[0].split()[1], lab._reaper.pid, flush=True)
            {then}
        """)
        process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.communicate)
        prefix, directory, pid, reaper = process.stdout.readline().split()
        self.assertEqual(len(sandbox.namespaces(prefix)), 2)
        return process, (prefix, directory, os.pidfd_open(int(pid))), os.pidfd_open(int(reaper))

    def ends_clean(self, then, action=lambda process: None):
        process, held, reaper = self.lab_elsewhere(then)
        action(process)
        process.wait(60)
        self.assertEqual(sandbox.wait_gone([reaper], 60), set())
        os.close(reaper)
        self.assert_gone(*held)
        return process.returncode

    def test_exception(self):
        self.assertEqual(self.ends_clean("raise ValueError"), 1)

    def test_exit(self):
        self.assertEqual(self.ends_clean("sys.exit(3)"), 3)

    def test_sigterm(self):
        status = self.ends_clean("signal.pause()", lambda p: p.send_signal(signal.SIGTERM))
        self.assertEqual(status, 128 + signal.SIGTERM)

    def test_sigint(self):
        status = self.ends_clean("signal.pause()", lambda p: p.send_signal(signal.SIGINT))
        self.assertEqual(status, -signal.SIGINT)

    def test_sigkill(self):
        status = self.ends_clean("signal.pause()", lambda p: p.send_signal(signal.SIGKILL))
        self.assertEqual(status, -signal.SIGKILL)


# Stands in for mudanzad: says what the test wants and follows.
STAND_IN = """#!{python}
import os, signal, socket
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
print("I am", *os.sys.argv[1:3], flush=True)
if {ready}:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.sendto(b"STATUS=starting", os.environ["NOTIFY_SOCKET"])
        notify.sendto(b"READY=1\\nSTATUS=here", os.environ["NOTIFY_SOCKET"])
    signal.sigwait([signal.SIGTERM])
raise SystemExit({status})
"""


@unittest.skipUnless(os.geteuid() == 0, "network namespaces need root")
class AgentLife(unittest.TestCase):
    def setUp(self):
        self.lab = Lab("A")
        self.addCleanup(self.lab.close)

    def agent(self, ready, status=0):
        program = self.lab.directory / "mudanzad"
        program.write_text(STAND_IN.format(python=sys.executable, ready=ready, status=status))
        program.chmod(0o755)
        agent = Agent(self.lab["A"])
        agent.words[0] = program
        self.lab.agents.append(agent)
        return agent

    def test_start_and_stop(self):
        agent = self.agent(ready=True)
        agent.start()
        self.assertTrue(agent.running)
        self.assertEqual(self.lab["A"].pids(), [agent.process.pid])
        agent.restart()
        self.assertEqual(agent.log_tail().count("I am --name A"), 2)
        agent.stop()
        self.assertEqual(self.lab.close(), [])

    def test_ends_before_ready(self):
        with self.assertRaisesRegex(AgentError, r"status 4 before(.|\n)*I am --name A"):
            self.agent(ready=False, status=4).start()
        self.assertRegex("\n".join(self.lab.close()), "had ended with 4")

    def test_bad_end(self):
        self.agent(ready=True, status=5).start()
        self.assertRegex("\n".join(self.lab.close()), "ended with 5")

    def test_kill_is_no_complaint(self):
        agent = self.agent(ready=True)
        agent.start()
        agent.kill()
        self.assertFalse(agent.running)
        self.assertEqual(self.lab.close(), [])

    def test_sanitizer_report(self):
        agent = self.agent(ready=True)
        agent.start()
        with open(agent.log, "a", encoding="ascii") as log:
            log.write("==1==ERROR: AddressSanitizer: heap-use-after-free\n")
        self.assertRegex("\n".join(self.lab.close()), "sanitizer report")


class Readable(unittest.TestCase):
    def test_closed_folder_is_copied(self):
        with tempfile.TemporaryDirectory() as closed:  # mode 0700
            program = os.path.join(closed, "program")
            with open(program, "w", encoding="ascii") as file:
                file.write("x")
            self.assertFalse(paths.readable_by_all(program))
            copy = paths.for_everybody(program)
            self.assertTrue(paths.readable_by_all(copy))
            self.assertEqual(copy.read_text(), "x")
            self.assertEqual(paths.for_everybody(program), copy)

    def test_open_folder_is_used_as_it_is(self):
        self.assertEqual(paths.for_everybody("/bin/sh"), paths.Path("/bin/sh"))
