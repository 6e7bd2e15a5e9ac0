"""Exponentials, without a bit decomposition.

y = x log2(e) is taken apart in octaves locally on the two operands of its sharing (Kelkar, Le, Raykova and Seth,
"Secure Poisson Regression", 2022): `exp2_blocks` gives 2^y = mantissa * 2^(8q) with the mantissa in [1, 2^16) at
scale 2^46, and the one-hot of q mod 8. A public weight for each q makes a power of two out of the one-hot, and
its product with the mantissa is the result. The whole range of q does not fit into 62 bits at once, so the
q are split in groups, each with a truncated mantissa of its own (mostly two): 4 rounds. Comparisons of x
itself, which run beside (5 rounds), put 0 and a constant in where the result leaves its range.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from jmpc.functions.series import Bounds, check_fraction
from jmpc.protocols.base import Array, Bits, Protocol, Ring

_LOG2_E = 1 / math.log(2.0)

_MANTISSA_SCALE = 46
_MANTISSA_OCTAVES = 16
_BLOCK = 8
_BLOCKS = 8
_LARGEST_OCTAVES = 24.5
_PRODUCT_BITS = 61
_LEAST_PRECISION, _MOST_PRECISION = 4, 28
_MULTIPLIER_BITS = 30
_LARGEST_SCALE = 56  # leaves 2^7 octaves to the angle, and 5 bits to its block number


@dataclass(frozen=True)
class Group:
    """Blocks q that share one truncated mantissa, at `precision` fractional bits."""

    blocks: range
    precision: int


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

    def groups(self, out_fraction: int) -> list[Group]:
        """From the top: as many blocks as fit.

        A mantissa at precision g has the error 2^(8q - g), wanted below 2^-(out_fraction + 4) absolutely
        or 2^-28 relatively; times 2^(8 (q - start)) it reaches 2^(high + g - 8 start), at most 2^61.
        """
        blocks, high = self.blocks, self.high
        assert len(blocks) <= _BLOCKS
        stop, groups = blocks.stop, []
        while stop > blocks.start:
            wanted = out_fraction + 4 + _BLOCK * (stop - 1)
            precision = min(_MOST_PRECISION, max(_LEAST_PRECISION, wanted))
            start = max(blocks.start, math.ceil((high + precision - _PRODUCT_BITS) / _BLOCK))
            groups.append(Group(range(start, stop), precision))
            stop, high = start, min(high, _BLOCK * (start - 1) + _MANTISSA_OCTAVES)
        return groups


def exp(protocol: Protocol, x: Ring, fraction: int, *, bounds: Bounds | None = None) -> Ring:
    """e^x.

    Domain: every |x| < 2^(62 - f). From e^x = 2^24.5 on (x > 16.98; 2^23.5 for f >= 24) it is that
    constant, below 2^-(f + 1) it is 0. Error: 1.6 ulp + 2^-22.3 e^x. Rounds: 6, 4649 bits; 4, 3162
    bits where `bounds`, a promise about x, exclude both.
    """
    return _power(protocol, x, fraction, _LOG2_E, bounds)


def exp2(protocol: Protocol, x: Ring, fraction: int, *, bounds: Bounds | None = None) -> Ring:
    """2^x. As `exp`: constant from 2^24.5 on, 0 below 2^-(f + 1). Rounds: 6, 4649 bits; 4 with bounds."""
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

    0 where e^x < 2^-out_fraction. Error: 1.6 units + 2^-22.3 e^x. Rounds: 6, 4280 bits; 4 where `bounds`
    exclude such an x.
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


def exp2_core(protocol: Protocol, y: Ring, scale: int, out_fraction: int, octaves: Octaves) -> Ring:
    """2^(y / 2^scale) at `out_fraction` where it lies within `octaves`, garbage elsewhere. 4 rounds."""
    mantissa, one_hot = protocol.exp2_blocks(y, scale)
    parts = []
    for group in octaves.groups(out_fraction):
        blocks, precision = group.blocks, group.precision
        reduced = protocol.truncate(mantissa, _MANTISSA_SCALE - precision, signed=False)
        # 0 where another group's block is the right one
        power = protocol.map(lambda slot, blocks=blocks: _weigh(slot, blocks), one_hot)
        shift = precision - _BLOCK * blocks.start - out_fraction
        parts.append(protocol.truncate(protocol.multiply(reduced, power), shift))
    return functools.reduce(protocol.add, parts)


def _weigh(one_hot: Array, blocks: range) -> Array:
    """2^(8 (q - start)) for the q of `blocks` that is set mod 8, 0 if none is."""
    place = (jax.lax.iota(np.uint64, _BLOCKS) - np.uint64(blocks.start % _BLOCKS)) & np.uint64(_BLOCKS - 1)
    power = np.uint64(1) << (place * np.uint64(_BLOCK))
    weights = jnp.where(place < np.uint64(len(blocks)), power, np.uint64(0))
    return jnp.sum(one_hot * weights, axis=-1)


def clamp(protocol: Protocol, core: Ring, below: Bits | None, not_above: Bits | None, top: int) -> Ring:
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


def _power(protocol: Protocol, x: Ring, fraction: int, log2_base: float, bounds: Bounds | None) -> Ring:
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
