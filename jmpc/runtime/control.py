"""The operator's way to a running node: a socket in its state directory, which only its own user can open.

One request for each connection, a line of JSON {"command": ..., arguments}, and one answer, {"result": ...} or
{"error": ...}. Nothing of it goes over a network, and no other player can use it.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import socket
import socketserver
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jmpc.errors import ConfigError, JmpcError
from jmpc.private_files import ANY, check_protected, make_folder

_log = logging.getLogger("jmpc.node")

_MAX_REQUEST = 1 << 16
_MAX_PATH = 100  # bytes of a socket's name, which some systems allow no more of
_SECONDS = 60.0
_LOOK_SECONDS = 0.1  # between looks whether the node has stopped

Command = Callable[..., Any]


class Control:
    """Answers commands until `close`.

    Args:
      path: of the socket; its folder is made, for this user alone.
      commands: by name; each takes its arguments as keywords and returns what JSON can hold.

    Raises:
      ConfigError: the folder is open to others.
    """

    def __init__(self, path: Path, commands: Mapping[str, Command]) -> None:
        self._path, self._server = path, None
        if not hasattr(socket, "AF_UNIX") or len(os.fsencode(path)) > _MAX_PATH:
            _log.warning("no commands of the operator: %s is no possible name of a socket here", path)
            return
        try:
            make_folder(path.parent)
        except OSError as error:
            raise ConfigError(
                f'{path.parent} cannot be made ({error.strerror}): let "state" in the configuration name a folder that '
                "this user may write to"
            ) from error
        check_protected(path.parent, ANY)
        path.unlink(missing_ok=True)  # of a node that was killed; a living one would hold this player's port
        self._server = _Server(str(path), commands)
        serve = functools.partial(self._server.serve_forever, poll_interval=_LOOK_SECONDS)
        threading.Thread(target=serve, name="jmpc-control", daemon=True).start()

    def close(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._path.unlink(missing_ok=True)
            self._server = None


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def __init__(self, path: str, commands: Mapping[str, Command]) -> None:
        self.commands = commands
        super().__init__(path, _Handler)


class _Handler(socketserver.StreamRequestHandler):
    timeout = _SECONDS

    def handle(self) -> None:
        try:
            answer = {"result": self._result()}
        except JmpcError as error:
            answer = {"error": str(error)}
        except Exception as error:
            _log.exception("a command of the operator failed")
            answer = {"error": f"{type(error).__name__}; see the node's log"}
        try:
            self.wfile.write(json.dumps(answer).encode())
        except OSError:  # who asked has gone
            pass

    def _result(self) -> Any:
        try:
            request = json.loads(self.rfile.readline(_MAX_REQUEST))
            command = request.pop("command")
        except (ValueError, TypeError, AttributeError, KeyError, OSError):
            raise ConfigError("a malformed command") from None
        assert isinstance(self.server, _Server)
        if command not in self.server.commands:
            raise ConfigError(f"no command {command!r}; known are {sorted(self.server.commands)}")
        return self.server.commands[command](**request)


def ask(path: Path, command: str, **arguments: Any) -> Any:
    """The answer of the node whose socket this is.

    Raises:
      ConfigError: no node answers there, or it refuses; with what it says.
    """
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_SECONDS)
            connection.connect(str(path))
            connection.sendall(json.dumps({"command": command, **arguments}).encode() + b"\n")
            with connection.makefile("rb") as file:
                answer = json.loads(file.read())
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"no node answers at {path} ({type(error).__name__}): is it running on this machine?"
        ) from None
    if "error" in answer:
        raise ConfigError(answer["error"])
    return answer["result"]
