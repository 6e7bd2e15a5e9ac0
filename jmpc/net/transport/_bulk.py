"""Large arrays beside CURVE: sealed with AES-256-GCM under keys that travelled over CURVE.

CURVE's cipher carries about half a gigabyte a second on one core; AES, which processors have instructions for, carries
many times that. A player may therefore listen at a second port, where large frames come in messages of two parts:

    the key's id | a counter | what this is
    what it says, sealed: the counter is the nonce, the first part is authenticated as well

    sender -> receiver  KEY    over CURVE: the frame's run is the key's id, its body a fresh key of 32 bytes
    receiver -> sender  KEY    over CURVE: the same id, the body `KNOWN`
    sender -> receiver  PROBE  at the port: nothing, sealed
    receiver -> sender  KEY    over CURVE: the same id, the body `READY`; the port can be reached, the key may be used
    sender -> receiver  BEGIN  at the port: part 0 of a frame, which says how long the others are
    sender -> receiver  PIECE  at the port: the next bytes of the parts, `PIECE_BYTES` of one part at most
    receiver -> sender  KEY    over CURVE: the same id, the body `LOST`; messages are missing, use another key

The port itself knows nobody, and does not have to. A message opens only if it was sealed under a key, and a key came
over a link that proved its sender; that player is the sender of the frame. A sender seals every message of a key under
a counter of its own, so no nonce is used twice; a receiver takes them in their order only, so a message that is
repeated or held back is refused, and after one that is missing the key opens nothing any more. What was put together is
then judged as every other frame is. Who watches or breaks these connections learns how much is sent and may keep it
from arriving, as with CURVE.
"""

from __future__ import annotations

import math
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

import numpy as np
import zmq
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ...errors import FrameError
from ..framing import RUN_BYTES, Header, Kind, Limits, part_sizes

BULK_BYTES: Final = 1 << 18  # a frame that holds fewer bytes of arrays goes the usual way
PIECE_BYTES: Final = 1 << 20
KEY_BYTES: Final = 32
KNOWN, READY, LOST = b"known", b"ready", b"lost"
_COUNTER_BYTES: Final = 8
_HEAD_BYTES: Final = RUN_BYTES + _COUNTER_BYTES + 1
_TAG_BYTES: Final = 16
_NONCE_BYTES: Final = 12
# Under one key: a terabyte, far from where AES-GCM wears out, and more than are ever on their way, so that a receiver
# which remembers two keys of a sender has that of every message.
_MOST_MESSAGES: Final = 1 << 20
_WAITING_HERE: Final = 64  # messages of one sender: more would only take memory
_WAITING_THERE: Final = 1 << 12  # at the sender, as many as the largest frame has, so that it leaves the sender's hands
_ANSWER_SECONDS: Final = 1.0  # between two answers about one key
_RETRY_SECONDS: Final = 30.0  # before a port that did not answer is tried again
_TICK_MS: Final = 100


class What(IntEnum):
    """What a message at the second port is."""

    PROBE = 0
    BEGIN = 1
    PIECE = 2


class Lane:
    """The sender's side: one key, and the socket for what is sealed under it. Used under its link's lock.

    Arguments:
        dealer: connected to the second port of the receiver; the lane closes it.
        connections: how often the link had been up when this was made; a receiver that came back knows no key.
    """

    def __init__(self, dealer: zmq.Socket, connections: int) -> None:
        self.dealer, self.connections = dealer, connections
        self.known = False  # to the receiver
        self.probed = False
        self.ready = False  # and the port can be reached
        self.lost = False
        self.sending = False  # a frame
        self._id = secrets.token_bytes(RUN_BYTES)
        self._key = AESGCM(key := secrets.token_bytes(KEY_BYTES))
        self.offer = Header(Kind.KEY, self._id, body=key)
        self._offered = time.monotonic()
        self._counter = 0
        # Finds out whether the port can be reached. Made once: what does not leave must not use up a number.
        self.probe = self._sealed(What.PROBE, b"")

    def usable(self, connections: int) -> bool:
        """Whether this is still the lane to use, or to wait for."""
        waiting = time.monotonic() - self._offered < _RETRY_SECONDS
        fresh = self.connections == connections and self._counter < _MOST_MESSAGES
        return fresh and not self.lost and not self.sending and (self.ready or waiting)

    def told(self, header: Header) -> None:
        """Takes in what the receiver says of a key."""
        if header.run == self._id:
            self.known |= header.body == KNOWN
            self.ready |= header.body == READY
            self.lost |= header.body == LOST

    def messages(self, parts: Sequence[bytes | memoryview]) -> Iterator[list[bytes]]:
        """A frame, message by message, each sealed when it is asked for: while it is sent the next one is made."""
        yield self._sealed(What.BEGIN, parts[0])
        for part in parts[1:]:
            for start in range(0, len(part), PIECE_BYTES):
                yield self._sealed(What.PIECE, part[start : start + PIECE_BYTES])

    def _sealed(self, what: What, data: bytes | memoryview) -> list[bytes]:
        counter, self._counter = self._counter, self._counter + 1
        head = self._id + counter.to_bytes(_COUNTER_BYTES, "big") + bytes([what])
        return [head, self._key.encrypt(_nonce(counter), data, head)]

    def close(self, linger_ms: int) -> None:
        """Close the socket; what was sent has `linger_ms` to leave."""
        self.dealer.close(linger_ms)


