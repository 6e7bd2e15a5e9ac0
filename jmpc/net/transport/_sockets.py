"""The sockets of one player: how they are made, bound, woken and closed."""

from __future__ import annotations

import errno
import threading
from typing import Final

import zmq

from ...errors import AddressTakenError, ConfigError
from ._endpoints import resolve

_HEARTBEAT_SECONDS: Final = 5
_CONNECT_SECONDS: Final = 2  # TCP's own attempts lie further and further apart


class Bell:
    """Two ends of a pair: any thread may `ring` the one, and the one thread that polls `heard` calls `hear`."""

    def __init__(self, heard: zmq.Socket, rung: zmq.Socket) -> None:
        self.heard = heard
        self._rung = rung
        self._lock = threading.Lock()
        self._rings = False

    def ring(self) -> None:
        """Make `heard` readable."""
        with self._lock:
            if self._rings:
                return
            try:
                self._rung.send(b"", zmq.NOBLOCK)
                self._rings = True
            except zmq.ZMQError:  # a shared context was ended by its owner
                pass

    def hear(self) -> None:
        """Make it so no longer."""
        with self._lock:
            self._rings = False
            self.heard.recv(zmq.NOBLOCK)


class Sockets:
    """All sockets of one player, made in one ZeroMQ context. Its owner sees to it that one thread at a time uses it.

    Arguments:
        name: the player.
        context: shared with other players of this process; None makes one, which `close` ends.
        high_water: messages that may wait at a socket.
        timeout: seconds that a player waits for another one.
    """

    def __init__(self, name: str, context: zmq.Context | None, high_water: int, timeout: float) -> None:
        self.context = context or zmq.Context(io_threads=2)
        self._own = context is None
        self._name, self._high_water, self._timeout = name, high_water, timeout
        self._kept: list[zmq.Socket] = []

    def open(self, kind: int, endpoint: str = "inproc:") -> zmq.Socket:
        """A socket for addresses like `endpoint`, not bound or connected yet."""
        made = self.open_apart(kind, endpoint)
        self.keep(made)
        return made

    def open_apart(self, kind: int, endpoint: str) -> zmq.Socket:
        """As `open`, but the caller closes it."""
        made = self.context.socket(kind)
        made.linger = 0
        made.set_hwm(self._high_water)
        if endpoint.startswith("tcp:"):
            made.setsockopt(zmq.IPV6, int("[" in endpoint))
            made.setsockopt(zmq.TCP_KEEPALIVE, 1)
            made.setsockopt(zmq.HEARTBEAT_IVL, 1000 * _HEARTBEAT_SECONDS)
            made.setsockopt(zmq.HEARTBEAT_TIMEOUT, 3000 * _HEARTBEAT_SECONDS)
            made.setsockopt(zmq.HEARTBEAT_TTL, 3000 * _HEARTBEAT_SECONDS)
            made.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
            made.setsockopt(zmq.CONNECT_TIMEOUT, 1000 * _CONNECT_SECONDS)
            # TCP repeats what nobody acknowledges less and less often: after a partition it would wait as long again.
            # So a connection on which nothing gets through is given up before a run is, and the next run has a new one.
            made.setsockopt(zmq.TCP_MAXRT, int(1000 * max(self._timeout / 2, _CONNECT_SECONDS)))
        return made

    def bind(self, made: zmq.Socket, endpoint: str) -> None:
        """Listen at `endpoint`.

        Raises:
            AddressTakenError: somebody listens there.
            ConfigError: it is not an address of this machine.
        """
        try:
            made.bind(resolve(endpoint))
        except (zmq.ZMQError, OSError) as error:
            kind = AddressTakenError if error.errno == errno.EADDRINUSE else ConfigError
            raise kind(
                f"{self._name} cannot listen at {endpoint}: {error.strerror}; "
                f"is another {self._name} running, or is this not an address of this machine?"
            ) from None

    def bell(self) -> Bell:
        """What wakes who polls these sockets."""
        heard, rung = self.open(zmq.PAIR), self.open(zmq.PAIR)
        for end in (heard, rung):  # one ring is on its way at most, but libzmq counts later than that
            end.set_hwm(0)
        address = f"inproc://jmpc.wake.{id(self)}"
        heard.bind(address)
        rung.connect(address)
        return Bell(heard, rung)

    def keep(self, made: zmq.Socket) -> None:
        """Close this one as well when all are closed."""
        self._kept.append(made)

    def release(self, made: zmq.Socket) -> None:
        """Leave it to the caller to close this one."""
        self._kept.remove(made)

    def close(self) -> None:
        """Close all; what has not left is lost."""
        for made in self._kept:
            made.close()
        if self._own:
            self.context.term()
