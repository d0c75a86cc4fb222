# SPDX-License-Identifier: Apache-2.0
"""The durable steps of a handover, each with something in its way: the journal decides."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import uuid

from integration.test_security import hello, keyless
from integration.test_restart import LONG, RestartCase
from lib import guest
from lib.agent import PORT
from lib.follow import Follow
from lib.guest import MIB
from lib.moving import PATIENCE, MoveCase, definition, journal_states

#: Long enough to act in the middle of the copy.
SHORT = "mem=64K fill=1M heartbeat=20"
ANOTHER_JOB = "33333333-3333-4333-8333-333333333333"


class JournalCase(RestartCase):
    """Agents whose database is looked at, and meddled with."""

    def database(self, agent):
        database = sqlite3.connect(agent.state_directory / "mudanza.db", timeout=30,
                                   isolation_level=None)
        return contextlib.closing(database)

    @contextlib.contextmanager
    def refusing(self, agent, what):
        """No write of a kind gets through: "INSERT ON definition", "UPDATE ON journal WHEN ..."."""
        with self.database(agent) as database:
            database.execute(f"CREATE TRIGGER refuse BEFORE {what} "
                             "BEGIN SELECT RAISE(ABORT, 'refused by the test'); END")
            yield
            database.execute("DROP TRIGGER refuse")

    @contextlib.contextmanager
    def refusing_to_end(self, agent):
        """A record can neither be changed nor go."""
        with self.refusing(agent, "UPDATE ON journal"), self.database(agent) as database:
            database.execute("CREATE TRIGGER keep BEFORE DELETE ON journal "
                             "BEGIN SELECT RAISE(ABORT, 'refused by the test'); END")
            yield
            database.execute("DROP TRIGGER keep")

    def states(self, agent):
        return journal_states(agent.state_directory / "mudanza.db")

    def await_closed(self):
        """Both journals are empty, no VM is anybody's any more, no mark is left."""
        for agent in self.a, self.b:
            self.await_that(lambda agent=agent: self.states(agent) == [],
                            f"{agent.name} keeps its record")
            self.await_that(lambda agent=agent: not any("job" in vm for vm in
                                                        agent.call("List", all=True)["vms"]),
                            f"{agent.name} goes on")
            self.assertEqual(list((agent.run_directory / "handover").iterdir()), [])

    def start_move(self, cmdline=SHORT, **options):
        """A move that is in its copy; the VM's Heartbeat becomes self.heart."""
        self.heart = self.boot(self.a, cmdline=cmdline)
        self.stored = definition(self.a, "vm")
        move = Follow(self.a, "vm", "B", bandwidth=MIB, **options)
        self.addCleanup(move.connection.close)
        move.copying()
        return move

    def assert_at_b(self, *, defined):
        self.await_beats(self.heart, self.b)
        self.assertEqual((self.a.qemus(), len(self.b.qemus())), ([], 1))
        self.assertEqual(self.b.vm("vm")["state"], "running")
        self.assertEqual(definition(self.b, "vm"), self.stored if defined else None)
        self.assertEqual(self.heart.problems(), [])

    def assert_at_a(self):
        """The VM runs at A and B has nothing of it; a second attempt succeeds."""
        self.await_beats(self.heart, self.a)
        self.assertIsNone(self.b.vm("vm"))
        self.assertEqual((len(self.a.qemus()), self.b.qemus()), (1, []))
        self.move(self.a, self.b)
        self.assert_at_b(defined=False)
        self.assert_sound(self.heart)