@dataclass
class _Incoming:
    """The receiver's side of one key, and the frame that is coming in under it."""

    sender: str
    id: bytes
    key: AESGCM = field(repr=False)
    counter: int = 0
    answered: float = -math.inf  # when its sender was last told something of it
    lost: bool = False
    parts: list[memoryview] = field(default_factory=list)
    place: tuple[int, int] = (0, 0)  # the part, and the byte in it, where the next piece goes

    def begin(self, head: bytes, limits: Limits) -> None:
        sizes = part_sizes(head, limits)
        # Memory that is not written yet takes none: what a frame announces costs its sender the sending.
        self.parts = [memoryview(head), *(np.empty(size, np.uint8).data for size in sizes)]
        self.place = (1, 0)

    def add(self, piece: bytes) -> None:
        index, start = self.place
        if not 0 < index < len(self.parts) or not 0 < len(piece) <= self.parts[index].nbytes - start:
            self.parts = []
            raise FrameError("a piece that belongs to no frame")
        end = start + len(piece)
        self.parts[index][start:end] = piece
        self.place = (index, end) if end < self.parts[index].nbytes else (index + 1, 0)

    def answer(self, body: bytes) -> Header | None:
        """What to say of the key; nothing so soon after the last time."""
        now = time.monotonic()
        if now - self.answered < _ANSWER_SECONDS:
            return None
        self.answered = now
        return Header(Kind.KEY, self.id, body=body)

    def take(self) -> list[memoryview] | None:
        """The frame, once all of it is there."""
        if not self.parts or self.place[0] < len(self.parts):
            return None
        parts, self.parts = self.parts, []
        return parts


class Bulk:
    """What has come in at the second port, by key; `take` may be called from one thread, all else from any."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._keys: dict[bytes, _Incoming] = {}

    def learn(self, sender: str, key_id: bytes, key: bytes) -> None:
        """A key that `sender` told over its link. What it sealed under the one before may still be on its way."""
        with self._lock:
            if key_id not in self._keys:  # an id is as random as a key: nobody hits another's by chance
                for old in [old for old, it in self._keys.items() if it.sender == sender][:-1]:
                    del self._keys[old]
                self._keys[key_id] = _Incoming(sender, key_id, AESGCM(key))

    def forget(self, sender: str) -> None:
        """The keys of `sender` open nothing any more."""
        with self._lock:
            for key_id in [key_id for key_id, it in self._keys.items() if it.sender == sender]:
                del self._keys[key_id]

    def take(self, message: Sequence[memoryview]) -> Arrived:
        """Takes in one message.

        Raises:
            FrameError: for everything that is no message of a key that is known, in its turn; nothing else.
        """
        if len(message) != 2 or message[0].nbytes != _HEAD_BYTES or message[1].nbytes > PIECE_BYTES + _TAG_BYTES:
            raise FrameError("a message of the wrong form")
        head = message[0].tobytes()
        key_id, counter, what = _fields(head)
        with self._lock:
            coming = self._keys.get(key_id)
        if coming is None:
            raise FrameError("a message under an unknown key")
        try:
            said = coming.key.decrypt(_nonce(counter), message[1], head)
        except InvalidTag:
            raise FrameError("a message that does not open") from None
        if counter < coming.counter:
            raise FrameError("a message that came before")
        if counter > coming.counter or coming.lost:
            coming.lost, coming.parts = True, []
            return Arrived(coming.sender, answer=coming.answer(LOST))
        coming.counter += 1
        if what == What.PROBE:
            return Arrived(coming.sender, answer=coming.answer(READY))
        if what == What.BEGIN:
            coming.begin(said, self._limits)
        else:
            coming.add(said)
        return Arrived(coming.sender, coming.take())


@dataclass(frozen=True)
class Arrived:
    """Of whom a message came; a whole frame if it was the last of one; what to tell the sender over the usual link."""

    sender: str
    parts: list[memoryview] | None = None
    answer: Header | None = None


class Port:
    """The second port of a player, and the thread that reads it.

    Arguments:
        router: bound to the port; it is closed by who made it, after `close`.
        arrived: called for every message that was taken in.
        refused: called with why, for every other one.
    """

    def __init__(
        self,
        name: str,
        router: zmq.Socket,
        limits: Limits,
        arrived: Callable[[Arrived], None],
        refused: Callable[[str], None],
    ) -> None:
        self.bulk = Bulk(limits)
        self._router, self._arrived, self._refused = router, arrived, refused
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name=f"jmpc-bulk-{name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop reading."""
        self._closed = True
        self._thread.join()

    def _serve(self) -> None:
        while not self._closed:
            try:
                if not self._router.poll(_TICK_MS):
                    continue
                _, *message = self._router.recv_multipart(zmq.NOBLOCK, copy=False)
                self._arrived(self.bulk.take([frame.buffer for frame in message]))
            except FrameError as error:
                self._refused(str(error))
            except zmq.ContextTerminated:
                break
            except Exception as error:  # whatever a peer made happen, the others must still be read
                self._refused(type(error).__name__)


def listening(socket: zmq.Socket) -> zmq.Socket:
    """Bounds what a second port takes in of a player before it is read.

    Not of a stranger that connects: ZeroMQ does not bound the parts of one message.
    """
    socket.setsockopt(zmq.MAXMSGSIZE, PIECE_BYTES + _TAG_BYTES)
    socket.set_hwm(_WAITING_HERE)
    return socket


def sending(socket: zmq.Socket) -> zmq.Socket:
    """Bounds what waits for another's second port."""
    socket.set_hwm(_WAITING_THERE)
    return socket


def _nonce(counter: int) -> bytes:
    return counter.to_bytes(_NONCE_BYTES, "big")


def _fields(head: bytes) -> tuple[bytes, int, int]:
    if head[-1] > max(What):
        raise FrameError("a message of an unknown kind")
    return head[:RUN_BYTES], int.from_bytes(head[RUN_BYTES:-1], "big"), head[-1]
