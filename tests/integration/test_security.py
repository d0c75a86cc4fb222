# SPDX-License-Identifier: Apache-2.0
"""Who gets nothing, what cannot be read on the wire, and what QEMU and other users may not do."""

import ctypes
import re
import socket
import ssl
import stat
import subprocess
import threading
import time

from lib import VarlinkError, guest, paths, sandbox, wiretap
from lib.agent import PORT
from lib.follow import Follow
from lib.guest import MIB
from lib.moving import PATIENCE, SMALL, MoveCase, traces
from lib.varlink import Connection

SYS_SETRESUID = 117
NOBODY = 65534
PAGE = 4096


def stranger(directory):
    """A TLS client context with a key that nobody knows; judges nobody itself."""
    key = directory / "stranger.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=stranger", "-days", "1",
                    "-keyout", key, "-out", key], check=True, capture_output=True)
    context = keyless()
    context.load_cert_chain(key)
    return context


def keyless():
    """A TLS client context without a key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def hello(kind=1):
    """The first 64 bytes of a client, as docs/protocol.md has them."""
    return b"MUDANZA\n" + (2).to_bytes(4, "big") + bytes([kind]) + bytes(51)


class Strangers(MoveCase):
    """Clients whose key the agent does not know, or who do not even speak TLS."""

    def connect(self):
        """A TCP connection from host C to B's port."""
        client = self.lab["C"].socket()
        self.addCleanup(client.close)
        client.settimeout(PATIENCE)
        client.connect((self.lab["B"].address, PORT))
        return client

    def refused(self, context, client, say=hello()):
        """Speaks TLS as far as it goes; returns the alert's name. No byte may come before it."""
        try:
            with context.wrap_socket(client) as session:
                session.sendall(say)
                data = session.recv(65536)
                self.fail(f"the agent answers a stranger: {data!r}")
        except ssl.SSLError as error:
            return error.reason

    def raw_answer(self, said):
        """Everything that comes back over TCP for `said`, until the agent hangs up."""
        client = self.connect()
        client.sendall(said)
        answer = b""
        try:
            while data := client.recv(65536):
                answer += data
        except ConnectionResetError:
            pass
        return answer

    def test_unknown_keys(self):
        agent = self.lab.agent("B")
        known = stranger(self.lab.directory)
        for say in hello(), hello(2), b'{"method":"org.varlink.service.GetInfo"}\0':
            self.assertEqual(self.refused(known, self.connect(), say), "TLSV1_ALERT_UNKNOWN_CA")
        self.assertEqual(self.refused(keyless(), self.connect()),
                         "TLSV13_ALERT_CERTIFICATE_REQUIRED")
        old = stranger(self.lab.directory)
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        self.assertEqual(self.refused(old, self.connect()), "TLSV1_ALERT_PROTOCOL_VERSION")
        self.assertEqual(agent.call("List", all=True)["vms"], [])

    def test_garbage(self):
        """What is not TLS gets an alert at most: no text, no version."""
        self.lab.agent("B")
        for said in (b"GET / HTTP/1.1\r\nHost: b\r\n\r\n", hello(), b"\0" * 4096,
                     b"\x16\x03\x01\xff\xff" + b"x" * 70000, b"SSH-2.0-x\r\n",
                     b'{"method":"org.varlink.service.GetInfo"}\0'):
            with self.subTest(said=said[:20]):
                kinds = [kind for kind, _ in wiretap.tls_records(self.raw_answer(said))]
                self.assertIn(kinds, ([], [21]))

    def test_silence(self):
        """200 clients that say nothing hold up no move, and the agent drops them by itself."""
        self.two_agents()
        heart = self.boot(self.a, cmdline=SMALL)
        silent = [self.connect() for _ in range(200)]
        self.move(self.a, self.b)
        self.assert_beats_at(heart, self.b)
        for client in silent:
            self.assertEqual(client.recv(1), b"")
        self.assert_sound(heart)

    def test_half_a_hello(self):
        """A peer it knows must say its hello, too."""
        a = self.lab.agent("A")
        b = self.lab.agent("B")
        self.lab.pair()
        context = keyless()
        certificate = self.lab.directory / "a.pem"
        key = a.state_directory / "host.key"
        subprocess.run(["openssl", "req", "-x509", "-key", key, "-subj", "/CN=a", "-days", "1",
                        "-out", certificate], check=True, capture_output=True)
        context.load_cert_chain(certificate, key)
        with context.wrap_socket(self.connect()) as session:
            session.sendall(hello()[:63])
            self.assertEqual(session.recv(1), b"")
        for wrong in (b"X" * 64, hello(3), hello()[:-1] + b"\1"):
            with context.wrap_socket(self.connect()) as session:
                session.sendall(wrong)
                answer = b""
                while data := session.recv(64):
                    answer += data
                self.assertIn(len(answer), (0, 64))
                self.assertEqual(answer[12:], bytes(len(answer[12:])))
        self.assertTrue(a.call("ListHosts", probe=True)["hosts"][0]["reachable"])
        self.assertTrue(b.call("ListHosts", probe=True)["hosts"][0]["reachable"])


