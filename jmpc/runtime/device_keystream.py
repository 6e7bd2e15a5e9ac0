"""Keystream made on the accelerator that uses it: the same bytes as `HostKeystream`, without the transfer."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import jax
import numpy as np

from jmpc.choreography.programs import Draw
from jmpc.kernels import chacha20
from jmpc.runtime.evaluate import keystream_layout
from jmpc.runtime.keystream import HostKeystream, Keystream

BLOCK_BYTES = 64


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
                _fill(self._keys, *self._addresses([draw for draw, _ in rows]), np.uint64(iteration), dtype=dtype)
                for dtype, rows in keystream_layout(draws).items()
            ]

    def _addresses(self, draws: Sequence[Draw]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Key, counter and operation of every block, in the order of the buffer."""
        counts = [draw.padded * draw.var.aval.dtype.itemsize // BLOCK_BYTES for draw in draws]
        keys = np.repeat(np.array([self._rows[draw.key] for draw in draws], np.uint32), counts)
        operations = np.repeat(np.array([draw.op_id for draw in draws], np.uint32), counts)
        counters = np.concatenate([np.arange(count, dtype=np.uint32) for count in counts])
        return keys, counters, operations


_fill = functools.partial(jax.jit, static_argnames="dtype")(chacha20.gather)
