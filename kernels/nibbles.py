"""Functions of the nibbles of two words c and v, as steps that they take while v grows.

A word of n nibbles, n a power of two, becomes four planes of n bits, by `bits.reverse_indices`: bit
b of nibble i lies in plane number reverse(b), at place reverse(i) of the plane. The even nibbles
are the lower half of each plane, and so on. A bit function of all nibbles is such a plane.

For nibbles c and v, a bit function f is linear over XOR in the lanes [v >= j], j = 1 .. 15:

    f(c, v) = f(c, 0) ^ xor_j (f(c, j) ^ f(c, j - 1)) [v >= j],

so that someone who knows c can apply it to lanes that are masked.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jmpc.kernels.bits import low_mask, reverse_indices, word_dtype, xor_all

NIBBLE = 4
PLANES = (0, 2, 1, 3)  # the plane that holds bit b, and the bit that plane b holds


def nibbles_for(bits: int) -> int:
    """How many nibbles `low_nibbles` takes for a number of `bits` bits: a power of two."""
    return 1 << (-(-bits // NIBBLE) - 1).bit_length()


@jax.jit(static_argnames=("bits",))
def low_nibbles(x: jax.Array, bits: int) -> jax.Array:
    """The low `bits` bits of uint64 words, on top of words of `nibbles_for(bits)` nibbles."""
    width = NIBBLE * nibbles_for(bits)
    return ((x << np.uint64(64 - bits)) >> np.uint64(64 - width)).astype(word_dtype(width))


@jax.jit(static_argnames=("n",))
def planes(word: jax.Array, n: int) -> list[jax.Array]:
    """Bits 0 to 3 of the n nibbles of each word, each a word of n bits."""
    mixed, narrow = reverse_indices(word, NIBBLE * n), word_dtype(n)
    mask = low_mask(n, narrow)
    return [(mixed >> mixed.dtype.type(plane * n)).astype(narrow) & mask for plane in PLANES]


@jax.jit(static_argnames=("n",))
def equals(bits: Sequence[jax.Array], n: int) -> jax.Array:
    """Which nibbles are a, for a = 0 .. 15 on a new leading axis, from four planes."""
    low, high = _pair_equals(bits[0], bits[1], n), _pair_equals(bits[2], bits[3], n)
    return _rows(high[:, None] & low[None])


@jax.jit(static_argnames=("n",))
def at_least(bits: Sequence[jax.Array], n: int) -> jax.Array:
    """The lanes: which nibbles are j or more, for j = 1 .. 15 on a new leading axis."""
    b0, b1, b2, b3 = bits
    ones = jnp.full_like(b0, low_mask(n, b0.dtype))
    low = jnp.stack([ones, b0 | b1, b1, b0 & b1])
    above = jnp.stack([b2 | b3, b3, b2 & b3, jnp.zeros_like(b2)])
    return _rows(above[:, None] | (_pair_equals(b2, b3, n)[:, None] & low[None]))[1:]


def _pair_equals(b0: jax.Array, b1: jax.Array, n: int) -> jax.Array:
    """Which pairs of bits spell 0, 1, 2, 3."""
    ones = low_mask(n, b0.dtype)
    not0, not1 = b0 ^ ones, b1 ^ ones
    return jnp.stack([not0 & not1, b0 & not1, not0 & b1, b0 & b1])


def _rows(grid: jax.Array) -> jax.Array:
    return grid.reshape((1 << NIBBLE, *grid.shape[2:]))


class Stepwise(NamedTuple):
    """Bit functions f of c and v for a given c, stacked: f(c, 0), and for each j whether f steps."""

    start: jax.Array  # (functions, ...): planes
    steps: jax.Array  # (functions, 15, ...)


@jax.jit(static_argnames=("n",))
def equality(bits: Sequence[jax.Array], n: int) -> Stepwise:
    """Which nibbles of c and v are equal, from the planes of c. One function."""
    equal = equals(bits, n)
    return Stepwise(equal[:1], (equal[1:] ^ equal[:-1])[None])


def sums(bits: Sequence[jax.Array], levels: Sequence[int], n: int) -> Stepwise:
    """The bits of the sum of nibbles c + v, from the planes of c: S of all levels, then D of all.

    S_l is bit l of the sum (4: the carry out); it steps where c + j = 0 mod 2^l. D_l = [c + v = -1
    mod 2^l] says whether a carry in would change it; it steps there and one before.
    """
    steps, at = jnp.flip(equals(bits, n), axis=0), {}  # row j - 1: c + j = 0 mod 16, j = 1 .. 16
    for level in range(NIBBLE, min(levels), -1):
        at[level] = steps
        steps = steps ^ jnp.roll(steps, 1 << level >> 1, axis=0)
    at[min(levels)] = steps
    rows = jnp.stack([at[level] for level in levels])
    steps = jnp.concatenate([rows[:, :-1], rows[:, :-1] ^ rows[:, 1:]])
    zero = jnp.zeros_like(bits[0])
    sums = jnp.stack([zero if level == NIBBLE else bits[level] for level in levels])
    # Without v, D_l is what S_l does at 1: c = -1 mod 2^l.
    return Stepwise(jnp.concatenate([sums, rows[:, 0]]), steps)


@jax.jit
def advance(steps: jax.Array, lanes: jax.Array) -> jax.Array:
    """f(c, v) ^ f(c, 0) from the lanes of v, (functions, ...). c may have more axes, in front."""
    ones = (1,) * (steps.ndim - 1 - lanes.ndim)
    return xor_all(steps & lanes.reshape(1, lanes.shape[0], *ones, *lanes.shape[1:]), 1)
