"""Boolean operations on whole 64-bit words."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jmpc.protocols.base import RING_BITS, Array, Bits, Protocol

_LEVELS = 6


def prefix_or(protocol: Protocol, x: Bits) -> Bits:
    """Bit i of the result is the or of all bits >= i of the 64-bit words `x`.

    Sklansky's network: on level w, the lower half of every block of 2^(w+1) bits takes in the lowest bit
    of the upper half, which already is the or of that half. Only 32 of the 64 positions change on a
    level, so the words of two elements share one AND. Rounds: 6, 576 bits (for an even number of words).
    """
    half = -(-x.size // 2)
    padded = 2 * half - x.size

    def ends(start: int) -> Callable[[Array], Array]:
        return lambda slot: jnp.pad(slot.reshape(-1), (0, padded))[start : start + half]

    def whole(first: Array, second: Array) -> Array:
        return jnp.concatenate([first, second])[: x.size].reshape(x.shape)

    first, second = protocol.map(ends(0), x), protocol.map(ends(half), x)
    for level in range(_LEVELS):
        first, second = _level(protocol, first, second, 1 << level)
    return protocol.map(whole, first, second)


def _level(protocol: Protocol, first: Bits, second: Bits, width: int) -> tuple[Bits, Bits]:
    upper = [protocol.map(lambda slot: _spread(slot, width), y) for y in (first, second)]
    left = protocol.map(lambda a, b: _join(a, b, width), first, second)
    right = protocol.map(lambda a, b: a | (b << np.uint64(width)), *upper)
    both = protocol.and_(left, right)
    return (
        protocol.map(lambda a, b, ab: _or(a, b, ab, 0, width), first, upper[0], both),
        protocol.map(lambda a, b, ab: _or(a, b, ab, width, width), second, upper[1], both),
    )


def _active(width: int) -> np.uint64:
    """The lower halves of all blocks."""
    return _positions(lambda i: not i & width)


@jax.jit(static_argnames=("width",))
def _spread(slot: Array, width: int) -> Array:
    """The lowest bit of each upper half, at every position of its lower half and nowhere else."""
    lowest = _positions(lambda i: i % (2 * width) == 0)
    return ((slot >> np.uint64(width)) & lowest) * np.uint64((1 << width) - 1)


@jax.jit(static_argnames=("width",))
def _join(a: Array, b: Array, width: int) -> Array:
    """The second word's active positions in the first word's idle ones."""
    return (a & _active(width)) | ((b & _active(width)) << np.uint64(width))


@jax.jit(static_argnames=("shift", "width"))
def _or(a: Array, b: Array, both: Array, shift: int, width: int) -> Array:
    """a | b = a ^ b ^ (a & b), of which the active positions of `both` >> `shift` are the last term."""
    moved = both >> np.uint64(shift) if shift else both
    return a ^ b ^ (moved & _active(width))


def _positions(wanted: Callable[[int], bool]) -> np.uint64:
    return np.uint64(sum(1 << i for i in range(RING_BITS) if wanted(i)))


def leading_one(protocol: Protocol, x: Bits) -> Bits:
    """The words `x` with everything but their highest one cleared; 0 stays 0. Rounds: 6, 576 bits."""
    return protocol.map(lambda slot: slot ^ (slot >> np.uint64(1)), prefix_or(protocol, x))
