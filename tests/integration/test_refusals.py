# SPDX-License-Identifier: Apache-2.0
"""What the plan phase refuses: each for real, with cause and remedy, and with no trace left."""

import base64
import hashlib
import json
import socket
import ssl
import subprocess
import threading

from lib import CliError, VarlinkError, guest, paths, sandbox
from lib.follow import Follow
from lib.lab import Host
from lib.moving import PATIENCE, MoveCase, definition, traces

MIB = 1 << 20


def own_folder(folder, fill=":"):
    """Words to start an agent within: on its host, `folder` is another file system than on the
    rest of this machine, with what the shell command `fill` puts there."""
    return ["sh", "-ec", f'mount -t tmpfs -o mode=755 none "$0"; cd "$0"; {fill}; cd /; exec "$@"',
            folder]


def share_folder(agent, folder):
    """Undoes own_folder: the host has the same files there as everybody."""
    subprocess.run(["nsenter", "-t", str(agent.process.pid), "-m", "umount", str(folder)],
                   check=True)


class RefusalCase(MoveCase):
    """How a refusal is judged."""

    def assert_refused(self, *options, vm="vm", problems=None, reason=None, hint=None):
        """The move is refused in the plan phase and changes nothing on either host.

        problems: (check, words of the message, words of the hint) of each, in the report's order;
        reason, hint: words of the report's own. Returns the report.
        """
        before = traces(self.a), traces(self.b)
        words = ["migrate", vm, "B", *map(str, options)]
        result = self.a.run(*words, "--json")
        self.assertEqual(result.returncode, 1, result)
        report = json.loads(result.stdout)
        self.assertEqual((report["outcome"], report["phase"]), ("failed", "plan"), report)
        self.assert_said(report["reason"], reason)
        self.assert_said(report["hint"], hint)
        self.assertEqual([problem["check"] for problem in report["problems"]],
                         [check for check, *_ in problems or ()], report)
        for found, (_check, message, remedy) in zip(report["problems"], problems or ()):
            self.assert_said(found["message"], message)
            self.assert_said(found["hint"], remedy)
            for text in found["message"], found["hint"]:
                self.assertIn(text, result.stderr)
        for text in report["reason"], report["hint"]:
            self.assertIn(text, result.stderr)
        self.assertEqual((traces(self.a), traces(self.b)), before)
        return report

    def assert_said(self, text, words):
        self.assertTrue(text, "nothing is said")
        for word in [words] if isinstance(words, str) else words or ():
            self.assertIn(word, text)

    def assert_rejected(self, *words, message, hint=None):
        """The command is refused before there is a move; nothing changes on either host."""
        before = traces(self.a), traces(self.b)
        result = self.a.run(*map(str, words), "--json")
        self.assertEqual(result.returncode, 1, result)
        error = json.loads(result.stdout)["error"]
        self.assert_said(error["message"], message)
        self.assertIn(error["message"], result.stderr)
        if hint:
            self.assert_said(error["hint"], hint)
            self.assertIn(error["hint"], result.stderr)
        self.assertEqual((traces(self.a), traces(self.b)), before)

    def assert_moves(self, heart, *options, name="vm"):
        """Nothing of the refusal is in the way of a correct move."""
        self.assert_beats_at(heart, self.a)
        self.move(self.a, self.b, "vm", *options)
        self.assertEqual(self.b.vm(name)["state"], "running")
        self.assert_beats_at(heart, self.b)
        self.assertEqual(heart.problems(), [])


