"""Orders and what follows from them: comparisons, extrema, relu, absolute value, clipping.

Nothing here depends on the number of fractional bits: all operands of a comparison have one scale, thresholds
are integers at that scale. Differences must stay below 2^63 in magnitude, and below 2^(range_bits - 1)
where `range_bits` is given, which makes comparisons cheaper. Signs cost 5 rounds and 632 bits at 64 bits.
"""

from __future__ import annotations

import enum

import jax.numpy as jnp
import numpy as np

from jmpc.protocols.base import RING_BITS, Array, Bits, Protocol, Ring


def less_than(protocol: Protocol, x: Ring, y: Ring, range_bits: int = RING_BITS) -> Bits:
    """[x < y], shapes broadcast. Rounds: 5, 632 bits."""
    return protocol.sign(protocol.subtract(x, y), range_bits)


def greater_than(protocol: Protocol, x: Ring, y: Ring, range_bits: int = RING_BITS) -> Bits:
    """[x > y]. Rounds: 5, 632 bits."""
    return less_than(protocol, y, x, range_bits)


def less_equal(protocol: Protocol, x: Ring, y: Ring, range_bits: int = RING_BITS) -> Bits:
    """[x <= y]. Rounds: 5, 632 bits."""
    return protocol.invert(less_than(protocol, y, x, range_bits))


def greater_equal(protocol: Protocol, x: Ring, y: Ring, range_bits: int = RING_BITS) -> Bits:
    """[x >= y]. Rounds: 5, 632 bits."""
    return protocol.invert(less_than(protocol, x, y, range_bits))


def equal(protocol: Protocol, x: Ring, y: Ring) -> Bits:
    """[x == y], of the words: fixed-point values that were rounded apart differ. Rounds: 5, 557 bits."""
    return protocol.is_zero(protocol.subtract(x, y))


def not_equal(protocol: Protocol, x: Ring, y: Ring) -> Bits:
    """[x != y]. Rounds: 5, 557 bits."""
    return protocol.invert(equal(protocol, x, y))


def maximum(protocol: Protocol, x: Ring, y: Ring, range_bits: int = RING_BITS) -> Ring:
    """The larger of x and y, exactly. Rounds: 6, 1080 bits."""
    difference = protocol.subtract(y, x)
    smaller = protocol.sign(protocol.negate(difference), range_bits)
    return protocol.add(x, protocol.inject(smaller, difference))


def minimum(protocol: Protocol, x: Ring, y: Ring, range_bits: int = RING_BITS) -> Ring:
    """The smaller of x and y, exactly. Rounds: 6, 1080 bits."""
    difference = protocol.subtract(y, x)
    return protocol.add(x, protocol.inject(protocol.sign(difference, range_bits), difference))


def relu(protocol: Protocol, x: Ring, range_bits: int = RING_BITS) -> Ring:
    """max(x, 0), exactly. Rounds: 6, 1080 bits."""
    return relu_with_mask(protocol, x, range_bits)[0]


def relu_with_mask(protocol: Protocol, x: Ring, range_bits: int = RING_BITS) -> tuple[Ring, Bits]:
    """(max(x, 0), [x >= 0]); the bit is what the derivative needs. Rounds: 6, 1080 bits."""
    mask = protocol.invert(protocol.sign(x, range_bits))
    return protocol.inject(mask, x), mask


def absolute(protocol: Protocol, x: Ring, range_bits: int = RING_BITS) -> Ring:
    """|x|, exactly. Rounds: 6, 1080 bits."""
    return flip(protocol, protocol.sign(x, range_bits), x)


def flip(protocol: Protocol, bit: Bits, x: Ring) -> Ring:
    """-x where the bit is set, otherwise x. Rounds: 1, 448 bits."""
    return protocol.subtract(x, protocol.scale(protocol.inject(bit, x), 2))


def signum(protocol: Protocol, x: Ring, one: int = 1) -> Ring:
    """-one, 0 or one, by the sign of x. Rounds: 6, 1167 bits."""
    negative, not_positive = protocol.less_than_each(x, (0, 1))
    (value,) = protocol.to_ring([negative, not_positive], [[-one, -one]])
    return protocol.add_public(value, one)


