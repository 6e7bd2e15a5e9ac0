import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jmpc.errors import FrameError
from jmpc.net.framing import INLINE_BYTES, Header, Kind, Ledger, Limits, decode, encode

RUN = bytes(range(16))
SMALL = Limits(max_frame_bytes=1 << 20, max_arrays=16, max_parts=8, max_slot=4, max_body_bytes=64)


def arrays(*sizes: int) -> list[np.ndarray]:
    return [np.arange(size, dtype=np.uint8) for size in sizes]


@pytest.mark.parametrize(
    "sizes",
    [(), (0,), (0, 0), (1, 2, 3), (INLINE_BYTES - 1, INLINE_BYTES), (3, 1 << 20, 0, 5, 1 << 17)],
)
def test_round_trip(sizes):
    sent = arrays(*sizes)
    header, received = decode(encode(Header(Kind.DATA, RUN, (7, 2**63 - 1)), sent))
    assert header == Header(Kind.DATA, RUN, (7, 2**63 - 1), sizes)
    assert [bytes(view) for view in received] == [array.tobytes() for array in sent]
    assert all(view.readonly for view in received)


def test_every_kind_of_buffer_is_its_bytes():
    numbers = np.arange(6, dtype=np.uint64).reshape(2, 3)
    buffers = [
        numbers,
        numbers.T,
        np.uint32(5)[None][0:1],
        np.array(True),
        b"ab",
        memoryview(numbers),
    ]
    _, received = decode(encode(Header(Kind.DATA, RUN), buffers))
    expected = [np.ascontiguousarray(b).tobytes() if isinstance(b, np.ndarray) else bytes(b) for b in buffers]
    assert [bytes(view) for view in received] == expected


def test_large_arrays_are_not_copied():
    large = np.zeros(INLINE_BYTES, np.uint8)
    parts = encode(Header(Kind.DATA, RUN), [b"small", large])
    assert len(parts) == 3
    assert np.shares_memory(np.frombuffer(parts[1], np.uint8), large)


def test_control_frames_carry_a_body():
    header = Header(Kind.SUBMIT, RUN, body=b"a computation")
    assert decode(encode(header)) == (header, [])


@pytest.mark.parametrize(
    ("header", "buffers", "message"),
    [
        (Header(Kind.DATA, RUN, sizes=(4,)), [b"abc"], "announces"),
        (Header(Kind.DATA, b"short"), [], "run id"),
        (Header(Kind.DATA, RUN, (-1,)), [], "slot"),
        (Header(Kind.DATA, RUN, (2**63,)), [], "slot"),
        (Header(Kind.DATA, RUN, (0,) * 5), [], "slot"),
        (Header(Kind.DATA, RUN, body=b"x"), [], "no body"),
        (Header(Kind.DONE, RUN), [b"x"], "no arrays"),
        (Header(Kind.DONE, RUN, body=bytes(65)), [], "body"),
        (Header(Kind.DATA, RUN), [b"x"] * 17, "sizes"),
        (Header(Kind.DATA, RUN), [bytes(1 << 20)], "at most"),
        (Header(Kind.DATA, RUN), [bytes(INLINE_BYTES)] * 9, "parts"),
        (Header(Kind.DATA, RUN, version=2), [], "version"),
    ],
)
def test_what_a_receiver_would_refuse_is_not_sent(header, buffers, message):
    with pytest.raises(FrameError, match=message):
        encode(header, buffers, SMALL)


def frame(**changes) -> list[bytes]:
    fields = {"version": 1, "kind": 0, "run": RUN, "slot": (), "sizes": (3,), "body": b""}
    return [msgpack.packb(list({**fields, **changes}.values())), b"abc"]


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [b""],
        frame()[:1],
        [*frame(), b""],
        [frame()[0], b"ab"],
        [frame()[0], b"abcd"],
        [frame()[0] + b"\0", b"abc"],
        [msgpack.packb([1, 0, RUN, (), (3,)]), b"abc"],
        frame(version=True),
        frame(version="1"),
        frame(kind=8),
        frame(kind=-1),
        frame(kind=False),
        frame(run=RUN[:15]),
        frame(run="0123456789abcdef"),
        frame(slot=None),
        frame(slot=(1.0,)),
        frame(slot=({},)),
        frame(slot=(2**63,)),
        frame(slot=(0,) * 5),
        frame(sizes=(3, -1)),
        frame(sizes=(True,) * 3),
        frame(sizes=(2**62, 2**62)),
        frame(sizes=3),
        frame(body="x"),
        frame(body=b"x"),
        frame(kind=1),
        [b"\x96" * 3000],
        [msgpack.packb(msgpack.Timestamp(0)), b"abc"],
        [bytes(INLINE_BYTES)] * 9,
        [bytes((1 << 20) + 1)],
    ],
)
def test_malformed_frames(parts):
    with pytest.raises(FrameError):
        decode(parts, SMALL)


def decode_or_refuse(parts: list[bytes]) -> None:
    try:
        header, received = decode(parts, SMALL)
    except FrameError:
        return
    assert tuple(view.nbytes for view in received) == header.sizes


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=4))
def test_random_bytes_give_a_frame_or_a_frame_error(parts):
    decode_or_refuse(parts)


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.binary() | st.text(),
        lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(), inner, max_size=2),
        max_leaves=12,
    ),
    st.lists(st.binary(max_size=20), max_size=3),
)
def test_any_msgpack_gives_a_frame_or_a_frame_error(value, rest):
    decode_or_refuse([msgpack.packb(value), *rest])


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_frames_give_a_frame_or_a_frame_error(data):
    parts = [bytes(part) for part in encode(Header(Kind.DATA, RUN, (1, 2)), arrays(3, 0, INLINE_BYTES, 9))]
    for _ in range(data.draw(st.integers(1, 3))):
        index = data.draw(st.integers(0, len(parts) - 1))
        part, where = bytearray(parts[index]), data.draw(st.integers(0, 60))
        match data.draw(st.sampled_from(["flip", "cut", "insert", "drop", "repeat"])):
            case "flip" if where < len(part):
                part[where] ^= data.draw(st.integers(1, 255))
            case "cut":
                del part[where:]
            case "insert":
                part[where:where] = data.draw(st.binary(max_size=12))
            case "repeat":
                parts.append(bytes(part))
        parts[index] = bytes(part)
    decode_or_refuse(parts)


def test_ledger_counts_arrays_apart_from_headers():
    ledger = Ledger()
    ledger.add("p", Header(Kind.DATA, RUN, (1,)), 20, 100)
    ledger.add("p", Header(Kind.DATA, RUN, (1,)), 20, 50)
    ledger.add("q", Header(Kind.DATA, RUN, (2,)), 20, 8)
    ledger.add("q", Header(Kind.DONE, RUN), 30, 0)
    slots = {key: (c.frames, c.payload, c.header) for key, c in ledger.slots(RUN).items()}
    assert slots == {("p", (1,)): (2, 150, 40), ("q", (2,)): (1, 8, 20)}
    assert {p: c.payload for p, c in ledger.peers(RUN).items()} == {"p": 150, "q": 8}
    assert ledger.peers()["q"].header == 50 and ledger.peers()["q"].frames == 2


def test_ledger_forgets_old_runs_but_not_totals():
    ledger = Ledger()
    for number in range(40):
        ledger.add("p", Header(Kind.DATA, bytes([number]) * 16), 1, 1)
    assert ledger.slots(bytes(16)) == {} and ledger.slots(bytes([39]) * 16) != {}
    assert ledger.peers()["p"].frames == 40
