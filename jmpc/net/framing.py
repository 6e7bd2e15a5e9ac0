"""Frames: what one player says to another, as the parts of one ZeroMQ message.

    part 0        msgpack [version, kind, run, slot, sizes, body]
    then          one part for every array of at least `INLINE_BYTES`, in order, without copying
    last          all smaller arrays, joined in order; absent if they hold no byte

`sizes` alone says how many parts follow and how long each is, so a receiver can check everything
before it looks at an array. A DATA frame carries arrays and no body, a control frame a body and no
arrays.

`decode` is the place where bytes of another player enter: it answers every input with a frame or a
`FrameError`. `Ledger` counts frames and bytes, so that what was sent can be compared with what was
predicted.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final

import msgpack
import numpy as np

from ..errors import FrameError
from .unpacking import unpack

VERSION: Final = 1
RUN_BYTES: Final = 16
NO_RUN: Final = bytes(RUN_BYTES)
# Below this an array costs more as a part of its own than to copy. It is pyzmq's own threshold for
# sending without a copy, and part of the wire format: both ends derive the parts from it.
INLINE_BYTES: Final = 1 << 16
_MAX_INT: Final = 1 << 63
_FIELDS: Final = 6

# How much detail a ledger keeps; totals are kept for ever.
_LEDGER_RUNS: Final = 16
_LEDGER_SLOTS: Final = 1 << 14

Buffer = bytes | memoryview | np.ndarray


class Kind(IntEnum):
    """What a frame is for."""

    DATA = 0  # arrays of one exchange of a run
    HELLO = 1  # handshake: digests, nonces, key contributions
    SUBMIT = 2  # a computation, from a driver
    RUN = 3  # start a computation that was submitted
    DONE = 4  # this player's part of a run has ended well
    COMMIT = 5  # everybody's has: keep what it wrote
    ABORT = 6  # the run is over for everybody; the body is the reason
    STATUS = 7  # a question about a node, and its answer
    STORAGE = 8  # save variables, or load them
    PING = 9  # is a player there?
    PONG = 10  # it is, in this version
    KEY = 11  # for large arrays beside CURVE; the transport's own
    STEP = 12  # where a script is that all players run, and how its steps end


# Every frame passes here: before Python 3.12 each look at a member of an enumeration is a call.
_KINDS: Final = tuple(Kind)
_DATA: Final = Kind.DATA


@dataclass(frozen=True)
class Limits:
    """Upper bounds on what a player accepts in one frame and keeps waiting.

    `max_pending_bytes` bounds what one peer may have delivered to one run and nobody has received
    yet; `max_early_bytes` and `early_seconds` what it may deliver to runs that this player has not
    opened yet.
    """

    max_frame_bytes: int = 1 << 32
    max_arrays: int = 1 << 16
    max_parts: int = 1 << 12
    max_slot: int = 16
    max_body_bytes: int = 1 << 26
    max_pending_bytes: int = 1 << 33
    max_early_bytes: int = 1 << 26
    early_seconds: float = 60.0
    max_control_frames: int = 1 << 10

    @property
    def max_header_bytes(self) -> int:
        """The longest part 0: a msgpack integer takes at most 9 bytes."""
        return self.max_body_bytes + 9 * (self.max_arrays + self.max_slot) + 64


@dataclass(frozen=True)
class Header:
    """What a frame says about itself.

    `slot` is the position of the exchange in the program (loop counters and depth), `sizes` the
    bytes of each array.
    """

    kind: Kind
    run: bytes = NO_RUN
    slot: tuple[int, ...] = ()
    sizes: tuple[int, ...] = ()
    body: bytes = field(default=b"", repr=False)  # a HELLO's holds key material
    version: int = VERSION


def encode(header: Header, buffers: Sequence[Buffer] = (), limits: Limits = Limits()) -> list[bytes | memoryview]:
    """The parts of a frame. Large arrays are views of the caller's memory, not copies.

    The sizes are taken from the buffers; `header.sizes` may be left empty.

    Raises:
        FrameError: the header's sizes are not the buffers', or a receiver with these limits would
            refuse the frame.
    """
    views = [_as_bytes(buffer) for buffer in buffers]
    sizes = tuple([view.nbytes for view in views])
    if header.sizes and header.sizes != sizes:
        raise FrameError(f"the header announces arrays of {header.sizes} bytes, the buffers hold {sizes}")
    fields = (header.version, int(header.kind), header.run, header.slot, sizes, header.body)
    _check_fields(fields, limits)
    parts: list[bytes | memoryview] = [msgpack.packb(fields)]
    small = []
    for view in views:
        (small if view.nbytes < INLINE_BYTES else parts).append(view)
    if joined := b"".join(small):
        parts.append(joined)
    _check_total(sum(map(len, parts)), len(parts), limits)
    return parts


def decode(parts: Sequence[Any], limits: Limits = Limits()) -> tuple[Header, list[memoryview]]:
    """The header and the arrays of a frame, as read-only views of the received parts.

    A view of a small array may start at any address, so a NumPy array made of it may be unaligned.

    Raises:
        FrameError: for everything that is not a well-formed frame within the limits; nothing else.
    """
    views = [memoryview(part).toreadonly() for part in parts]
    if not views:
        raise FrameError("a frame without parts")
    _check_total(sum(map(len, views)), len(views), limits)
    header = _decode_header(views[0], limits)
    return header, _split(header.sizes, views[1:])


def part_sizes(head: bytes, limits: Limits = Limits()) -> list[int]:
    """The bytes of each part that follows `head`, the first part of a frame.

    Raises:
        FrameError: as `decode`, which still has to see the whole frame.
    """
    sizes = _expected(_decode_header(memoryview(head), limits).sizes)
    _check_total(len(head) + sum(sizes), 1 + len(sizes), limits)
    return sizes


def _decode_header(part: memoryview, limits: Limits) -> Header:
    if part.nbytes > limits.max_header_bytes:
        raise FrameError(f"a header of {part.nbytes} bytes, at most {limits.max_header_bytes} are allowed")
    try:
        fields = unpack(
            part,
            most_elements=3 + _FIELDS + limits.max_arrays + limits.max_slot,
            use_list=False,
            max_bin_len=max(RUN_BYTES, limits.max_body_bytes),
            max_array_len=max(_FIELDS, limits.max_arrays, limits.max_slot),
            max_str_len=0,
            max_map_len=0,
        )
    except ValueError as error:
        raise FrameError(f"a header that is {error}") from None
    _check_fields(fields, limits)
    version, kind, run, slot, sizes, body = fields
    return Header(_KINDS[kind], run, slot, sizes, body, version)


def _check_fields(fields: Any, limits: Limits) -> None:
    if type(fields) is not tuple or len(fields) != _FIELDS:
        raise FrameError(f"a header is an array of {_FIELDS} fields")
    version, kind, run, slot, sizes, body = fields
    if type(version) is not int or version != VERSION:
        raise FrameError(f"frame version {_brief(version)}, here it is {VERSION}: install the same jmpc")
    if type(kind) is not int or not 0 <= kind < len(_KINDS):
        raise FrameError(f"unknown frame kind {_brief(kind)}")
    if type(run) is not bytes or len(run) != RUN_BYTES:
        raise FrameError(f"a run id is {RUN_BYTES} bytes")
    _check_ints("slot", slot, limits.max_slot)
    _check_ints("sizes", sizes, limits.max_arrays)
    if type(body) is not bytes or len(body) > limits.max_body_bytes:
        raise FrameError(f"a body is bytes, at most {limits.max_body_bytes} of them")
    if kind == _DATA and body:
        raise FrameError("a DATA frame has no body")
    if kind != _DATA and sizes:
        raise FrameError("a control frame has no arrays")


def _check_ints(name: str, value: Any, most: int) -> None:
    if type(value) is not tuple or len(value) > most:
        raise FrameError(f"{name} is an array of at most {most} integers")
    for item in value:
        if type(item) is not int or not 0 <= item < _MAX_INT:
            raise FrameError(f"{name} has an item that is no integer from 0 to 2^63 - 1")


def _check_total(nbytes: int, parts: int, limits: Limits) -> None:
    if parts > limits.max_parts:
        raise FrameError(f"a frame of {parts} parts, at most {limits.max_parts} are allowed")
    if nbytes > limits.max_frame_bytes:
        raise FrameError(f"a frame of {nbytes} bytes, at most {limits.max_frame_bytes} are allowed")


def _split(sizes: tuple[int, ...], parts: list[memoryview]) -> list[memoryview]:
    """The arrays in order, if the parts are exactly those that the sizes call for."""
    expected = _expected(sizes)
    if [part.nbytes for part in parts] != expected:
        raise FrameError(f"the header announces {len(expected)} parts, {sum(expected)} bytes; other parts came")
    large = iter(parts)
    joined, start = (parts[-1] if parts else memoryview(b"")), 0
    arrays = []
    for size in sizes:
        if size >= INLINE_BYTES:
            arrays.append(next(large))
        else:
            arrays.append(joined[start : start + size])
            start += size
    return arrays


def _expected(sizes: tuple[int, ...]) -> list[int]:
    """The bytes of the parts that arrays of these sizes travel in."""
    parts, small = [], 0
    for size in sizes:
        if size < INLINE_BYTES:
            small += size
        else:
            parts.append(size)
    return [*parts, small] if small else parts


def _as_bytes(buffer: Buffer) -> memoryview:
    if isinstance(buffer, np.ndarray):
        # Through uint8 rather than the buffer protocol, which does not know every dtype (bfloat16).
        return np.ascontiguousarray(buffer).reshape(-1).view(np.uint8).data
    view = memoryview(buffer)
    if not view.c_contiguous:
        raise FrameError("a buffer to send must be contiguous")
    return view.cast("B") if view.nbytes else memoryview(b"")


def _brief(value: Any) -> str:
    return str(value) if type(value) is int else type(value).__name__


@dataclass(frozen=True)
class Count:
    """Frames, the bytes of their arrays, and all their other bytes (a control frame's body)."""

    frames: int
    payload: int
    header: int


class Ledger:
    """Counts what went over a player's links in one direction; safe to use from any thread.

    Totals cover everything since the start. Details are kept for the DATA frames of the last few
    runs.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Plain lists inside, because every frame passes here.
        self._totals: dict[str, list[int]] = {}
        self._peers: dict[bytes, dict[str, list[int]]] = {}
        self._slots: dict[bytes, dict[tuple[str, tuple[int, ...]], list[int]]] = {}

    def add(self, peer: str, header: Header, head_bytes: int, array_bytes: int) -> None:
        """Count one frame to or from `peer`."""
        with self._lock:
            _bump(self._totals, peer, array_bytes, head_bytes)
            if header.kind != _DATA:
                return
            if header.run not in self._peers:
                self._begin(header.run)
            _bump(self._peers[header.run], peer, array_bytes, head_bytes)
            slots, key = self._slots[header.run], (peer, header.slot)
            if key in slots or len(slots) < _LEDGER_SLOTS:
                _bump(slots, key, array_bytes, head_bytes)

    def peers(self, run: bytes | None = None) -> dict[str, Count]:
        """By peer: everything since the start, or the DATA frames of one run."""
        with self._lock:
            counts = self._totals if run is None else self._peers.get(run, {})
            return {peer: Count(*count) for peer, count in counts.items()}

    def slots(self, run: bytes) -> dict[tuple[str, tuple[int, ...]], Count]:
        """The DATA frames of one run by peer and slot (of the first 16384 such pairs)."""
        with self._lock:
            return {key: Count(*count) for key, count in self._slots.get(run, {}).items()}

    def _begin(self, run: bytes) -> None:
        while len(self._peers) >= _LEDGER_RUNS:
            oldest = next(iter(self._peers))
            del self._peers[oldest], self._slots[oldest]
        self._peers[run], self._slots[run] = {}, {}


def _bump(table: dict[Any, list[int]], key: Any, payload: int, header: int) -> None:
    count = table.setdefault(key, [0, 0, 0])
    count[0] += 1
    count[1] += payload
    count[2] += header
