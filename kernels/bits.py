"""Words of bits: masks, shifts, single bits, halves, and the order of the bits.

Words are unsigned. One of `width` bits lies in the narrowest dtype and is zero above them. All
functions of words are linear over XOR: applied to each slot of a boolean sharing, they act on what
is shared. Those of several operations are jitted, here and in the other kernels: they are called by the
hundred while a program is traced, and so each is traced once for a shape.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import lax


def word_dtype(width: int) -> np.dtype:
    """The narrowest unsigned dtype with `width` bits (1 to 64)."""
    return np.dtype(next(f"uint{n}" for n in (8, 16, 32, 64) if width <= n))


def low_mask(bits: int, dtype: npt.DTypeLike) -> Any:
    """The word whose `bits` lowest bits are 1."""
    return np.dtype(dtype).type((1 << bits) - 1)


# -- shifts ----------------------------------------------------------------------------------------


def shift_left(x: jax.Array, k: int | jax.Array) -> jax.Array:
    """`x << k`; zero where `k` is negative or at least the width of the dtype."""
    return _shift(jnp.left_shift, x, k)


def shift_right(x: jax.Array, k: int | jax.Array) -> jax.Array:
    """The logical `x >> k`; zero where `k` is negative or at least the width of the dtype."""
    return _shift(jnp.right_shift, x, k)


def arithmetic_shift_right(x: jax.Array, k: int | jax.Array) -> jax.Array:
    """floor(x / 2^k) of `x` in two's complement; 0 or -1 where the other shifts are zero."""
    last = _width(x) - 1
    if isinstance(k, int):
        amount = k if 0 <= k <= last else last
    else:
        amount = jnp.where((k >= 0) & (k <= last), k, last)
    signed = np.dtype(f"int{last + 1}")
    shifted = lax.bitcast_convert_type(x, signed) >> jnp.asarray(amount, signed)
    return lax.bitcast_convert_type(shifted, x.dtype)


def _shift(shift: Callable[..., jax.Array], x: jax.Array, k: int | jax.Array) -> jax.Array:
    width = _width(x)
    if isinstance(k, int):
        return shift(x, x.dtype.type(k)) if 0 <= k < width else jnp.zeros_like(x)
    inside = (k >= 0) & (k < width)
    return jnp.where(inside, shift(x, jnp.where(inside, k, 0).astype(x.dtype)), x.dtype.type(0))


def _width(x: jax.Array) -> int:
    if x.dtype.kind != "u":
        raise ValueError(f"words are unsigned, not {x.dtype}.")
    return 8 * x.dtype.itemsize


# -- single bits -----------------------------------------------------------------------------------


@jax.jit(static_argnames=("place",))
def bit_at(x: jax.Array, place: int) -> jax.Array:
    """Bit `place` of each word, as uint8."""
    return ((x >> x.dtype.type(place)) & x.dtype.type(1)).astype(np.uint8)


@jax.jit(static_argnames=("mask",))
def parity(x: jax.Array, mask: int) -> jax.Array:
    """The XOR of the bits of each word that `mask` selects, as uint8."""
    return (lax.population_count(x & x.dtype.type(mask)) & x.dtype.type(1)).astype(np.uint8)


@jax.jit(static_argnames=("places",))
def spread_bits(x: jax.Array, places: range) -> jax.Array:
    """Bits `places` of each word, on a new leading axis.

    Arguments:
        x: words, unsigned[*shape].
        places: from 0 to the width of the dtype - 1.

    Returns:
        unsigned[len(places), *shape] of 0 and 1, in the dtype of `x`.
    """
    return (x[None] >> _rows(places, x.dtype, x.ndim)) & x.dtype.type(1)


@jax.jit(static_argnames=("places", "dtype"))
def gather_bits(x: jax.Array, places: range, dtype: npt.DTypeLike) -> jax.Array:
    """The words of `dtype` whose bits `places` are the rows of `x`: undoes `spread_bits`."""
    dtype = np.dtype(dtype)
    return xor_all(x.astype(dtype) << _rows(places, dtype, x.ndim - 1), 0)


def xor_all(x: jax.Array, axis: int) -> jax.Array:
    """The XOR of `x` along an axis."""
    return lax.reduce(x, x.dtype.type(0), lax.bitwise_xor, (axis,))


def _rows(values: range, dtype: np.dtype, ndim: int) -> jax.Array:
    """`values` mod 2^width, as `dtype`[len(values), 1, ...] with `ndim` axes of length one.

    Computed, because an array constant would have no holder in a choreography.
    """
    ones = int(low_mask(8 * dtype.itemsize, dtype))
    numbers = lax.broadcasted_iota(dtype, (len(values), *(1,) * ndim), 0)
    return numbers * dtype.type(values.step & ones) + dtype.type(values.start & ones)


# -- halves and order ------------------------------------------------------------------------------


@jax.jit(static_argnames=("width",))
def low_half(word: jax.Array, width: int) -> jax.Array:
    """The lower half of words of `width` bits, in the narrowest dtype."""
    return (word & low_mask(width // 2, word.dtype)).astype(word_dtype(width // 2))


@jax.jit(static_argnames=("width",))
def high_half(word: jax.Array, width: int) -> jax.Array:
    """The upper half of words of `width` bits, in the narrowest dtype."""
    return (word >> word.dtype.type(width // 2)).astype(word_dtype(width // 2))


@jax.jit(static_argnames=("width",))
def join(*words: jax.Array, width: int) -> jax.Array:
    """Words of `width` bits side by side in one word, the first lowest."""
    dtype = word_dtype(len(words) * width)
    first, *rest = (word.astype(dtype) for word in words)
    for number, word in enumerate(rest, 1):
        first = first | (word << dtype.type(number * width))
    return first


def reverse(index: int, bits: int) -> int:
    """The number whose `bits` bits are those of `index` in reverse."""
    return int(f"{index:0{bits}b}"[::-1], 2) if bits else 0


@jax.jit(static_argnames=("width",))
def reverse_indices(word: jax.Array, width: int) -> jax.Array:
    """Moves bit j of words of `width` bits, a power of two, to bit reverse(j); its own inverse.

    What was at even places is then the lower half, what was at odd places the upper half, and so on
    in each half.
    """
    kind = word.dtype.type
    top = width.bit_length() - 2
    for low in range((top + 1) // 2):
        high = top - low
        moving = sum(1 << j for j in range(width) if (j >> low) & 1 and not (j >> high) & 1)
        distance = kind((1 << high) - (1 << low))
        change = ((word >> distance) ^ word) & kind(moving)
        word = word ^ change ^ (change << distance)
    return word