class Pinning(MoveCase):
    """A host is its key."""

    def reachable(self, agent):
        (host,) = agent.call("ListHosts", probe=True)["hosts"]
        return host["reachable"], host.get("problem", "")

    def assert_move_refused(self, *words):
        before = traces(self.a), traces(self.b)
        report = self.a.migrate("vm", "B", "--verify")
        self.assertEqual((report["outcome"], report["phase"]), ("failed", "plan"))
        for word in words:
            self.assertIn(word, report["reason"])
        self.assertEqual((traces(self.a), traces(self.b)), before)

    def test_wrong_fingerprint(self):
        """Another host answers at B's address: it gets no word about the VM."""
        self.two_agents()
        heart = self.boot(self.a, cmdline=SMALL)
        c = self.lab.agent("C")
        self.a.call("RemoveHost", name="B")
        self.a.call("AddHost", name="B", address=self.b.host.address, port=PORT,
                    fingerprint=c.fingerprint)
        self.assertIs(self.reachable(self.a)[0], False)
        self.assert_move_refused("B", self.b.fingerprint)
        self.a.call("AddHost", name="B", address=self.b.host.address, port=PORT,
                    fingerprint=self.b.fingerprint)
        self.move(self.a, self.b)
        self.assert_beats_at(heart, self.b)

    def test_known_one_way(self):
        """A knows B, but B does not know A."""
        self.two_agents()
        heart = self.boot(self.a, cmdline=SMALL)
        self.b.call("RemoveHost", name="A")
        reachable, problem = self.reachable(self.a)
        self.assertIs(reachable, False)
        self.assertIn("does not know", problem)
        self.assert_move_refused("B", "does not know")
        self.b.call("AddHost", name="A", address=self.a.host.address, port=PORT,
                    fingerprint=self.a.fingerprint)
        self.move(self.a, self.b)
        self.assert_beats_at(heart, self.b)

    def test_removed_in_the_middle(self):
        """New connections are refused at once; the VM stays whole, the destination clean."""
        self.two_agents()
        heart = self.boot(self.a, cmdline="mem=64K fill=20M heartbeat=20")
        with Follow(self.a, "vm", "B", bandwidth=MIB, verify=True) as move:
            move.copying()
            self.b.call("RemoveHost", name="A")
            self.assertIs(self.reachable(self.a)[0], False)
            self.a.call("AbortJob", vm="vm")
            self.assertEqual(move.report()["outcome"], "aborted")
        self.assert_beats_at(heart, self.a)
        deadline = time.monotonic() + PATIENCE
        while self.b.vm("vm"):  # it learns of the end by losing the stream
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)
        self.assertEqual(self.b.qemus(), [])
        self.assertEqual(traces(self.b)["journal"], [])
        self.b.call("AddHost", name="A", address=self.a.host.address, port=PORT,
                    fingerprint=self.a.fingerprint)
        self.move(self.a, self.b)
        self.assert_beats_at(heart, self.b)
        self.assert_sound(heart)