class NotStored(JournalCase):
    """B cannot write down the VM that runs there: A's definition is the last one."""

    def setUp(self):
        super().setUp()
        self.two_agents()
        self.refused = self.refusing(self.b, "INSERT ON definition")
        self.refused.__enter__()

    def allow(self):
        self.refused.__exit__(None, None, None)

    def start_move(self, **options):
        return super().start_move(persistent=True, undefine_source=True, **options)

    def assert_kept(self, report):
        self.assert_completed(report)
        (warning,) = report["warnings"]
        for word in ("refused by the test", "host B", "mudanza undefine vm"):
            self.assertIn(word, warning)
        self.assertEqual(definition(self.a, "vm"), self.stored)
        self.assert_shut_off(self.a)
        vm = self.b.vm("vm")
        self.assertEqual((vm["state"], vm["persistent"]), ("running", False))
        self.assertIn("not stored yet", vm["job"])
        self.assertEqual(self.states(self.a) + self.states(self.b), ["done", "owner"])

    def test_stored_later(self):
        """B stores it as soon as it can; A's definition is the user's to remove."""
        self.assert_kept(self.start_move().report())
        self.allow()
        self.await_closed()
        self.assert_at_b(defined=True)
        self.assert_shut_off(self.a)
        self.a.cli("undefine", "vm", json=False)
        self.move(self.b, self.a, "vm", "--persistent", "--undefine-source")
        self.assertEqual(definition(self.a, "vm"), self.stored)
        self.assertIsNone(self.b.vm("vm"))

    def test_command_line(self):
        self.heart = self.boot(self.a, cmdline=SHORT)
        result = self.a.run("migrate", "vm", "B", "--persistent", "--undefine-source")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("mudanza: warning: vm: it runs on host B, which has not stored it",
                      result.stderr)
        self.allow()
        self.await_closed()

    def test_both_killed(self):
        self.assert_kept(self.start_move().report())
        self.b.kill()
        self.a.kill()
        self.await_beats(self.heart, self.b)
        self.b.start()
        self.await_that(lambda: "not stored yet" in self.b.vm("vm").get("job", ""),
                        "B tries again")
        self.allow()
        self.a.start()
        self.await_closed()
        self.assert_at_b(defined=True)

    def test_destination_killed_with_its_qemu(self):
        """It ran there, so it is B's, and has crashed; B still knows what it was."""
        self.assert_kept(self.start_move().report())
        self.b.kill()
        self.b.end_qemus()
        self.allow()
        self.b.start()
        self.await_closed()
        self.assert_shut_off(self.b)
        self.assertEqual(definition(self.b, "vm"), self.stored)


class Refused(JournalCase):
    """A record cannot be written."""

    def setUp(self):
        super().setUp()
        self.two_agents()

    def test_commit(self):
        """The guest stands at A already; it runs on there."""
        with self.refusing(self.a, "UPDATE ON journal WHEN NEW.state = 'committed'"):
            report = self.start_move().report()
        self.assertEqual(report["outcome"], "failed")
        self.assertIn("refused by the test", report["reason"])
        self.await_closed()
        self.assert_at_a()

    def test_owner(self):
        """B does not run what it could not write down, and A has its word for that."""
        with self.refusing(self.b, "UPDATE ON journal WHEN NEW.state = 'owner'"):
            report = self.start_move().report()
        self.assertEqual(report["outcome"], "failed")
        self.assertIn("refused by the test", report["reason"])
        self.await_closed()
        self.assert_at_a()

    def test_done(self):
        """The VM is B's. At A it is nobody's to start until A could write that down."""
        with self.refusing(self.a, "UPDATE ON journal WHEN NEW.state = 'done'"):
            report = self.start_move(persistent=True, undefine_source=True).report()
            self.assert_completed(report)
            self.assertIn("refused by the test", report["warnings"][0])
            self.assertEqual(definition(self.a, "vm"), self.stored)
            self.assertIn("moved", self.a.cli_fails("start", "vm").stderr)
        self.await_closed()
        self.assert_at_b(defined=True)
        self.assertIsNone(self.a.vm("vm"))

    def test_done_and_killed(self):
        with self.refusing(self.a, "UPDATE ON journal WHEN NEW.state = 'done'"):
            self.assert_completed(self.start_move(undefine_source=True, persistent=True).report())
            self.a.kill()
        self.a.start()
        self.await_closed()
        self.assert_at_b(defined=True)
        self.assertIsNone(self.a.vm("vm"))


class Speechless(JournalCase):
    """B can write nothing any more."""

    def test_neither_owner_nor_aborted(self):
        """It says nothing, so the guest stands at A; then it can, and does."""
        self.two_agents()
        with self.refusing_to_end(self.b):
            move = self.start_move()
            self.await_that(lambda: "undoing its arrival" in self.b.log_tail(), "B tries again")
            self.assertEqual(self.states(self.a) + self.states(self.b), ["committed", "prepared"])
            self.assertIn(self.a.vm("vm")["state"], ("paused", "in_doubt"))
            self.assertEqual(self.b.qemus(), [])
        self.assertEqual(move.report()["outcome"], "failed")
        self.await_closed()
        self.assert_at_a()


class CrashCase(JournalCase):
    """Everything dies between J(OWNER) and `cont`."""

    def crash(self, *, qemu, states=("committed", "owner")):
        """Both agents die in the copy; their records become those of a handover."""
        self.two_agents()
        self.start_move(cmdline=LONG)
        for agent in self.a, self.b:  # neither sees the other's end
            agent.signal(signal.SIGSTOP)
        self.a.kill()
        self.b.kill()
        if not qemu:
            self.b.end_qemus()
        for agent, state in zip((self.a, self.b), states):
            with self.database(agent) as database:
                (self.job,), = database.execute("SELECT job FROM journal").fetchall()
                database.execute("UPDATE journal SET state = ?", (state,))


