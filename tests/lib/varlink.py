# SPDX-License-Identifier: Apache-2.0
"""A Varlink client: JSON objects, each ended by a NUL byte, over a UNIX socket."""

import json
import socket

INTERFACE = "io.mudanza"


class VarlinkError(Exception):
    """The agent's answer to a call was an error."""

    def __init__(self, error, parameters):
        self.error = error
        self.parameters = parameters
        self.kind = parameters.get("kind")
        self.message = parameters.get("message", error)
        self.hint = parameters.get("hint")
        super().__init__(f"{error}: {parameters}")


class Connection:
    """One connection to an agent's socket."""

    def __init__(self, path, timeout=120):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(timeout)
        self.socket.connect(str(path))
        self._input = b""

    def __enter__(self):
        return self

    def __exit__(self, *_exception):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, message):
        """Sends one object as it is, also one that is not a call."""
        self.socket.sendall(json.dumps(message).encode() + b"\0")

    def receive(self):
        """The next object; EOFError when the agent hung up."""
        while b"\0" not in self._input:
            data = self.socket.recv(65536)
            if not data:
                raise EOFError("the agent closed the connection")
            self._input += data
        message, _, self._input = self._input.partition(b"\0")
        return json.loads(message)

    def _reply(self):
        reply = self.receive()
        if "error" in reply:
            raise VarlinkError(reply["error"], reply.get("parameters", {}))
        return reply

    def call(self, method, **parameters):
        """Calls a method ("List" or "org.varlink.service.GetInfo"); returns its parameters."""
        self.send({"method": _full(method), "parameters": parameters})
        return self._reply().get("parameters", {})

    def follow(self, method, **parameters):
        """Calls a method with `more` and yields the parameters of each reply to the last."""
        self.send({"method": _full(method), "parameters": parameters, "more": True})
        while True:
            reply = self._reply()
            yield reply.get("parameters", {})
            if not reply.get("continues"):
                return


def _full(method):
    return method if "." in method else f"{INTERFACE}.{method}"
