"""Steps of a Sklansky parallel prefix inside a word: the carries of all positions, in a few ANDs.

Bit i of two words holds the pair (generate, propagate) of position i, as of a digit in an addition.
Each level doubles the length of the blocks of positions whose pairs are combined: at level l, the
positions with bit l in their index (the upper half of each block) take in the pair of the last
position below them,

    generate ^= propagate & generate_below,    propagate &= propagate_below.

Both products are one AND of two words, because half of the positions of each are unused:

    z = prefix_left(propagate, l) & prefix_right(generate, propagate, l)
    generate, propagate = prefix_merge(generate, propagate, z, l)

The three functions are linear over XOR, so on a boolean sharing only the AND needs a message. After
the last level propagate has no further use: there z is zero outside of the active positions.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import numpy.typing as npt


def levels(dtype: npt.DTypeLike) -> int:
    """The number of levels for words of `dtype`."""
    return (8 * np.dtype(dtype).itemsize).bit_length() - 1


def active(level: int, dtype: npt.DTypeLike) -> Any:
    """The positions that take a pair in: the upper half of each block."""
    return _positions(dtype, lambda index: index >> level & 1 == 1)


def boundary(level: int, dtype: npt.DTypeLike) -> Any:
    """The positions whose pair is taken in: the last of the lower half of each block."""
    return _positions(dtype, lambda index: index % (2 << level) == (1 << level) - 1)


def spread(x: jax.Array, level: int) -> jax.Array:
    """The boundary bit of each block, copied to all active positions of the block."""
    word = x.dtype.type
    # A bit times 2^w - 1 is w copies of it.
    return ((x & boundary(level, x.dtype)) << word(1)) * word((1 << (1 << level)) - 1)


def prefix_left(propagate: jax.Array, level: int) -> jax.Array:
    """The left operand of a level's AND."""
    here = propagate & active(level, propagate.dtype)
    return here if _is_last(level, propagate.dtype) else here | (here >> _half(level, here.dtype))


def prefix_right(generate: jax.Array, propagate: jax.Array, level: int) -> jax.Array:
    """The right operand of a level's AND."""
    below = spread(generate, level)
    if _is_last(level, generate.dtype):
        return below
    return below | (spread(propagate, level) >> _half(level, below.dtype))


def prefix_merge(generate: jax.Array, propagate: jax.Array, z: jax.Array, level: int) -> tuple[jax.Array, jax.Array]:
    """The pairs after a level, where `z` is the AND of its operands."""
    upper = active(level, z.dtype)
    lower = ~upper
    products = (z & lower) << _half(level, z.dtype)
    return generate ^ (z & upper), (propagate & lower) | products


def _half(level: int, dtype: np.dtype) -> Any:
    return dtype.type(1 << level)


def _is_last(level: int, dtype: np.dtype) -> bool:
    return level == levels(dtype) - 1


def _positions(dtype: npt.DTypeLike, chosen: Callable[[int], bool]) -> Any:
    width = 8 * np.dtype(dtype).itemsize
    return np.dtype(dtype).type(sum(1 << index for index in range(width) if chosen(index)))
