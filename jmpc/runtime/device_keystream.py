"""Keystream made on the accelerator that uses it: the same bytes as `HostKeystream`, without the transfer."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import jax
import numpy as np

from jmpc.choreography.programs import BLOCK_BYTES, Draw
from jmpc.kernels import chacha20
from jmpc.runtime.evaluate import keystream_layout
from jmpc.runtime.keystream import HostKeystream, Keystream


def keystream_for(keys: Mapping[tuple[str, ...], bytes]) -> Keystream:
    """The keystream of one run: on the host where that computes, on the accelerator where there is one."""
    return HostKeystream(keys) if jax.default_backend() == "cpu" else DeviceKeystream(keys)


class DeviceKeystream:
    """ChaCha20 as a compiled function, one call for all draws of a segment and dtype.

    Args:
      keys: 32 bytes for each set of holders, sorted, as in `Draw.key`.
    """

    def __init__(self, keys: Mapping[tuple[str, ...], bytes]) -> None:
        self._rows = {holders: row for row, holders in enumerate(keys)}
        self._keys = np.stack([chacha20.key_words(key) for key in keys.values()] or [np.zeros(8, np.uint32)])

    def __repr__(self) -> str:
        return f"DeviceKeystream({len(self._rows)} keys)"

    def buffers(self, draws: Sequence[Draw], iteration: int) -> list[jax.Array]:
        """The flat buffers of a segment, see `keystream_layout`."""
        with jax.enable_x64(True):
            return [
                self._buffer([draw for draw, _ in rows], np.uint64(iteration), dtype)
                for dtype, rows in keystream_layout(draws).items()
            ]

    def _buffer(self, draws: Sequence[Draw], iteration: np.uint64, dtype: np.dtype) -> jax.Array:
        keys = self._keys[[self._rows[draw.key] for draw in draws]]
        op_ids = np.array([draw.op_id for draw in draws], np.uint32)
        *starts, count = itertools.accumulate((draw.size // BLOCK_BYTES for draw in draws), initial=0)
        return _gather(keys, op_ids, np.array(starts, np.uint32), iteration, count=count, dtype=dtype)


_gather = jax.jit(chacha20.gather, static_argnames=("count", "dtype"))
