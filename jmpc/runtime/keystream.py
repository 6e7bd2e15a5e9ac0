"""Where the executor gets its keystream: one host buffer for each segment and dtype.

The address of every block is (key, op id, loop iteration, block), and a `Keystream` lives for one run
under keys that live for one run, so no block is ever made for two purposes.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from jmpc.choreography.programs import Draw
from jmpc.kernels import keystream
from jmpc.runtime.evaluate import buffer_size, keystream_layout


class Keystream(Protocol):
    """Makes the flat keystream buffers of a segment, see `keystream_layout`."""

    def buffers(self, draws: Sequence[Draw], iteration: int) -> Sequence[Any]: ...


@dataclass(frozen=True)
class HostKeystream:
    """ChaCha20 on the host, by OpenSSL.

    Args:
      keys: 32 bytes for each set of holders, sorted, as in `Draw.key`.
    """

    keys: Mapping[tuple[str, ...], bytes] = field(repr=False)

    @functools.cached_property
    def _streams(self) -> dict[tuple[str, ...], keystream.Keystream]:
        return {holders: keystream.Keystream(key) for holders, key in self.keys.items()}

    def buffers(self, draws: Sequence[Draw], iteration: int) -> list[np.ndarray]:
        made = []
        for dtype, rows in keystream_layout(draws).items():
            buffer = aligned_empty(buffer_size(rows), dtype)
            for draw, start in rows:
                if draw.padded:
                    words = buffer[start : start + draw.padded]
                    self._streams[draw.key].fill(draw.op_id, iteration, words)
            made.append(buffer)
        return made


def aligned_empty(size: int, dtype: np.dtype) -> np.ndarray:
    """A fresh array on a 64-byte boundary, which JAX takes over without a copy.

    It is filled before use, and never written again.
    """
    raw = np.empty(size * dtype.itemsize + 64, np.uint8)
    skip = -raw.ctypes.data % 64
    return raw[skip : skip + size * dtype.itemsize].view(dtype)
