"""Words of n nibbles as four planes of n bits, and the functions of nibbles that addition needs.

The planes of a word of 4n bits (n a power of two) come from reversing the index of each bit, which
is its own inverse and takes a few masked swaps. Bit b of nibble i then lies in plane number
reverse(b), at place reverse(i) of the plane. So the even nibbles are the low half of a plane, and,
of those, again: a tree over neighbours takes halves of words.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from jmpc.kernels.bits import low_mask
from jmpc.protocols.base import RING_BITS, Array, word_dtype

NIBBLE = 4
VALUES = 1 << NIBBLE
PLANES = (0, 2, 1, 3)  # the plane that holds bit b, and the bit that plane b holds


def nibbles_for(bits: int) -> int:
    """How many nibbles `low_nibbles` takes for a number of `bits` bits."""
    return 1 << (-(-bits // NIBBLE) - 1).bit_length()


def low_nibbles(x: Array, bits: int) -> Array:
    """The low `bits` bits of uint64 `x`, on top of a word of `nibbles_for(bits)` nibbles."""
    size = NIBBLE * nibbles_for(bits)
    word = (x << np.uint64(RING_BITS - bits)) >> np.uint64(RING_BITS - size)
    return word.astype(word_dtype(size))


def reverse(index: int, bits: int) -> int:
    """The number whose `bits` bits are those of `index` in reverse."""
    return int(f"{index:0{bits}b}"[::-1], 2) if bits else 0


def reverse_indices(word: Array, size: int) -> Array:
    """Moves bit j of words of `size` bits, a power of two, to bit reverse(j)."""
    kind = word.dtype.type
    top = size.bit_length() - 2
    for low in range((top + 1) // 2):
        high = top - low
        moving = sum(1 << j for j in range(size) if (j >> low) & 1 and not (j >> high) & 1)
        distance = kind((1 << high) - (1 << low))
        change = ((word >> distance) ^ word) & kind(moving)
        word = word ^ change ^ (change << distance)
    return word


def planes(word: Array, n: int) -> list[Array]:
    """Bits 0 to 3 of the nibbles of `word`, each a word of n bits in its narrowest dtype."""
    mixed, narrow = reverse_indices(word, NIBBLE * n), word_dtype(n)
    mask = low_mask(n, narrow)
    return [(mixed >> mixed.dtype.type(plane * n)).astype(narrow) & mask for plane in PLANES]


def equals(bits: Sequence[Array], n: int) -> Array:
    """For a = 0 .. 15, on a new leading axis: which nibbles are a."""
    low, high = _pair_equals(bits[0], bits[1], n), _pair_equals(bits[2], bits[3], n)
    return _rows(high[:, None] & low[None])


def at_least(bits: Sequence[Array], n: int) -> Array:
    """For a = 1 .. 15, on a new leading axis: which nibbles are a or more."""
    b0, b1, b2, b3 = bits
    ones = jnp.full_like(b0, (1 << n) - 1)
    low = jnp.stack([ones, b0 | b1, b1, b0 & b1])
    above = jnp.stack([b2 | b3, b3, b2 & b3, jnp.zeros_like(b2)])
    return _rows(above[:, None] | (_pair_equals(b2, b3, n)[:, None] & low[None]))[1:]


def _pair_equals(b0: Array, b1: Array, n: int) -> Array:
    """Which pairs of bits spell 0, 1, 2, 3."""
    ones = low_mask(n, b0.dtype)
    not0, not1 = b0 ^ ones, b1 ^ ones
    return jnp.stack([not0 & not1, b0 & not1, not0 & b1, b0 & b1])


def _rows(grid: Array) -> Array:
    return grid.reshape((VALUES, *grid.shape[2:]))


def carries(equal: Array, levels: Sequence[int]) -> Array:
    """Where the carries of c + v step as v grows from j - 1 to j, from `equals` of c.

    S_l is bit l of the sum of two nibbles (4: the carry out); it steps where c + j = 0 mod 2^l.
    D_l = [c + v = -1 mod 2^l] says whether a carry in would change it; it steps there and one
    before. Returns S of all levels, then D of all levels: (2 levels; j = 1 .. 15; ...).
    """
    steps, at = jnp.flip(equal, axis=0), {}  # row j - 1: c + j = 0 mod 16, for j = 1 .. 16
    for level in range(NIBBLE, min(levels), -1):
        at[level] = steps
        steps = steps ^ jnp.roll(steps, 1 << level >> 1, axis=0)
    at[min(levels)] = steps
    rows = jnp.stack([at[level] for level in levels])
    return jnp.concatenate([rows[:, :-1], rows[:, :-1] ^ rows[:, 1:]])
