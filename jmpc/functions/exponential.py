"""Exponentials, without a bit decomposition.

y = x log2(e) is taken apart in octaves locally on the two operands of its sharing (Kelkar, Le, Raykova and Seth,
"Secure Poisson Regression", 2022): `exp2_blocks` gives 2^y = mantissa * 2^(8q) with the mantissa in [1, 2^16) at
scale 2^46 and the one-hot of q mod 8. For each q that can occur, the mantissa truncated by 46 - f - 8q
is the result; all are truncated in parallel and a product with the one-hot picks one: 3 rounds.
Comparisons of x itself (5 rounds) put 0 and a constant in where the result leaves its range.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax.numpy as jnp

from jmpc.functions.series import Bounds, check_fraction
from jmpc.protocols.base import Array, Bits, Protocol, Ring

_LOG2_E = 1 / math.log(2.0)

_MANTISSA_SCALE = 46
_MANTISSA_OCTAVES = 16
_BLOCK = 8
_BLOCKS = 8
_LARGEST_OCTAVES = 24.5
_MULTIPLIER_BITS = 30
_LARGEST_SCALE = 56  # leaves 2^7 octaves to the angle, and 5 bits to its block number


@dataclass(frozen=True)
class Octaves:
    """Where log2 of the result lies: outside of it the result is not right, but harmless."""

    low: float
    high: float

    @property
    def blocks(self) -> range:
        """All q with 8q <= y < 8q + 16 for some y between the ends."""
        lowest = math.floor((self.low - _MANTISSA_OCTAVES) / _BLOCK) + 1
        return range(lowest, math.floor(self.high / _BLOCK) + 1)


def exp(protocol: Protocol, x: Ring, fraction: int, *, bounds: Bounds | None = None) -> Ring:
    """e^x.

    Domain: every |x| < 2^(62 - f). From e^x = 2^24.5 on (x > 16.98; 2^23.5 for f >= 24) it is that
    constant, below 2^-(f + 1) it is 0. Error at f = 18: 1.6 ulp + 2^-22.3 e^x. Rounds: 6, 6000 bits; 3
    where `bounds`, a promise about x, exclude both.
    """
    return _power(protocol, x, fraction, _LOG2_E, bounds)


def exp2(protocol: Protocol, x: Ring, fraction: int, *, bounds: Bounds | None = None) -> Ring:
    """2^x. As `exp`: constant from 2^24.5 on, 0 below 2^-(f + 1); 6 rounds, or 3 with bounds."""
    return _power(protocol, x, fraction, 1.0, bounds)


def exp_nonpositive(
    protocol: Protocol,
    x: Ring,
    fraction: int,
    out_fraction: int = 28,
    *,
    bounds: Bounds | None = None,
) -> Ring:
    """e^x for x <= 0 with more fractional bits than x has, for sums that are divided by.

    0 where e^x < 2^-out_fraction. Error: 1.6 units + 2^-22.3 e^x. Rounds: 6, or 3 where `bounds` exclude
    such an x.
    """
    check_fraction(fraction)
    octaves = Octaves(-float(out_fraction), 0.0)
    scale = _scale(fraction)
    y = protocol.scale(x, round(2.0 ** (scale - fraction) * _LOG2_E))
    core = exp2_core(protocol, y, scale, out_fraction, octaves)
    lowest = octaves.low / _LOG2_E
    if bounds is not None and bounds[0] >= lowest:
        return core
    (below,) = protocol.less_than_each(x, [round(lowest * 2**fraction)])
    return protocol.inject(protocol.invert(below), core)


def result_octaves(fraction: int) -> Octaves:
    """Where 2^y is computed rather than clamped, given the eight blocks that can be told apart."""
    low = -(fraction + 1.0)
    first = Octaves(low, low).blocks.start
    return Octaves(low, min(_LARGEST_OCTAVES, _BLOCK * (first + _BLOCKS) - 0.5))


def exp2_core(
    protocol: Protocol, y: Ring, scale: int, out_fraction: int, octaves: Octaves
) -> Ring:
    """2^(y / 2^scale) at `out_fraction` where it lies within `octaves`, garbage elsewhere. 3 rounds."""
    blocks = octaves.blocks
    assert len(blocks) <= _BLOCKS
    mantissa, one_hot = protocol.exp2_blocks(y, scale)
    shifts = [_MANTISSA_SCALE - out_fraction - _BLOCK * q for q in blocks]
    candidates = [
        protocol.truncate(mantissa, shift, signed=False)
        if shift > 0
        else protocol.scale(mantissa, 1 << -shift)
        for shift in shifts
    ]

    def in_order(slot: Array) -> Array:
        return jnp.roll(slot, -blocks.start, axis=-1)[..., : len(blocks)]

    def dot(a: Array, b: Array) -> Array:
        return jnp.sum(a * b, axis=-1)

    stacked = protocol.map(lambda *slots: jnp.stack(slots, axis=-1), *candidates)
    return protocol.settle(protocol.multiply(protocol.map(in_order, one_hot), stacked, dot))


def clamp(
    protocol: Protocol, core: Ring, below: Bits | None, not_above: Bits | None, top: int
) -> Ring:
    """`core`, but 0 where `below`, and `top` where not `not_above`; None: never. 1 round."""
    if below is None and not_above is None:
        return core
    if below is None or not_above is None:
        inside = not_above if below is None else protocol.invert(below)
    else:
        inside = protocol.xor(below, not_above)
    assert inside is not None
    core = protocol.inject(inside, core)
    if not_above is None:
        return core
    (limit,) = protocol.to_ring([not_above], [[-top]])
    return protocol.add_public(protocol.add(core, limit), top)


def _power(
    protocol: Protocol, x: Ring, fraction: int, log2_base: float, bounds: Bounds | None
) -> Ring:
    """base^x, clamped where `bounds` do not exclude it."""
    check_fraction(fraction)
    octaves = result_octaves(fraction)
    scale = _scale(fraction)
    y = protocol.scale(x, round(2.0 ** (scale - fraction) * log2_base))
    core = exp2_core(protocol, y, scale, fraction, octaves)
    low, high = octaves.low / log2_base, octaves.high / log2_base
    limits = [
        None if bounds is not None and bounds[0] >= low else round(low * 2**fraction),
        None if bounds is not None and bounds[1] < high else round(high * 2**fraction),
    ]
    wanted = [limit for limit in limits if limit is not None]
    bits = iter(protocol.less_than_each(x, wanted) if wanted else [])
    below, not_above = (None if limit is None else next(bits) for limit in limits)
    return clamp(protocol, core, below, not_above, round(2.0 ** (octaves.high + fraction)))


def _scale(fraction: int) -> int:
    return min(fraction + _MULTIPLIER_BITS, _LARGEST_SCALE)