class FoundPrepared(CrashCase):
    """A restarted agent undoes what nobody decided, also when it cannot write that down at once."""

    def test_destination(self):
        """A waits for B's word, and B for its disk."""
        self.crash(qemu=True, states=("committed", "prepared"))
        with self.refusing_to_end(self.b):
            self.b.start()
            self.a.start()
            self.await_that(lambda: "refused by the test; trying again" in self.b.log_tail(),
                            "B tries again")
            self.await_that(lambda: self.a.vm("vm")["state"] == "in_doubt", "A is in doubt")
            self.assertEqual((self.states(self.a), self.states(self.b)),
                             (["committed"], ["prepared"]))
            self.assertEqual(self.b.qemus(), [])
        self.await_closed()
        self.assert_at_a()

    def test_source(self):
        """The guest runs, and the report says what happened; the record follows."""
        self.crash(qemu=False, states=("prepared", "prepared"))
        with self.refusing_to_end(self.a):
            self.a.start()
            self.await_that(lambda: "job" not in self.a.vm("vm"), "A goes on with the move")
            report = self.a.call("GetJob", vm="vm")["report"]
            self.assertEqual((report["outcome"], report["warnings"]), ("failed", []), report)
            self.assertIn("the agent of A ended in the middle of it", report["reason"])
            self.await_beats(self.heart, self.a)
            self.b.start()
            self.await_that(lambda: not self.b.vm("vm"), "B keeps what arrived")
            self.assertIn("refused by the test", self.a.cli_fails("migrate", "vm", "B").stderr)
            self.assertEqual(self.states(self.a), ["prepared"])
        self.await_closed()
        self.assert_at_a()


class FoundOwner(CrashCase):
    """Who has the VM?"""

    def test_gone_without_a_mark(self):
        """It never ran there."""
        self.crash(qemu=False)
        self.b.start()
        self.a.start()
        self.await_closed()
        self.assert_at_a()

    def test_gone_with_a_mark(self):
        """It may have run there, and has crashed: A must not run what is old."""
        self.crash(qemu=False)
        (self.b.run_directory / "handover" / self.job).touch()
        self.b.start()
        self.a.start()
        self.assert_crashed_at_b()

    def assert_crashed_at_b(self):
        self.await_closed()
        self.assert_shut_off(self.a)
        self.assertEqual((self.a.qemus(), self.b.qemus(), self.b.vm("vm")), ([], [], None))

    def test_gone_in_another_boot(self):
        """The host was started anew since: that there is no mark says nothing."""
        self.crash(qemu=False)
        with self.database(self.b) as database:
            database.execute("UPDATE journal SET options ="
                             " json_replace(options, '$.boot_id', 'another')")
        self.b.start()
        self.a.start()
        self.assert_crashed_at_b()

    def test_still_loading(self):
        """B waits for QEMU, and says nothing until then; A waits for B."""
        self.crash(qemu=True)
        self.b.start()
        self.a.start()
        self.await_that(lambda: self.a.vm("vm")["state"] == "in_doubt", "A is in doubt")
        asked = self.b.call("GetAgent")  # B answers meanwhile
        self.assertEqual(asked["name"], "B")
        self.assertEqual((self.states(self.a), self.states(self.b)), (["committed"], ["owner"]))
        self.b.end_qemus()
        self.await_closed()
        self.assert_at_a()

    def test_stale_marks_are_swept(self):
        self.two_agents()
        mark = self.b.run_directory / "handover" / ANOTHER_JOB
        mark.touch()
        self.b.restart()
        self.assertFalse(os.path.exists(mark))