class Wire(MoveCase):
    """What somebody sees who reads every packet between two hosts."""

    def ram_samples(self, pid, memory):
        """Parts of the guest's RAM that nobody guesses: 64 bytes of each of many filled pages."""
        with open(f"/proc/{pid}/maps", encoding="ascii") as maps:
            for line in maps:
                begin, end = (int(word, 16) for word in line.split()[0].split("-"))
                if end - begin == memory:
                    break
            else:
                self.fail("no mapping of QEMU has the size of the guest's RAM")
        samples = set()
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as ram:
            for at in range(begin, end, PAGE):
                ram.seek(at)
                part = ram.read(PAGE)[2048:2048 + 64]
                if len(set(part)) > 32:
                    samples.add(part)
        return samples

    def look(self, capture, names, samples):
        """Which of the names and samples a capture shows."""
        found = [name for name in names if name in capture or name.decode().encode("utf-16-le")
                 in capture]
        # 64 random bytes: their first 16 are enough to find them, wherever they stand.
        starts = {sample[:16] for sample in samples}
        found += [start for start in starts if start in capture]
        return found

    def record(self, mode):
        """A whole move under capture: what passed, what must not be seen, and a control."""
        self.two_agents()
        uuid = "5ec4e7f0-0bad-4bad-8bad-5ec4e7f05ec4"
        cmdline = "mem=64K fill=4M seed=135792468 heartbeat=20"
        heart = self.boot(self.a, "secret-name", cmdline=cmdline, uuid=uuid)
        vm = self.a.vm("secret-name")
        samples = sorted(self.ram_samples(vm["pid"], vm["memory"]))
        self.assertGreater(len(samples), 500)
        samples = samples[::5]
        tap = wiretap.Wiretap(self.lab["A"], self.lab.directory / "capture",
                              "host", self.lab["B"].address, "and", "(tcp", "or", "udp", "port",
                              "9)")
        self.move(self.a, self.b, "secret-name", mode)
        # The control: plain text that passes is found.
        control = samples[0], b"secret-name", uuid.encode()
        sender = self.lab["A"].socket(kind=socket.SOCK_DGRAM)
        sender.sendto(b" ".join(control), (self.lab["B"].address, 9))
        sender.close()
        self.assert_beats_at(heart, self.b)
        self.assert_sound(heart)
        names = [b"secret-name", uuid.encode(), b"seed=135792468", b"<domain", b"<devices>",
                 b"io.mudanza", b'"method"', b"QEVM", b"pc.ram", b"dirty-bitmap"]
        return tap.stop(), names, samples, control

    def inspect(self, mode):
        capture, names, samples, control = self.record(mode)
        self.assertEqual(set(self.look(capture, names, samples)),
                         {control[0][:16], control[1], control[2]})
        passed = wiretap.streams(capture)
        plain = b"".join(passed.values())
        self.assertEqual(self.look(plain, names, samples), [])
        self.assertGreater(len(plain), 4 * MIB)
        addresses = {socket.inet_aton(self.lab[name].address) for name in "AB"}
        for (source, port, destination, other), stream in passed.items():
            self.assertEqual({source, destination}, addresses)
            self.assertIn(PORT, (port, other))
            kinds = [kind for kind, _ in wiretap.tls_records(stream)]
            # The two hellos are the only handshake messages in the open; all else is encrypted.
            self.assertEqual(kinds.count(22), 1)
            self.assertEqual(set(kinds) - {20, 22}, {23})

    def test_live(self):
        self.inspect("--live")

    def test_non_live(self):
        self.inspect("--non-live")


class connected_as:
    """A connection to an agent's socket whose other end sees another user's credentials."""

    def __init__(self, agent, uid):
        self._agent = agent
        self._uid = uid

    def __enter__(self):
        thread = threading.Thread(target=self._connect)  # the user id is this thread's alone
        thread.start()
        thread.join()
        return self.connection

    def __exit__(self, *_exception):
        self.connection.close()

    def _connect(self):
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syscall(SYS_SETRESUID, self._uid, self._uid, self._uid) != 0:
            raise OSError(ctypes.get_errno(), "setresuid")
        self.connection = Connection(self._agent.socket)