class Missing(RefusalCase):
    """What the destination does not have."""

    def test_bridge(self):
        self.two_agents()
        sandbox.ip("-n", self.lab["A"].namespace, "link", "add", "br7", "type", "bridge")
        heart = self.boot(self.a, devices=guest.bridge("br7"))
        self.assert_refused(problems=[("bridge", ["host B", "br7"], ["br7", "--xml"])],
                            reason="br7", hint="br7")
        sandbox.ip("-n", self.lab["B"].namespace, "link", "add", "br7", "type", "bridge")
        self.assert_moves(heart)

    def test_machine_type(self):
        self.a = self.lab.agent("A", emulator=paths.QEMU_10)
        self.b = self.lab.agent("B", emulator=paths.QEMU_7)
        self.lab.pair()
        self.boot(self.a, machine="pc-q35-10.0")
        self.assert_refused(problems=[("machine", ["pc-q35-10.0", "7.2"], ["QEMU", "pc-q35-7.2"])])
        heart = self.boot(self.a, "old", machine="pc-q35-7.2")
        self.move(self.a, self.b, "old")
        self.assert_beats_at(heart, self.b)

    def test_cpu_feature(self):
        self.a = self.lab.agent("A", emulator=paths.QEMU_10)
        self.b = self.lab.agent("B", emulator=paths.QEMU_7)
        self.lab.pair()
        cpu = "<cpu mode='custom'><model>qemu64</model>{}</cpu>"
        # QEMU 7.2 cannot compute SHA instructions under TCG, 10.0 can.
        self.boot(self.a, machine="pc-q35-7.2",
                  cpu=cpu.format("<feature policy='require' name='sha-ni'/>"))
        self.assert_refused(problems=[("cpu", "sha-ni", "CPU model")])
        heart = self.boot(self.a, "plain", machine="pc-q35-7.2", cpu=cpu.format(""))
        self.move(self.a, self.b, "plain")
        self.assert_beats_at(heart, self.b)

    def test_cpu_of_the_host(self):
        self.a = self.lab.agent("A", emulator=paths.QEMU_10)
        self.b = self.lab.agent("B", emulator=paths.QEMU_7)
        self.lab.pair()
        heart = self.boot(self.a, machine="pc-q35-7.2", cpu="<cpu mode='host-passthrough'/>")
        self.assert_refused(problems=[("cpu", ["sha-ni", "host-passthrough"], "CPU model")])
        self.b.stop()
        self.b.words[self.b.words.index("--emulator") + 1] = paths.for_everybody(paths.QEMU_10)
        self.b.start()
        self.assert_moves(heart)

    def test_memory(self):
        self.two_agents()
        with open("/proc/meminfo", encoding="ascii") as file:
            total = next(int(line.split()[1]) for line in file if line.startswith("MemTotal:"))
        # Nearly as much as the machine has: it can be promised, never given beside what runs here.
        heart = self.boot(self.a, memory=(total // 1024 - 64) * MIB)
        self.assert_refused(problems=[("memory", ["memory", "available"], "host")])
        self.assert_beats_at(heart, self.a)
        self.a.call("Destroy", vm="vm")
        self.a.call("Undefine", vm="vm")
        self.assert_moves(self.boot(self.a))

    def test_kernel(self):
        folder = self.lab.directory / "boot"
        folder.mkdir(mode=0o755)
        kernel = folder / "guest.elf"
        kernel.write_bytes(guest.BARE.read_bytes())
        self.a = self.lab.agent("A", emulator=self.emulator)
        self.b = self.lab.agent("B", emulator=self.emulator, within=own_folder(folder))
        self.lab.pair()
        heart = self.boot(self.a, make=elsewhere(kernel))
        self.assert_refused(problems=[("kernel", str(kernel), "path")])
        share_folder(self.b, folder)
        self.assert_moves(heart)


def elsewhere(kernel):
    """The bare-metal guest, its kernel in another file."""
    return lambda name, **options: guest.domain(name, kernel=kernel, **options)


class Disks(RefusalCase):
    """An image that is not, or is not the same, at the destination."""

    def start(self, fill):
        """`fill` makes what B has in the images' folder."""
        self.images = self.lab.directory / "images"
        self.images.mkdir(mode=0o755)
        self.image = self.images / "disk.img"
        with open(self.image, "wb") as file:
            file.truncate(MIB)
        self.a = self.lab.agent("A", emulator=self.emulator)
        self.b = self.lab.agent("B", emulator=self.emulator,
                                within=own_folder(self.images, fill))
        self.lab.pair()
        return self.boot(self.a, devices=guest.disk(self.image))

    def test_missing(self):
        heart = self.start(":")
        self.assert_refused(problems=[("disk", ["vda", str(self.image)], ["path", "--xml"])])
        share_folder(self.b, self.images)
        self.assert_moves(heart)

    def test_other_size(self):
        heart = self.start("truncate -s 2M disk.img")
        self.assert_refused(problems=[("disk", ["vda", str(self.image), "another file"],
                                       "same storage")])
        share_folder(self.b, self.images)
        self.assert_moves(heart)

    def test_same_path_and_size(self):
        heart = self.start("truncate -s 1M disk.img")
        self.assert_refused(problems=[("disk", ["vda", str(self.image), "not the file"],
                                       "same storage")])
        share_folder(self.b, self.images)
        self.assert_moves(heart)

    def test_other_file_by_xml(self):
        self.two_agents()
        image, copy = (self.lab.directory / name for name in ("disk.img", "copy.img"))
        for path in image, copy:
            path.write_bytes(bytes(MIB))
        heart = self.boot(self.a, devices=guest.disk(image))
        changed = self.lab.directory / "changed.xml"
        xml = self.a.cli("dumpxml", "vm", json=False)
        changed.write_text(xml.replace(str(image), str(copy)), encoding="utf-8")
        self.assert_refused("--xml", changed, problems=[("disk", [str(copy), "not the file"],
                                                         "same storage")])
        self.assert_moves(heart)

    def test_unsafe_cache(self):
        self.two_agents()
        image = self.lab.directory / "disk.img"
        image.write_bytes(bytes(MIB))
        self.boot(self.a, devices=guest.disk(image, cache="unsafe"))
        self.assert_refused(problems=[("cache", ["vda", "unsafe"], "cache")])


class Clashes(RefusalCase):
    """Names and UUIDs that the destination has already."""

    UUID = "6ba7b810-9dad-41d1-80b4-00c04fd430c8"

    def setUp(self):
        super().setUp()
        self.two_agents()
        self.heart = self.boot(self.a, uuid=self.UUID)

    def test_name(self):
        self.b.define(guest.bare("vm"))
        taken = self.b.vm("vm")["uuid"]
        self.assert_refused(problems=[("name", ["vm", taken], "--name")])
        self.assert_moves(self.heart, "--name", "vm2", name="vm2")
        self.assertEqual(self.b.vm("vm")["uuid"], taken)

    def test_uuid(self):
        self.b.define(guest.bare("twin", uuid=self.UUID))
        self.assert_refused(problems=[("uuid", [self.UUID, "twin"], "undefine")])
        self.b.call("Undefine", vm="twin")
        self.assert_moves(self.heart)

    def test_running_there(self):
        self.b.define(guest.bare("vm", uuid=self.UUID))
        self.b.call("Start", vm="vm", paused=True)
        self.assert_refused(problems=[("uuid", ["vm", "paused"], "twice")])
        self.b.call("Destroy", vm="vm")
        self.assert_moves(self.heart)

    def test_name_and_uuid_of_two(self):
        self.b.define(guest.bare("vm"))
        self.b.define(guest.bare("twin", uuid=self.UUID))
        self.assert_refused(problems=[("name", "vm", "--name"), ("uuid", "twin", "undefine")])


class Together(RefusalCase):
    """Everything that stands in the way is said in one run."""

    def test_all_problems_at_once(self):
        folder = self.lab.directory / "files"
        folder.mkdir(mode=0o755)
        kernel, image = folder / "guest.elf", folder / "disk.img"
        kernel.write_bytes(guest.BARE.read_bytes())
        image.write_bytes(bytes(MIB))
        self.a = self.lab.agent("A", emulator=paths.QEMU_10)
        self.b = self.lab.agent("B", emulator=paths.QEMU_7, within=own_folder(folder))
        self.lab.pair()
        sandbox.ip("-n", self.lab["A"].namespace, "link", "add", "br7", "type", "bridge")
        heart = self.boot(
            self.a, make=elsewhere(kernel), machine="pc-q35-10.0",
            devices=guest.disk(image) + guest.bridge("br7"),
            cpu="<cpu mode='custom'><model>qemu64</model>"
                "<feature policy='require' name='sha-ni'/></cpu>")
        self.b.define(guest.bare("vm"))
        report = self.assert_refused(reason="5 more problems", problems=[
            ("name", "vm", "--name"),
            ("machine", "pc-q35-10.0", "QEMU"),
            ("cpu", "sha-ni", "CPU model"),
            ("bridge", "br7", "br7"),
            ("disk", "vda", "--xml"),
            ("kernel", str(kernel), "path")])
        self.assertTrue(all("host B" in problem["message"] for problem in report["problems"]))
        self.assert_beats_at(heart, self.a)


class Unreachable(RefusalCase):
    """A destination that does not answer, or is not who it should be."""

    def setUp(self):
        super().setUp()
        self.two_agents()
        self.heart = self.boot(self.a)

    def know(self, address=None, port=None, fingerprint=None):
        """What A knows of B from now on."""
        self.a.call("RemoveHost", name="B")
        self.a.call("AddHost", name="B", address=address or self.b.host.address,
                    port=port or self.b.port, fingerprint=fingerprint or self.b.fingerprint)

    def test_nobody_listens(self):
        self.know(port=9)
        self.assert_refused(reason=["host B", "10.77.0.2:9", "refused"], hint="mudanzad")
        self.know()
        self.assert_moves(self.heart)

    def test_no_route(self):
        self.know(address="192.0.2.1")
        self.assert_refused(reason=["host B", "192.0.2.1", "unreachable"])
        self.know()
        self.assert_moves(self.heart)

    def test_no_such_name(self):
        self.know(address="host.invalid")
        self.assert_refused(reason=["host B", "host.invalid"], hint="DNS")
        self.know()
        self.assert_moves(self.heart)

    def test_wrong_fingerprint(self):
        self.know(fingerprint="SHA256:" + "A" * 43)
        self.assert_refused(reason=["host B", self.b.fingerprint], hint="mudanza id")
        self.know()
        self.assert_moves(self.heart)

    def test_not_known_there(self):
        self.b.call("RemoveHost", name="A")
        self.assert_refused(reason="host B", hint="mudanza host add")
        self.b.call("AddHost", name="A", address=self.a.host.address, port=self.a.port,
                    fingerprint=self.a.fingerprint)
        self.assert_moves(self.heart)


class StandInPeer:
    """Stands in for an agent of another protocol version: TLS with a key, and a hello."""

    def __init__(self, host: Host, directory, version):
        key, certificate = directory / "standin.key", directory / "standin.crt"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=x", "-keyout", key,
                        "-out", certificate], check=True, capture_output=True)
        public = subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-outform", "DER"],
                                check=True, capture_output=True).stdout
        digest = base64.b64encode(hashlib.sha256(public).digest()).decode().rstrip("=")
        self.fingerprint = f"SHA256:{digest}"
        self._version = version
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_3
        self._context.load_cert_chain(certificate, key)
        self._listener = host.socket(socket.AF_INET)
        self._listener.bind((host.address, 0))
        self._listener.listen()
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return  # closed under us
            with self._context.wrap_socket(connection, server_side=True) as tls:
                hello = tls.recv(64)
                tls.sendall(hello[:8] + self._version.to_bytes(4, "big") + bytes(52))
                tls.recv(1)

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()


