# SPDX-License-Identifier: Apache-2.0
"""A move that a test follows event by event, so that it can act at a certain point of it."""

from . import varlink


class Follow:
    """Starts a move over Varlink with `more`. Options as in io.mudanza's MigrateOptions.

        with Follow(a, "vm", "B", bandwidth=MIB) as move:
            move.copying()
            a.kill()
    """

    def __init__(self, agent, vm, host, **options):
        self.connection = agent.connect()
        self.connection.socket.settimeout(300)
        self._replies = self.connection.follow("Migrate", vm=vm, host=host, options=options)
        self.progress = None

    def __enter__(self):
        return self

    def __exit__(self, *_exception):
        self._replies.close()
        self.connection.close()

    def until(self, condition):
        """Waits for a progress event on which condition(progress) is true; returns it."""
        for reply in self._replies:
            if "report" in reply:
                raise AssertionError(f"the move is over too early: {reply['report']}")
            self.progress = reply["progress"]
            if condition(self.progress):
                return self.progress
        raise AssertionError("the last reply carries no report")

    def phase(self, name):
        """Waits until the move is in a phase."""
        return self.until(lambda progress: progress["phase"] == name)

    def copying(self):
        """Waits until RAM is on its way."""
        return self.until(lambda progress: progress["phase"] == "copy" and progress["ram_bytes"])

    def report(self):
        """Follows the move to its end."""
        for reply in self._replies:
            if "report" in reply:
                return reply["report"]
            self.progress = reply["progress"]
        raise AssertionError("the last reply carries no report")

    def cut_off(self):
        """Reads on until the agent is gone, in the middle of the move."""
        try:
            report = self.report()
        except (EOFError, ConnectionError, varlink.VarlinkError):
            return
        raise AssertionError(f"the move came to an end: {report}")