class OtherUsers(MoveCase):
    """The local socket, for users who are neither root nor the agent."""

    READS = {"GetAgent": {}, "List": {"all": True}, "Get": {"vm": "vm"},
             "DumpXml": {"vm": "vm", "inactive": False}, "ListHosts": {"probe": False},
             "GetJob": {"vm": "vm"}}

    def changes(self):
        """Every other method of the interface, with parameters that would do something."""
        return {"Define": {"xml": guest.bare("other")}, "Undefine": {"vm": "vm"},
                "Start": {"vm": "off", "paused": False}, "Shutdown": {"vm": "vm"},
                "Destroy": {"vm": "vm"}, "Suspend": {"vm": "vm"}, "Resume": {"vm": "vm"},
                "AddHost": {"name": "C", "address": "10.77.0.3", "port": PORT,
                            "fingerprint": "SHA256:" + "A" * 43},
                "RemoveHost": {"name": "B"}, "AbortJob": {"vm": "vm"},
                "ResolveJob": {"vm": "vm", "runs_here": True},
                "Migrate": {"vm": "vm", "host": "B", "options": {}}}

    def test_may_look_only(self):
        self.two_agents()
        heart = self.boot(self.a, cmdline=SMALL)
        self.a.define(guest.bare("off"))
        self.move(self.a, self.b)
        self.move(self.b, self.a)
        before = traces(self.a)
        methods = re.findall(r"^method (\w+)", (paths.SOURCE / "src/agent/io.mudanza.varlink")
                             .read_text(encoding="utf-8"), re.MULTILINE)
        self.assertEqual(set(methods), self.READS.keys() | self.changes().keys())
        with connected_as(self.a, NOBODY) as nobody:
            for method, parameters in self.READS.items():
                with self.subTest(method=method):
                    self.assertTrue(nobody.call(method, **parameters))
            for method, parameters in self.changes().items():
                with self.subTest(method=method):
                    with self.assertRaises(VarlinkError) as refused:
                        nobody.call(method, **parameters)
                    self.assertEqual(refused.exception.kind, "denied")
                    self.assertTrue(refused.exception.hint)
        self.assertEqual(traces(self.a), before)
        self.assert_beats_at(heart, self.a)

    def test_command_line(self):
        agent = self.lab.agent("A")
        agent.define(guest.bare("vm"))
        as_nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "env",
                     f"MUDANZA_CONNECT={agent.socket}", paths.for_everybody(paths.MUDANZA)]

        def run(*words):
            return self.lab["A"].run(*as_nobody, *words, check=False, capture_output=True,
                                     text=True)
        listed = run("list", "--all")
        self.assertEqual(listed.returncode, 0, listed.stderr)
        self.assertIn("vm", listed.stdout)
        for words in (["start", "vm"], ["undefine", "vm"], ["migrate", "vm", "B"]):
            refused = run(*words)
            self.assertEqual(refused.returncode, 1)
            self.assertIn(f"user {NOBODY}", refused.stderr)
            self.assertIn("root", refused.stderr)
        self.assert_shut_off(agent)


class Confinement(MoveCase):
    """What a QEMU that its guest has taken over could reach."""

    def status(self, pid):
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)

    def assert_confined(self, agent):
        (pid,) = agent.qemus()
        status = self.status(pid)
        users, groups = (set(status[name].split()) for name in ("Uid", "Gid"))
        self.assertEqual(len(users | groups), len(users) + len(groups) - len(users & groups))
        self.assertNotIn("0", users | groups)
        self.assertNotIn("0", status["Groups"].split())
        self.assertEqual((status["Seccomp"], status["NoNewPrivs"]), ("2", "1"))
        for name in "CapInh", "CapPrm", "CapEff", "CapAmb":
            self.assertEqual(int(status[name], 16), 0, name)
        for target in sandbox.open_files(pid):
            self.assertFalse(target.startswith(str(agent.state_directory))
                             and not target.endswith(".log"), target)
        return users.pop(), groups.pop()

    def assert_closed(self, agent, user, group):
        """QEMU's user finds nothing of the agent's state and nobody else's monitors."""
        self.assertEqual(stat.S_IMODE(agent.state_directory.stat().st_mode), 0o700)
        self.assertEqual(stat.S_IMODE((agent.state_directory / "host.key").stat().st_mode), 0o600)
        for path in (agent.state_directory / "host.key", agent.state_directory / "mudanza.db",
                     agent.run_directory / "vm" / agent.vm("vm")["uuid"] / "monitor"):
            path.stat()  # it is there
            reached = self.lab["A"].run("setpriv", f"--reuid={user}", f"--regid={group}",
                                        "--clear-groups", "stat", path, check=False,
                                        capture_output=True)
            self.assertNotEqual(reached.returncode, 0, path)

    def confined(self, emulator):
        self.two_agents(emulator=emulator)
        heart = self.boot(self.a, cmdline=SMALL, devices=guest.bridge())
        self.assert_closed(self.a, *self.assert_confined(self.a))
        self.move(self.a, self.b)
        self.assert_beats_at(heart, self.b)
        self.assert_closed(self.b, *self.assert_confined(self.b))

    def test_qemu_7(self):
        self.confined(paths.QEMU_7)

    def test_qemu_10(self):
        self.confined(paths.QEMU_10)