class OtherVersion(RefusalCase):
    """An agent that speaks another protocol."""

    def test_protocol_of_a_stand_in(self):
        self.two_agents()
        heart = self.boot(self.a)
        peer = StandInPeer(self.lab["C"], self.lab.directory, 99)
        self.addCleanup(peer.close)
        self.a.call("RemoveHost", name="B")
        self.a.call("AddHost", name="B", address=self.lab["C"].address, port=peer.port,
                    fingerprint=peer.fingerprint)
        self.assert_refused(reason=["host B", "protocol 99", "this one 2"],
                            hint="same version of mudanzad")
        self.a.call("RemoveHost", name="B")
        self.lab.pair(self.a, self.b)
        self.assert_moves(heart)


class Contradictions(RefusalCase):
    """What is refused before there is a move at all."""

    def setUp(self):
        super().setUp()
        self.two_agents()

    def test_unknown_host(self):
        heart = self.boot(self.a)
        before = traces(self.a)
        error = self.a.cli_fails("migrate", "vm", "nowhere")
        self.assertEqual(error.status, 1)
        self.assertIn("host nowhere: not known here", error.stderr)
        self.assertIn("mudanza host add nowhere", error.stderr)
        self.assertEqual(traces(self.a), before)
        self.assert_moves(heart)

    def test_unknown_vm(self):
        self.assert_rejected("migrate", "ghost", "B", message="ghost", hint="list --all")

    def test_the_host_itself(self):
        own = self.a.fingerprint
        self.assert_rejected("host", "add", "me", self.a.host.address, own,
                             message="this host's own key", hint="other host")

    def test_running(self):
        heart = self.boot(self.a)
        for options, message, hint in (
                (["--offline", "--persistent"], "running, not shut off", "--offline"),
                (["--post-copy", "--verify"], ["--verify", "--post-copy"], "leave out"),
                (["--non-live", "--post-copy"], "nothing to converge", "--post-copy"),
                (["--non-live", "--auto-converge"], "nothing to converge", "--auto-converge"),
                (["--name", "no/name"], "no/name", None)):
            with self.subTest(options=options):
                self.assert_rejected("migrate", "vm", "B", *options, message=message, hint=hint)
        self.assert_moves(heart)

    def test_shut_off(self):
        self.hear(self.a)
        for options, message, hint in (
                ([], "shut off", "--offline --persistent"),
                (["--live"], "shut off", "--offline --persistent"),
                (["--non-live"], "shut off", "--offline --persistent"),
                (["--offline"], "leave nothing", "--persistent"),
                (["--offline", "--persistent", "--post-copy"], "no memory", "--post-copy"),
                (["--offline", "--persistent", "--verify"], "no memory", "--verify"),
                (["--offline", "--persistent", "--bandwidth", 5], "no memory", "--bandwidth"),
                (["--offline", "--persistent", "--timeout", 5], "no memory", "--timeout")):
            with self.subTest(options=options):
                self.assert_rejected("migrate", "vm", "B", *options, message=message, hint=hint)
        self.assert_completed(self.a.migrate("vm", "B", "--offline", "--persistent"))

    def test_offline_with_problems(self):
        self.hear(self.a)
        self.b.define(guest.bare("vm"))
        self.assert_refused("--offline", "--persistent", problems=[("name", "vm", "--name")])
        self.b.call("Undefine", vm="vm")
        self.assert_completed(self.a.migrate("vm", "B", "--offline", "--persistent"))
        self.assertEqual(definition(self.b, "vm"), definition(self.a, "vm"))

    def test_busy(self):
        heart = self.boot(self.a, cmdline="mem=4K fill=32 rate=0 heartbeat=20")
        with Follow(self.a, "vm", "B", bandwidth=4 * MIB) as move:
            move.copying()
            for words in (["migrate", "vm", "B"], ["destroy", "vm"], ["suspend", "vm"],
                          ["undefine", "vm"], ["shutdown", "vm"], ["start", "vm"]):
                with self.subTest(words=words), self.assertRaises(CliError) as caught:
                    self.a.cli(*words)
                self.assertEqual(caught.exception.status, 1)
                self.assertIn("being moved to B", caught.exception.stderr)
                self.assertIn("mudanza abort vm", caught.exception.stderr)
            with self.assertRaises(VarlinkError) as there:
                self.b.call("Destroy", vm="vm")
            self.assertIn("arriving from A", there.exception.message)
            self.a.call("AbortJob", vm="vm")
            self.assertEqual(move.report()["outcome"], "aborted")
        heart.wait(lambda heart: heart.beats, PATIENCE)
        self.assert_moves(heart)
