"""The way from a player to one of its peers, and what is known about its state."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

import zmq
from zmq.utils.monitor import parse_monitor_message

from ...errors import AuthenticationError, JmpcError, PeerError
from ..framing import INLINE_BYTES, encode
from ._bulk import BULK_BYTES, PIECE_BYTES, Lane
from ._mailbox import Failure, Mailbox

EVENTS: Final = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CONNECT_RETRIED
)
_TICK_MS: Final = 100
_LINGER_MS: Final = 2000  # for what was sealed under a key that is used no more
_RETRY_SECONDS: Final = 1.0  # within which ZeroMQ says that it tries again, if it does
_STRANGER: Final = "Somebody answers there, but without {}'s key, or in plain text"


def ask(peer: str, note: str) -> str:
    """What somebody who waits in vain for a peer should look at."""
    return f"is jmpc-node {peer} running there? {note}".rstrip()


class LinkClosed(JmpcError):
    """A link that was closed while somebody wanted to send."""


class Link:
    """A DEALER, the lock that makes it usable from any thread, and what its monitor said last.

    Arguments:
        me, peer: the players at its ends.
        endpoint: where `peer` listens.
        dealer: the socket, connected already.
        monitor: where ZeroMQ reports what happens to the connection; None for links inside a
        process.
        note: what was known of the link before this one, for who asks why nothing comes.
        to_bulk: makes a socket to the second port of `peer`; None if it has none.
    """

    def __init__(
        self,
        me: str,
        peer: str,
        endpoint: str,
        dealer: zmq.Socket,
        monitor: zmq.Socket | None,
        note: str = "",
        to_bulk: Callable[[], zmq.Socket] | None = None,
    ) -> None:
        self.me, self.peer, self.endpoint = me, peer, endpoint
        self.dealer, self.monitor = dealer, monitor
        self.lock = threading.Lock()  # of the dealer
        self.lane_lock = threading.Lock()
        self.closed = False
        self.refused: Failure | None = None  # why this link will never carry anything again
        self.ended = False  # it will not either, but another one may
        self.obsolete = False  # made for a key that is used no more
        self.connections = 0  # how often it has come up
        self.lane: Lane | None = None  # for large arrays
        self._to_bulk = to_bulk
        self.note = note
        # Since when the other end is there; within a process it always is.
        self.up_since: float | None = time.monotonic() if monitor is None else None
        self._lost_since: float | None = None
        self._given_up = False
        self._down_since: float | None = None  # without a word that ZeroMQ tries again

    def send(self, parts: Sequence[bytes | memoryview], timeout: float, check: Callable[[], None]) -> bool:
        """Hand a frame to ZeroMQ; False if it did not begin to leave for `timeout` seconds, or stopped for so long.

        Raises:
            AuthenticationError: the peer refuses this player's key.
            LinkClosed: use a new link.

        And whatever `check` raises, which is called before every attempt.
        """
        if self._is_bulk(parts):
            sent = self._send_sealed(parts, timeout, check)
            if sent is not None:
                return sent
        deadline = time.monotonic() + timeout
        if not self.lock.acquire(timeout=timeout):
            return False
        try:
            return self._push(self.dealer, parts, deadline, check)
        finally:
            self.lock.release()

    def _is_bulk(self, parts: Sequence[bytes | memoryview]) -> bool:
        if self._to_bulk is None or len(parts[0]) > PIECE_BYTES:
            return False
        return sum(map(len, parts[1:])) >= BULK_BYTES

    def _send_sealed(
        self, parts: Sequence[bytes | memoryview], timeout: float, check: Callable[[], None]
    ) -> bool | None:
        """As `send`, by the lane, while small frames go the other way; None if that cannot be used yet."""
        if not self.lane_lock.acquire(timeout=timeout):
            return False
        try:
            check()
            lane = self._usable_lane()
            if lane is None:
                return None
            lane.sending = True  # left as it is by whatever ends this: what comes after half a frame needs another key
            for message in lane.messages(parts):
                if not self._push(lane.dealer, message, time.monotonic() + timeout, check):
                    return False
            lane.sending = False
            return True
        finally:
            self.lane_lock.release()

    def _push(
        self, socket: zmq.Socket, parts: Sequence[bytes | memoryview], deadline: float, check: Callable[[], None]
    ) -> bool:
        while True:
            check()
            if self.refused is not None:
                raise self.refused()
            if self.closed:
                raise LinkClosed
            if _try_send(socket, parts):
                return True
            if (left := deadline - time.monotonic()) <= 0:
                return False
            socket.poll(min(int(1000 * left) + 1, _TICK_MS), zmq.POLLOUT)

    def _usable_lane(self) -> Lane | None:
        """The way for large arrays, once the port is known to be there; one is offered if need be."""
        if self.closed:
            raise LinkClosed
        if self._to_bulk is None or not self.connections:
            return None
        if self.lane is None or not self.lane.usable(self.connections):
            if self.lane is not None:
                self.lane.close(_LINGER_MS)
            self.lane = Lane(self._to_bulk(), self.connections)
            with self.lock:
                _try_send(self.dealer, encode(self.lane.offer))
        elif self.lane.known and not self.lane.probed:
            self.lane.probed = _try_send(self.lane.dealer, self.lane.probe)
        return self.lane if self.lane.ready else None

    @property
    def busy(self) -> bool:
        """Whether somebody is sending."""
        return self.lock.locked() or self.lane_lock.locked()

    @property
    def up(self) -> bool:
        """Whether the connection stands."""
        return self.up_since is not None

    def hint(self) -> str:
        """What somebody who waits in vain for the peer should know."""
        if self.up_since is not None:
            return "its link is up, so it is busy, stuck, cut off, or waits for somebody else"
        return ask(self.peer, self.note)

    def hear(self, mail: Mailbox) -> None:
        """Take in one event of the monitor; tell those who wait if it ends their hope."""
        if self.monitor is None:
            return
        event = parse_monitor_message(self.monitor.recv_multipart())["event"]
        if event == zmq.EVENT_CONNECT_RETRIED:
            self._down_since = None
            return
        was_up, self.up_since = self.up_since is not None, None
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self.up_since = time.monotonic()
            self.connections += 1
            self._lost_since, self._given_up, self._down_since, self.note = None, False, None, ""
            mail.regain(self.peer)
        elif event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            text = (
                f"{self.peer} ({self.endpoint}) does not know the key of {self.me}: give it "
                f"{self.me}.public, and run `jmpc-admin check` on both sides"
            )
            self.refused = lambda: AuthenticationError(text)
            mail.lose(self.peer, self.refused)
        elif event == zmq.EVENT_DISCONNECTED:
            self._down_since = time.monotonic()
            self._lost_since = self._down_since if was_up else self._lost_since
            self.note = self.note or ("" if was_up else _STRANGER.format(self.peer))
        elif event & EVENTS:
            self.note = _STRANGER.format(self.peer)

    def look_after(self, mail: Mailbox, now: float, lost_after: float) -> None:
        """Give the peer up if the link broke `lost_after` seconds ago and nobody came back.

        ZeroMQ never tries again where somebody has answered who does not speak its protocol, or not as
        it is spoken here: such a link has `ended`.
        """
        if self._lost_since is None:
            self.ended = self._down_since is not None and now - self._down_since > _RETRY_SECONDS
            return
        if self.up_since is not None or now - self._lost_since <= lost_after:
            return
        self._lost_since, self._given_up = None, True
        text = f"the link to {self.peer} ({self.endpoint}) broke: did jmpc-node {self.peer} end?"
        mail.lose(self.peer, lambda: PeerError(self.peer, text))

    def hope(self, mail: Mailbox) -> None:
        """Something new begins: a peer whose link broke has as long to come back as at first."""
        if self._given_up or self._lost_since is not None:
            self._lost_since, self._given_up = time.monotonic(), False
            mail.regain(self.peer)

    def close(self, linger_ms: int) -> None:
        """Close the sockets; what was sent has `linger_ms` to leave."""
        self.closed = True
        with self.lane_lock, self.lock:  # always in this order
            if self.monitor is not None:
                # Before its reader goes: libzmq would wait for one.
                self.dealer.monitor(None, 0)  # type: ignore[arg-type]
                self.monitor.close(0)
            self.dealer.close(linger_ms)
            if self.lane is not None:
                self.lane.close(linger_ms)


def _try_send(socket: zmq.Socket, parts: Sequence[bytes | memoryview]) -> bool:
    """Hand a message to ZeroMQ; False if too much waits at the socket already."""
    last = len(parts) - 1
    try:
        for index, part in enumerate(parts):
            flags = zmq.NOBLOCK if index == last else zmq.NOBLOCK | zmq.SNDMORE
            socket.send(part, flags, copy=len(part) < INLINE_BYTES)
    except zmq.Again:  # only ever for the first part: what ZeroMQ began, it finishes
        return False
    return True
