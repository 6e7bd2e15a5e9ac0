"""Carries through words of digits, in a few ANDs: the steps of two parallel prefix networks.

Two words of n bits, n a power of two, say of each digit of an addition whether it *generates* a
carry and whether it *propagates* one. Digit i has its bit at place reverse(i), see
`bits.reverse_indices`. A block of digits with one below it generates and propagates

    generate ^ propagate & generate_below,    propagate & propagate_below.

Both products of all blocks are one AND of two words, z = left & right, because half of the places
of each are unused. Everything else is linear over XOR, so on a boolean sharing only the AND needs
a message.

`tree_...` makes one digit of two neighbours, which takes the place of both in words of half the
width; at the end that digit is the word, and its carry is the carry out. `prefix_...` is a level of
Sklansky's network: in blocks of 2^(level+1) digits, each digit of the upper half takes in the last
one of the lower half; after log2 n levels, `generate` is the carry out of each digit.
"""

from typing import Any

import jax
import numpy as np

from jmpc.kernels.bits import high_half, join, low_half, low_mask, reverse

# -- the carry out of a word -----------------------------------------------------------------------


def tree_width(n: int) -> int:
    """The bits of an AND. The last one, of two digits, leaves `propagate` out."""
    return n if n > 2 else 1


@jax.jit(static_argnames=("n",))
def tree_left(propagate: jax.Array, n: int) -> jax.Array:
    """The left operand of the AND."""
    high = high_half(propagate, n)
    return join(high, high, width=n // 2) if n > 2 else high


@jax.jit(static_argnames=("n",))
def tree_right(generate: jax.Array, propagate: jax.Array, n: int) -> jax.Array:
    """The right operand of the AND."""
    low = low_half(generate, n)
    return join(low, low_half(propagate, n), width=n // 2) if n > 2 else low


@jax.jit(static_argnames=("n",))
def tree_generate(generate: jax.Array, z: jax.Array, n: int) -> jax.Array:
    """`generate` of n / 2 digits."""
    return high_half(generate, n) ^ low_half(z, n)


def tree_propagate(z: jax.Array, n: int) -> jax.Array:
    """`propagate` of n / 2 digits, without a meaning if that is 1."""
    return high_half(z, n)


# -- the carry out of each digit -------------------------------------------------------------------


@jax.jit(static_argnames=("n", "level"))
def prefix_left(propagate: jax.Array, n: int, level: int) -> jax.Array:
    """The left operand of the AND."""
    own = propagate & _upper(n, level, propagate.dtype)
    return own | (own >> _distance(n, level, own.dtype))


@jax.jit(static_argnames=("n", "level"))
def prefix_right(generate: jax.Array, propagate: jax.Array, n: int, level: int) -> jax.Array:
    """The right operand of the AND."""
    below = _from_last(propagate, n, level)
    return _from_last(generate, n, level) | (below >> _distance(n, level, below.dtype))


@jax.jit(static_argnames=("n", "level"))
def prefix_generate(generate: jax.Array, z: jax.Array, n: int, level: int) -> jax.Array:
    """`generate` after the level."""
    return generate ^ (z & _upper(n, level, z.dtype))


@jax.jit(static_argnames=("n", "level"))
def prefix_propagate(propagate: jax.Array, z: jax.Array, n: int, level: int) -> jax.Array:
    """`propagate` after the level."""
    lower = low_mask(n, z.dtype) ^ _upper(n, level, z.dtype)
    return (propagate & lower) | ((z & lower) << _distance(n, level, z.dtype))


@jax.jit(static_argnames=("n",))
def to_next_digit(word: jax.Array, n: int) -> jax.Array:
    """Moves the bit of each digit to the next one: carries out become carries in, the first 0."""
    moves: dict[int, int] = {}  # places by how far they move: log2 n distances
    for i in range(n - 1):
        here, there = _place(i, n), _place(i + 1, n)
        moves[there - here] = moves.get(there - here, 0) | 1 << here
    kind, moved = word.dtype.type, word.dtype.type(0)
    for distance, places in moves.items():
        part, far = word & kind(places), kind(abs(distance))
        moved = moved | (part << far if distance > 0 else part >> far)
    return moved


def _place(digit: int, n: int) -> int:
    return reverse(digit, n.bit_length() - 1)


def _distance(n: int, level: int, dtype: np.dtype) -> Any:
    """From a place of a lower half up to the same one of the upper half."""
    return dtype.type(n >> 1 >> level)


def _upper(n: int, level: int, dtype: np.dtype) -> Any:
    """The places of the upper halves."""
    return dtype.type(sum(1 << place for place in range(n) if place & (n >> 1 >> level)))


def _from_last(word: jax.Array, n: int, level: int) -> jax.Array:
    """The bit of the last digit of each lower half, at all places of the upper half."""
    kind, half = word.dtype.type, 1 << level
    last = sum(1 << _place(i, n) for i in range(n) if i % (2 * half) == half - 1)
    # The places of half a block are n / half apart. A bit times a sum of powers of two is copies.
    apart = n >> level
    copies = sum(1 << (k * apart + apart // 2) for k in range(half))
    return ((word & kind(last)) >> kind((half - 1) * apart)) * kind(copies)
