"""Boolean operations on whole 64-bit words."""

from __future__ import annotations

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
    m = -(-x.size // 2)
    pad = 2 * m - x.size

    def to_pairs(slot: Array) -> Array:
        return jnp.pad(slot.reshape(-1), (0, pad)).reshape(2, m)

    def from_pairs(slot: Array) -> Array:
        return slot.reshape(-1)[: 2 * m - pad].reshape(x.shape)

    y = protocol.map(to_pairs, x)
    for level in range(_LEVELS):
        y = _level(protocol, y, 1 << level)
    return protocol.map(from_pairs, y)


def _level(protocol: Protocol, y: Bits, width: int) -> Bits:
    active = _positions(lambda i: not i & width)  # the lower halves
    lowest = _positions(lambda i: i % (2 * width) == 0)
    replicate = np.uint64((1 << width) - 1)
    shift = np.uint64(width)

    def spread(slot: Array) -> Array:
        """The lowest bit of each upper half at every position of its lower half."""
        return ((slot >> shift) & lowest) * replicate

    def join(slot: Array) -> Array:
        """The active positions of the second word, in the idle ones of the first."""
        return (slot[0] & active) | ((slot[1] & active) << shift)

    def split(slot: Array) -> Array:
        return jnp.stack([slot & active, (slot >> shift) & active])

    upper = protocol.map(spread, y)
    both = protocol.and_(protocol.map(join, y), protocol.map(join, upper))
    # a | b = a ^ b ^ (a & b)
    return protocol.map(lambda a, b, ab: a ^ b ^ split(ab), y, upper, both)


def _positions(wanted) -> np.uint64:
    return np.uint64(sum(1 << i for i in range(RING_BITS) if wanted(i)))


def leading_one(protocol: Protocol, x: Bits) -> Bits:
    """The words `x` with everything but their highest one cleared; 0 stays 0. Rounds: 6, 576 bits."""
    return protocol.map(lambda slot: slot ^ (slot >> np.uint64(1)), prefix_or(protocol, x))