class Decided(CrashCase):
    """A move in doubt, shown as such, and decided by a person in place of a host that is silent."""

    def in_doubt(self):
        self.crash(qemu=False)
        self.a.start()
        self.await_that(lambda: "in doubt" in self.a.cli("job", "vm", json=False), "A asks B")

    def resolve(self, *words):
        return self.a.run("job", "resolve", "vm", *words)

    def test_shown_and_kept(self):
        self.in_doubt()
        for _ in range(2):
            self.assertEqual(self.a.vm("vm")["state"], "in_doubt")
            self.assertTrue(self.a.cli("job", "vm")["progress"]["in_doubt"])
            self.assertIn("in doubt", self.a.cli("list", json=False))
            for word in "resume", "start", "destroy", "undefine":
                self.assertIn("job resolve", self.a.cli_fails(word, "vm").stderr)
            self.assertIn("point of return", self.a.cli_fails("abort", "vm").stderr)
            self.a.restart()
            self.await_that(lambda: "in doubt" in self.a.cli("job", "vm", json=False), "A asks B")
        self.a.cli("host", "remove", "B", json=False)
        self.await_that(lambda: "not known here any more" in self.a.cli("job", "vm", json=False),
                        "A says what is missing")
        self.a.cli("host", "add", "bee", self.lab["B"].address, self.b.fingerprint, json=False)
        self.b.start()
        self.await_closed()
        self.a.cli("host", "remove", "bee", json=False)
        self.a.cli("host", "add", "B", self.lab["B"].address, self.b.fingerprint, json=False)
        self.assert_at_a()

    def test_runs_here(self):
        self.in_doubt()
        result = self.resolve("--runs-here", "--yes", "--json")
        self.assertEqual(result.returncode, 0, result.stderr)
        report = json.loads(result.stdout)
        self.assertEqual(report["outcome"], "failed")
        self.assertIn("decided by hand that it runs here", report["reason"])
        self.assertEqual(self.states(self.a), [])
        self.await_beats(self.heart, self.a)
        self.assertNotEqual(self.resolve("--runs-there", "--yes").returncode, 0)
        self.b.start()
        self.await_closed()
        self.assert_at_a()

    def test_runs_there(self):
        self.in_doubt()
        result = self.resolve("--runs-there", "--yes", "--json")
        self.assertEqual(result.returncode, 0, result.stderr)
        report = json.loads(result.stdout)
        self.assertEqual(report["outcome"], "completed")
        self.assertIn("decided by hand that it runs there", report["warnings"][0])
        self.assertEqual((self.a.qemus(), self.states(self.a)), ([], ["done"]))
        self.assert_shut_off(self.a)
        self.b.start()
        self.await_closed()

    def test_asks_first(self):
        self.in_doubt()
        refused = self.resolve("--runs-here")  # nobody to ask
        self.assertEqual(refused.returncode, 1)
        self.assertIn("--yes", refused.stderr)
        for answer, status in ("yes", 1), ("vm", 0):
            self.assertEqual(self.states(self.a), ["committed"])
            ours, theirs = os.openpty()
            process = self.a.popen("job", "resolve", "vm", "--runs-here", stdin=theirs,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            os.close(theirs)
            os.write(ours, answer.encode() + b"\n")
            _, said = process.communicate(timeout=PATIENCE)
            os.close(ours)
            self.assertEqual(process.returncode, status, said)
            for words in "it runs twice", "both write to its disks", "host B":
                self.assertIn(words, said)
        self.await_beats(self.heart, self.a)

    def test_not_in_doubt(self):
        self.two_agents()
        self.boot(self.a)
        self.assertIn("in doubt", self.resolve("--runs-here", "--yes").stderr)
        self.assertEqual(self.a.vm("vm")["state"], "running")


class Overtaken(MoveCase):
    """An abort that comes before the Prepare it is about."""

    def peer(self):
        """A control connection to B with A's key."""
        key, certificate = self.a.state_directory / "host.key", self.lab.directory / "host.pem"
        subprocess.run(["openssl", "req", "-x509", "-key", key, "-subj", "/", "-days", "1",
                        "-out", certificate], check=True, capture_output=True)
        context = keyless()
        context.load_cert_chain(certificate, key)
        client = self.lab["A"].socket()
        client.settimeout(PATIENCE)
        client.connect((self.lab["B"].address, PORT))
        session = context.wrap_socket(client)
        self.addCleanup(session.close)
        session.sendall(hello())
        self.assertEqual(session.recv(64), hello())
        return session

    def call(self, session, method, **parameters):
        session.sendall(json.dumps({"method": f"io.mudanza.Peer.{method}",
                                    "parameters": parameters}).encode() + b"\0")
        reply = b""
        while not reply.endswith(b"\0"):
            reply += session.recv(65536)
        return json.loads(reply[:-1])

    def prepare(self, peer, job):
        return self.call(peer, "Prepare", job=job, xml=self.xml, persistent=False, running=True,
                         post_copy=False, capabilities=[], connections=1, slots=1)

    def test_prepare_after_its_end(self):
        self.two_agents()
        self.a.define(guest.bare("vm"))
        self.xml = definition(self.a, "vm")
        for method, answer in ("Abort", {}), ("Outcome", {"outcome": "aborted"}):
            with self.subTest(method), contextlib.closing(self.peer()) as peer:
                job = str(uuid.uuid4())
                self.assertEqual(self.call(peer, method, job=job)["parameters"], answer)
                reply = self.prepare(peer, job)
                self.assertIn("aborted by the source", reply["parameters"].get("message", reply))
                self.assertEqual((self.b.qemus(), self.b.vm("vm")), ([], None))
                job = str(uuid.uuid4())  # another job is none of its business
                self.assertNotIn("error", self.prepare(peer, job))
                self.assertEqual(len(self.b.qemus()), 1)
                self.assertNotIn("error", self.call(peer, method, job=job))
                self.assertEqual((self.b.qemus(), self.b.vm("vm")), ([], None))
