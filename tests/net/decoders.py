"""Everything that reads bytes of somebody else, with honest samples, and what becomes of these in a hostile hand."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import msgpack
import numpy as np

import jmpc
from jmpc.api.graph import build
from jmpc.errors import AgreementError, FrameError, StorageError
from jmpc.net import ping
from jmpc.net.authors import Signature
from jmpc.net.codec import CodecError
from jmpc.net.computations import decode_computation, encode_computation
from jmpc.net.framing import RUN_BYTES, Header, Kind, Limits, decode, encode
from jmpc.net.handshake import Hello, decode_hello, encode_hello
from jmpc.net.transport._bulk import _HEAD_BYTES, Bulk, Lane
from jmpc.runtime import orders
from jmpc.runtime.orders import Order, Ready, Submission
from jmpc.runtime.saving import Answer, Part, Request, Task
from jmpc.runtime.steps import End, Over, Step
from jmpc.runtime.steps import decode as decode_word
from jmpc.runtime.store import Generation
from jmpc.storage.saved import Head, Reader, Saved, SavedVariable

RUN = bytes(range(RUN_BYTES))
KEY = bytes(range(32))
SERVERS = ("server0", "server1", "server2")


@dataclass(frozen=True)
class Decoder:
    """What reads `samples` raises `error` for whatever it does not read, and nothing else."""

    decode: Callable[[bytes], Any]
    error: type[Exception]
    samples: tuple[bytes, ...]


FOUR = jax.ShapeDtypeStruct((4,), "float32")


def _computations() -> Iterator[bytes]:
    x = jmpc.define_private_input("alice", "vector", types=FOUR)
    kept = jmpc.define_private_variable(x * 2.0)
    loop = jmpc.function(lambda v: jax.lax.scan(lambda c, r: (c * r, c), v[0], v)[1])
    layer = jmpc.function(lambda v: jax.nn.relu(jnp.dot(v.reshape(2, 2), np.ones((2, 3), np.float32))).sum())
    local = jmpc.define_local_computation("alice", lambda v: jnp.sort(v), x)
    others = [jmpc.define_private_input(who, "vector", types=FOUR, range=(-1, 2)) for who in ("alice", "carol")]
    mean = jmpc.aggregate(others, min_owners=1, deadline=2.5)
    private = jmpc.privacy.private_mean([x, x], jmpc.privacy.Gaussian(clip=1.0, noise_multiplier=2.0))
    assigned = [kept.assign(kept + x), layer(x).reveal("bob")]
    yield encode_computation(build([mean.reveal()], SERVERS, "driver", 18).computation)
    for fetches in ([x.sum().reveal()], assigned, [loop(local).reveal()], [private.reveal()]):
        yield encode_computation(build(fetches, SERVERS, "driver", 18).computation)


def _frames() -> Iterator[bytes]:
    """The parts of a frame, as one list."""
    arrays = [np.arange(5, dtype=np.uint64), np.arange(1 << 14, dtype=np.uint64), np.zeros(0, np.uint8)]
    for parts in (encode(Header(Kind.DATA, RUN, (1, 2)), arrays), encode(Header(Kind.SUBMIT, RUN, body=b"body"))):
        yield msgpack.packb([bytes(part) for part in parts])


def _decode_frame(data: bytes) -> Any:
    try:
        parts = msgpack.unpackb(data)
        parts = [part for part in parts if type(part) is bytes] if type(parts) is list else [data]
    except Exception:
        parts = [data]
    return decode(parts)


class _Sink:
    """No socket: only what would be sent matters."""

    def close(self, linger: int) -> None:
        pass


def _sealed() -> tuple[Callable[[bytes], Any], tuple[bytes, ...]]:
    """What opens a message of a second port, head and rest in one; and messages."""
    lane = Lane(_Sink(), 0)
    made = [lane.probe, *lane.messages(encode(Header(Kind.DATA, RUN, (1,)), [bytes(1 << 17)]))]

    def opened(data: bytes) -> Any:
        bulk = Bulk(Limits())
        bulk.learn("alice", lane.offer.run, lane.offer.body)
        return bulk.take([memoryview(data[:_HEAD_BYTES]), memoryview(data[_HEAD_BYTES:])])

    return opened, tuple(b"".join(message) for message in made)


def _saved() -> Saved:
    slots = {0: np.arange(3, dtype=np.uint64), 1: np.ones((2, 2), np.float32)}
    types = {slot: jax.ShapeDtypeStruct(x.shape, x.dtype) for slot, x in slots.items()}
    variable = SavedVariable("variable/a", RUN, {"alice": frozenset({"driver"})}, "float32[3] at 18 bits", types)
    return Saved(Head(RUN, 7, b"descriptor", (variable,)), {"variable/a": slots})


def _decode_saved(data: bytes) -> Saved:
    reader = Reader([data])
    return reader.arrays(head := reader.head(), [it.name for it in head.variables])


@functools.cache
def decoders() -> dict[str, Decoder]:
    """By name."""
    grants = {"alice": frozenset({"driver", "bob"})}
    generation = Generation(RUN, grants)
    hello = Hello("jmpc/1", KEY, KEY, SERVERS, (SERVERS[:2],), ())
    order = Order(RUN, RUN, grants, {"v": generation}, {"alice": frozenset({"carol"})}, {"v": "w"}, 7)
    signature = Signature("alice", bytes(64))
    saving = Request(Task.SAVE, "model", (3, RUN), b"descriptor", {"variable/a": RUN})
    loading = Request(Task.LOAD, "model", (3, RUN), b"", {"variable/a": "variable/b"})
    names = {"variable/0": "variable/a"}
    words = (Step(RUN, 3, KEY, "step 3: run", names), Over(3, "alice", "why", False, b"descriptor", names), End())
    computations = tuple(_computations())
    opened, sealed = _sealed()
    return {
        "computation": Decoder(decode_computation, CodecError, computations),
        "frame": Decoder(_decode_frame, FrameError, tuple(_frames())),
        "hello": Decoder(decode_hello, AgreementError, (encode_hello(hello, [KEY]),)),
        "order": Decoder(Order.decode, FrameError, (order.encode(),)),
        "submission": Decoder(Submission.decode, FrameError, (Submission(RUN, computations[0], signature).encode(),)),
        "signature": Decoder(Signature.decode, FrameError, (signature.encode(), Signature().encode())),
        "ready": Decoder(Ready.decode, FrameError, (Ready(frozenset({"a"}), frozenset({"b"})).encode(),)),
        "refusal": Decoder(orders.refusal, FrameError, (orders.refused("why not"),)),
        "request": Decoder(Request.decode, FrameError, tuple(r.encode(RUN)[RUN_BYTES:] for r in (saving, loading))),
        "answer": Decoder(
            Answer.decode, FrameError, (Answer(((3, RUN),), Part(b"d", {"variable/a": generation})).encode(),)
        ),
        "pong": Decoder(lambda body: ping._read(body, 0.0), FrameError, (msgpack.packb(["jmpc/1", KEY]),)),
        "word of a step": Decoder(decode_word, FrameError, tuple(word.encode() for word in words)),
        "sealed": Decoder(opened, FrameError, sealed),
        "saved": Decoder(_decode_saved, StorageError, (b"".join(bytes(piece) for piece in _saved().encode()),)),
    }


def mutant(source: random.Random, sample: bytes, other: bytes) -> bytes:
    """A sample with a few bytes changed, cut out, put in, repeated, or taken from another."""
    data = bytearray(sample)
    for _ in range(source.randrange(1, 5)):
        at, length = source.randrange(len(data) + 1), source.randrange(1, 9)
        match source.randrange(7):
            case 0 if at < len(data):
                data[at] ^= 1 << source.randrange(8)
            case 1 if at < len(data):
                data[at] = source.choice([0, 0x7F, 0x80, 0x90, 0x9F, 0xC0, 0xC1, 0xC7, 0xDC, 0xDD, 0xDF, 0xFF])
            case 2:
                del data[at : at + length]
            case 3:
                data[at:at] = source.randbytes(length)
            case 4:
                data[at:at] = data[at : at + length] * source.randrange(1, 20)
            case 5:
                start = source.randrange(len(other) + 1)
                data[at : at + length] = other[start : start + length]
            case 6:
                del data[at:]
    return bytes(data)


def mutants(seed: int, count: int) -> Iterator[tuple[Decoder, bytes]]:
    """As many hostile messages, each with what reads it."""
    source, every = random.Random(seed), list(decoders().values())
    samples = [sample for decoder in every for sample in decoder.samples]
    for number in range(count):
        decoder = every[number % len(every)]
        yield decoder, mutant(source, source.choice(decoder.samples), source.choice(samples))


def refused_or_read(decoder: Decoder, data: bytes) -> bool:
    """Whether it was read; anything but the decoder's error comes out."""
    try:
        return decoder.decode(data) is not None  # None is for what is meant for another decoder
    except decoder.error as error:
        assert len(str(error)) < 4000
        return False
