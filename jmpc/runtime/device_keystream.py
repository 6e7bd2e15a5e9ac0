"""Keystream made on the accelerator that uses it: the same bytes as `HostKeystream`, without the transfer."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence

import jax
import numpy as np

from jmpc.choreography.programs import BLOCK_BYTES, Draw
from jmpc.kernels import chacha20
from jmpc.runtime.evaluate import keystream_layout
from jmpc.runtime.keystream import HostKeystream, Keystream

# The cipher takes XLA a second to compile for each number of blocks; the host makes and sends so much in 2 ms.
_SMALL = 1 << 22  # bytes
_LARGE = 1 << 20  # blocks: numbers of blocks are powers of two up to this one, and then its multiples


def keystream_for(keys: Mapping[tuple[str, ...], bytes]) -> Keystream:
    """The keystream of one run: on the host where that computes, on the accelerator where there is one."""
    return HostKeystream(keys) if jax.default_backend() == "cpu" else DeviceKeystream(keys)


class DeviceKeystream:
    """ChaCha20 as a compiled function, one call for all draws of a segment and dtype.

    Args:
      keys: 32 bytes for each set of holders, sorted, as in `Draw.key`.
      small: the bytes of a segment's draws up to which they are made on the host.
    """

    def __init__(self, keys: Mapping[tuple[str, ...], bytes], small: int = _SMALL) -> None:
        self._rows = {holders: row for row, holders in enumerate(keys)}
        self._keys = np.stack([chacha20.key_words(key) for key in keys.values()] or [np.zeros(8, np.uint32)])
        self._host = HostKeystream(keys)
        self._small = small

    def __repr__(self) -> str:
        return f"DeviceKeystream({len(self._rows)} keys)"

    def buffers(self, draws: Sequence[Draw], iteration: int) -> Sequence[np.ndarray | jax.Array]:
        """The flat buffers of a segment, see `keystream_layout`."""
        if sum(draw.size for draw in draws) <= self._small:
            return self._host.buffers(draws, iteration)
        with jax.enable_x64(True):
            return [
                self._buffer([draw for draw, _ in rows], np.uint64(iteration), dtype)
                for dtype, rows in keystream_layout(draws).items()
            ]

    def _buffer(self, draws: Sequence[Draw], iteration: np.uint64, dtype: np.dtype) -> jax.Array:
        *starts, count = itertools.accumulate((draw.size // BLOCK_BYTES for draw in draws), initial=0)
        made = _rounded(count)
        # Rows that no block belongs to, so that few shapes are compiled; what is made beyond `count` is not used.
        spare = [np.iinfo(np.uint32).max] * (_power_of_two(len(draws)) - len(draws))
        keys = self._keys[[self._rows[draw.key] for draw in draws] + [0] * len(spare)]
        op_ids = np.array([draw.op_id for draw in draws] + [0] * len(spare), np.uint32)
        blocks = _gather(keys, op_ids, np.array(starts + spare, np.uint32), iteration, count=made, dtype=dtype)
        return _first(blocks, size=count * (BLOCK_BYTES // dtype.itemsize))


def _power_of_two(n: int) -> int:
    """The next one."""
    return 1 << max(n - 1, 0).bit_length()


def _rounded(count: int) -> int:
    """The number of blocks to make, of few for all there may be."""
    unit = min(_power_of_two(count), _LARGE)
    return -(-count // unit) * unit


_gather = jax.jit(chacha20.gather, static_argnames=("count", "dtype"))


@functools.partial(jax.jit, static_argnames="size")
def _first(blocks: jax.Array, *, size: int) -> jax.Array:
    return jax.lax.slice(blocks, (0,), (size,))
