# SPDX-License-Identifier: Apache-2.0
"""The other end of `mudanzad --fault-socket`: what the agents announce, and letting them go on."""

import queue
import socket
import threading


class Reached:
    """An agent is about to carry out an action; one that holds waits until it is let go."""

    def __init__(self, connection, point, action):
        self.connection = connection
        self.point = point
        self.action = action

    def let_go(self):
        self.connection.close()


class Faults:
    """Listens for announcements of any number of agents."""

    def __init__(self, path):
        self.path = path
        self._queue = queue.SimpleQueue()
        self._pending = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(path))
        self._socket.listen(16)
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self):
        while True:
            try:
                connection, _ = self._socket.accept()
                line = b""
                while not line.endswith(b"\n") and (data := connection.recv(256)):
                    line += data
            except OSError:
                return  # closed
            point, _, action = line.decode().strip().partition(" ")
            self._queue.put(Reached(connection, point, action))

    def wait(self, point, seconds):
        """The announcement for a point, also one that came earlier; TimeoutError without any."""
        for reached in self._pending:
            if reached.point == point:
                self._pending.remove(reached)
                return reached
        while True:
            try:
                reached = self._queue.get(timeout=seconds)
            except queue.Empty:
                raise TimeoutError(f"nobody came by {point} within {seconds} s") from None
            if reached.point == point:
                return reached
            self._pending.append(reached)

    def close(self):
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()
        while not self._queue.empty():
            self._pending.append(self._queue.get())
        for reached in self._pending:
            reached.let_go()


def arm(agent, faults, text):
    """Has an agent that is not started yet, or is about to be restarted, do so with faults."""
    disarm(agent)
    if text:
        agent.words += ["--fault", text, "--fault-socket", faults.path]


def disarm(agent):
    """The agent's next start is without faults."""
    while "--fault" in agent.words:
        at = agent.words.index("--fault")
        del agent.words[at:at + 4]
