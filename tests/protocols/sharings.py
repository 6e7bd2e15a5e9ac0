"""Sharings for tests: made outside of any protocol, uniform given their value."""

from __future__ import annotations

import numpy as np

from jmpc.kernels.bits import word_dtype
from jmpc.protocols.base import Bits, Ring

U64 = np.uint64


def words(rng: np.random.Generator, shape: int | tuple[int, ...], width: int = 64) -> np.ndarray:
    """Uniform words of `width` bits in their narrowest dtype."""
    return rng.integers(0, (1 << width) - 1, shape, word_dtype(width), endpoint=True)


def ring(rng: np.random.Generator, x: np.ndarray) -> Ring:
    """Shares int64 or uint64 numbers."""
    a, b = words(rng, x.shape), words(rng, x.shape)
    return Ring((a, b, x.view(U64) - a - b))


def bits(rng: np.random.Generator, x: np.ndarray, width: int) -> Bits:
    """Shares words of `width` bits."""
    a, b = words(rng, x.shape, width), words(rng, x.shape, width)
    return Bits((a, b, x.astype(a.dtype) ^ a ^ b), width)


def opened(x: Ring) -> np.ndarray:
    """The value, signed."""
    a, b, c = x.slots
    return (a + b + c).view(np.int64)


def opened_bits(x: Bits) -> np.ndarray:
    a, b, c = x.slots
    word = a ^ b ^ c
    assert not (word >> word.dtype.type(x.width - 1) > 1).any()
    return word


def numbers(rng: np.random.Generator, n: int, top: int) -> np.ndarray:
    """Signed numbers of log-uniform magnitude below 2^top (63 at most), and boundary values."""
    magnitude = np.floor(2.0 ** rng.uniform(0, top - 1e-9, n)).astype(np.int64)
    x = magnitude * rng.choice([-1, 1], n) + rng.integers(-2, 3, n)
    limit = (1 << top) - 1
    x = np.clip(x, -limit, limit)
    edges = np.array([0, 1, -1, 2, -2, limit, -limit, limit - 1, 1 - limit, limit // 2])
    x[: edges.size] = edges
    return x
