"""A witness at the cipher: notes every block of keystream that a player of this process makes."""

from __future__ import annotations

import functools
import hashlib
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jmpc.choreography.needs import TOGETHER
from jmpc.kernels import chacha20, keystream
from jmpc.kernels.keystream import BLOCK_BYTES
from jmpc.runtime import device_keystream
from jmpc.runtime.compiler import _options
from jmpc.runtime.party import Party

Address = tuple[str, int, int, int]  # a digest of the key, op id, iteration, stream
Note = Callable[[Address, Sequence[int], int], None]  # an address, its block counters, the bytes that they give


class Cipher:
    """What each player has made. Two holders of a key both make its blocks; nobody makes one twice."""

    def __init__(self) -> None:
        self.blocks: dict[str, dict[Address, set[int]]] = defaultdict(lambda: defaultdict(set))  # by player
        self.bytes: Counter[str] = Counter()  # by player
        self.repeated: list[tuple[str, Address]] = []
        self._here = threading.local()
        self._lock = threading.Lock()

    @contextmanager
    def playing(self, player: str) -> Iterator[None]:
        """What this thread makes now is made by `player`; otherwise it is all players' as one."""
        self._here.player = player
        try:
            yield
        finally:
            del self._here.player

    def note(self, address: Address, counters: Sequence[int], size: int) -> None:
        player = getattr(self._here, "player", TOGETHER)
        with self._lock:
            made = self.blocks[player][address]
            if not made.isdisjoint(counters):
                self.repeated.append((player, address))
            made.update(counters)
            self.bytes[player] += size

    def keys(self, player: str) -> set[str]:
        return {key for key, *_ in self.blocks[player]}


def watch(patch: pytest.MonkeyPatch) -> Cipher:
    """The witness of all that is made from now on, on the host and in compiled functions."""
    made = Cipher()
    patch.setattr(keystream, "Keystream", watched_keystream(made.note))
    patch.setattr(device_keystream, "_gather", functools.partial(_noted, made.note))
    play = Party.play

    def played(party: Party, *args: Any) -> Any:
        with made.playing(party.me):
            return play(party, *args)

    patch.setattr(Party, "play", played)
    return made


def watched_keystream(note: Note) -> type[keystream.Keystream]:
    """The cipher of the host, that says first what it will make."""

    class Watched(keystream.Keystream):
        def __init__(self, key):
            super().__init__(key)
            self.key = _digest(key)

        def fill(self, op_id, iteration, out, stream=0):
            note((self.key, op_id, iteration, stream), range(-(-out.nbytes // BLOCK_BYTES)), out.nbytes)
            super().fill(op_id, iteration, out, stream)

    return Watched


def _digest(key: bytes) -> str:
    return hashlib.sha256(key).hexdigest()


def _noted(note: Note, *operands: Any, count: int, dtype: np.dtype) -> jax.Array:
    with _TRACING:
        words, addresses = _compiled()(*operands, count=count, dtype=dtype)
    for key, op_id, iteration, counter in zip(*map(np.asarray, addresses), strict=True):
        note((_digest(key.tobytes()), int(op_id), int(iteration), 0), [int(counter)], BLOCK_BYTES)
    return words


_PRODUCTION = device_keystream._gather
_TRACING = threading.Lock()  # of `_with_addresses`, which patches a module


@functools.cache
def _compiled() -> Any:
    """Compiled quickly: a machine without an accelerator needs seconds for each size otherwise."""
    return jax.jit(_with_addresses, static_argnames=("count", "dtype"), compiler_options=_options(quickly=True))


def _with_addresses(*operands: Any, count: int, dtype: np.dtype) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """What `device_keystream` compiles, with another result: the addresses that the cipher is given in there."""
    blocks, given = chacha20.blocks, []

    def watched(key, counters, op_ids, iteration):
        given.append((jnp.stack(key, axis=1), op_ids, jnp.broadcast_to(iteration, op_ids.shape), counters))
        return blocks(key, counters, op_ids, iteration)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chacha20, "blocks", watched)
        words = _PRODUCTION.__wrapped__(*operands, count=count, dtype=dtype)
    (addresses,) = given
    return words, addresses