def clip(protocol: Protocol, x: Ring, lower: int, upper: int) -> Ring:
    """min(max(x, lower), upper) for public integers lower <= upper at the scale of x, exactly.

    Rounds: 6, 1615 bits.
    """
    below, not_above = protocol.less_than_each(x, (lower, upper))
    inside = protocol.inject(protocol.xor(below, not_above), x)
    (limits,) = protocol.to_ring([below, not_above], [[lower, -upper]])
    return protocol.add_public(protocol.add(inside, limits), upper)


class Extremum(enum.Enum):
    """Which end of an order."""

    LARGEST = 1
    SMALLEST = -1


def reduce_max(protocol: Protocol, x: Ring, axis: int, range_bits: int = RING_BITS) -> Ring:
    """The largest along `axis`, which disappears. Rounds: 6 ceil(log2 n), (n - 1) 1080 bits."""
    return _tournament(protocol, _contestants(protocol, x, axis), Extremum.LARGEST, range_bits)[0]


def reduce_min(protocol: Protocol, x: Ring, axis: int, range_bits: int = RING_BITS) -> Ring:
    """The smallest along `axis`, which disappears. Rounds: 6 ceil(log2 n), (n - 1) 1080 bits."""
    return _tournament(protocol, _contestants(protocol, x, axis), Extremum.SMALLEST, range_bits)[0]


def argmax(protocol: Protocol, x: Ring, axis: int, range_bits: int = RING_BITS) -> Ring:
    """The position (an integer) of the first largest. Rounds: 6 ceil(log2 n), (n - 1) 1400 bits."""
    return extremum_with_index(protocol, x, axis, Extremum.LARGEST, range_bits)[1]


def argmin(protocol: Protocol, x: Ring, axis: int, range_bits: int = RING_BITS) -> Ring:
    """The position (an integer) of the first smallest. Rounds: 6 ceil(log2 n), (n - 1) 1400 bits."""
    return extremum_with_index(protocol, x, axis, Extremum.SMALLEST, range_bits)[1]


def extremum_with_index(
    protocol: Protocol,
    x: Ring,
    axis: int,
    extremum: Extremum = Extremum.LARGEST,
    range_bits: int = RING_BITS,
) -> tuple[Ring, Ring]:
    """(value, position) of the first extremum along `axis`; the position travels with its value."""
    values = _contestants(protocol, x, axis)
    positions = protocol.constant(jnp.broadcast_to(jnp.arange(x.shape[axis], dtype=np.uint64), values.shape))
    both = protocol.map(lambda a, b: jnp.concatenate([a, b]), values, positions)
    value, position = _tournament(protocol, both, extremum, range_bits)
    return value, position


def _contestants(protocol: Protocol, x: Ring, axis: int) -> Ring:
    """x with `axis` last, as the first (the compared) row on a new axis of rows."""
    if x.shape[axis] == 0:
        raise ValueError(f"an extremum along axis {axis} of shape {x.shape}, which has no element")
    return protocol.map(lambda slot: jnp.moveaxis(slot, axis, -1)[None], x)


def _tournament(protocol: Protocol, rows: Ring, extremum: Extremum, range_bits: int) -> list[Ring]:
    """The rows at the position where the first row has its extremum, the first of several.

    Neighbours meet, so that the left one of a pair always has the smaller positions, and wins a tie.
    """

    def left(slot: Array) -> Array:
        return slot[..., 0 : slot.shape[-1] - 1 : 2]

    def right(slot: Array) -> Array:
        return slot[..., 1::2]

    while rows.shape[-1] > 1:
        start = protocol.map(left, rows)
        change = protocol.map(lambda slot: right(slot) - left(slot), rows)
        # The right one wins where it is strictly larger (smaller): where -change (change) is negative.
        margin = protocol.map(lambda slot: slot[0], change)
        if extremum is Extremum.LARGEST:
            margin = protocol.negate(margin)
        wins = protocol.sign(margin, range_bits)
        winners = protocol.add(start, protocol.inject(wins, change))
        rows = _with_leftover(protocol, winners, rows)
    return [protocol.map(lambda slot, i=i: slot[i, ..., 0], rows) for i in range(rows.shape[0])]


def _with_leftover(protocol: Protocol, winners: Ring, rows: Ring) -> Ring:
    """Appends the last element of an odd number, which had no opponent."""
    if rows.shape[-1] % 2 == 0:
        return winners
    return protocol.map(lambda won, slot: jnp.concatenate([won, slot[..., -1:]], axis=-1), winners, rows)
