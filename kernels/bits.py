"""Bits inside words: masks, shifts, parity, indicators of nibble values, compression of bits.

All but `nibble_equals` are linear over XOR: applied to each slot of a boolean sharing, they act on
what is shared.
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import numpy.typing as npt
from jax import lax

_EVERY_NIBBLE = 0x1111_1111_1111_1111


def low_mask(bits: int, dtype: npt.DTypeLike) -> Any:
    """The word whose `bits` lowest bits are 1."""
    return np.dtype(dtype).type((1 << bits) - 1)


def shift_left(x: jax.Array, k: int) -> jax.Array:
    """`x << k` for any k >= 0, zero from the width of `x` on."""
    return x << x.dtype.type(k) if k < _width(x, k) else x ^ x


def shift_right(x: jax.Array, k: int) -> jax.Array:
    """The logical shift of an unsigned `x` for any k >= 0, zero from the width of `x` on."""
    return x >> x.dtype.type(k) if k < _width(x, k) else x ^ x


def arithmetic_shift_right(x: jax.Array, k: int) -> jax.Array:
    """The shift of an unsigned `x` read as two's complement, for any k >= 0: floor(x / 2^k)."""
    width = _width(x, k)
    signed = np.dtype(f"int{width}")
    shifted = lax.bitcast_convert_type(x, signed) >> signed.type(min(k, width - 1))
    return lax.bitcast_convert_type(shifted, x.dtype)


def _width(x: jax.Array, k: int = 0) -> int:
    if x.dtype.kind != "u" or k < 0:
        raise ValueError(f"words are unsigned and shifts are at least 0, not {x.dtype} and {k}.")
    return 8 * x.dtype.itemsize


def parity(x: jax.Array, mask: int) -> jax.Array:
    """The XOR of the bits of `x` that `mask` selects, as 0 or 1 in the dtype of `x`."""
    return lax.population_count(x & x.dtype.type(mask)) & x.dtype.type(1)


def nibble_equals(x: jax.Array, values: Sequence[int] = range(16)) -> jax.Array:
    """Which nibbles of `x` have a value, for several values at once.

    Arguments:
        x: uint64[*shape].
        values: numbers from 0 to 15.

    Returns:
        uint16[len(values), *shape]: bit i of word j says whether nibble i of `x` is `values[j]`.
    """
    flips = np.array([_EVERY_NIBBLE * (15 - value) for value in values], np.uint64)
    ones = x ^ flips.reshape(-1, *(1,) * x.ndim)  # a nibble of the value has become 15
    ones = ones & (ones >> np.uint64(1))
    ones = ones & (ones >> np.uint64(2))
    return compress_nibbles(ones)


def compress_nibbles(x: jax.Array) -> jax.Array:
    """Bits 0, 4, 8, ..., 60 of a uint64 as a uint16."""
    x = x & np.uint64(_EVERY_NIBBLE)
    for shift, mask in (
        (3, 0x0303_0303_0303_0303),
        (6, 0x000F_000F_000F_000F),
        (12, 0x0000_00FF_0000_00FF),
        (24, 0x0000_0000_0000_FFFF),
    ):
        x = (x | (x >> np.uint64(shift))) & np.uint64(mask)
    return x.astype(np.uint16)


def expand_nibbles(x: jax.Array) -> jax.Array:
    """The bits of a uint16 as bits 0, 4, 8, ..., 60 of a uint64: undoes `compress_nibbles`."""
    x = x.astype(np.uint64)
    for shift, mask in (
        (24, 0x0000_00FF_0000_00FF),
        (12, 0x000F_000F_000F_000F),
        (6, 0x0303_0303_0303_0303),
        (3, _EVERY_NIBBLE),
    ):
        x = (x | (x << np.uint64(shift))) & np.uint64(mask)
    return x


def evens(x: jax.Array) -> jax.Array:
    """Bits 0, 2, 4, ... of a word as its lower half; the upper half is zero."""
    width = _width(x)
    x = x & x.dtype.type(_blocks(1, width))
    size = 1
    while size < width // 2:
        x = (x | (x >> x.dtype.type(size))) & x.dtype.type(_blocks(2 * size, width))
        size *= 2
    return x


def odds(x: jax.Array) -> jax.Array:
    """Bits 1, 3, 5, ... of a word as its lower half; the upper half is zero."""
    return evens(shift_right(x, 1))


def _blocks(size: int, width: int) -> int:
    """Every other block of `size` bits set, the lowest first: 0x3333 for 2 and 16."""
    return sum(((1 << size) - 1) << start for start in range(0, width, 2 * size))
