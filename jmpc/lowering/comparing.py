"""Comparisons of values: signs of differences, at the scale the operands have.

Signs do not depend on the scale, so a product is settled and not truncated to be compared. Intervals narrow the
comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from jmpc.lowering.arithmetic import subtract
from jmpc.lowering.context import Context
from jmpc.lowering.values import Boolean, FixedPoint, Integer, Public, Secret, Value
from jmpc.protocols.base import Bits, Ring

FLIP = 1 << 63  # makes unsigned 64-bit numbers comparable as signed ones


def less(context: Context, x: Value, y: Value) -> Boolean:
    """[x < y] for reals and integers of one type."""
    if isinstance(x, (Integer, Public)) and isinstance(y, (Integer, Public)) and _integers(x, y):
        return _less_integers(context, x, y)
    x, y = _apart_from_zero(context, x, y, np.floor), _apart_from_zero(context, y, x, np.ceil)
    return negative(context, subtract(context, x, y))


def _apart_from_zero(context: Context, x: Value, other: Value, away: Callable[[np.ndarray], np.ndarray]) -> Value:
    """A constant whose elements below half a step are 0 or a step, so that [0 < x] and [x < 0] are what they should be.

    Others are rounded to the nearest, as the numbers that they are compared with were: a number is not below itself.
    """
    if not (isinstance(x, Public) and x.known and isinstance(other, FixedPoint)):
        return x
    scale = 2.0 ** max(other.fraction, context.fraction)
    words = np.asarray(x.array, np.float64) * scale
    tiny = (words != 0) & (np.round(words) == 0)
    return Public(np.where(tiny, away(words), words).astype(np.float64) / scale) if tiny.any() else x


def greater(context: Context, x: Value, y: Value) -> Boolean:
    return less(context, y, x)


def invert(context: Context, x: Boolean) -> Boolean:
    """not x; not not x is x itself."""
    inverse = context.once(x, "inverse", lambda: _inverse(context, x.sharing))
    context.once(inverse, "inverse", lambda: x)
    return inverse


def complement(context: Context, x: Value) -> Value:
    """not x, of a secret or a public boolean."""
    return Public(~x.array, x.at) if isinstance(x, Public) else invert(context, x)


def _inverse(context: Context, sharing: Bits | Ring) -> Boolean:
    if isinstance(sharing, Ring):
        return Boolean(context.protocol.add_public(context.protocol.negate(sharing), 1))
    return Boolean(context.protocol.invert(sharing))


def negative(context: Context, x: Secret) -> Boolean:
    """[x < 0] of a real, or of an integer whose words are its value."""
    if isinstance(x, Boolean):
        raise TypeError("a boolean has no sign")

    def make() -> Boolean:
        settled = context.settled(x)
        return Boolean(context.protocol.sign(settled.ring, range_bits(settled)))

    return context.once(x, "negative", make)


def range_bits(x: FixedPoint | Integer) -> int:
    """The n for which the shared words are below 2^(n - 1) in magnitude."""
    if isinstance(x, Integer):
        return 64 if x.interval is None else x.interval.range_bits()
    return x.interval.range_bits(x.fraction)


def below_each(context: Context, x: FixedPoint, thresholds: Sequence[float]) -> list[Boolean]:
    """[x < t] for public real numbers t, cheaper than a comparison with each."""
    fraction = max(x.fraction, context.fraction)
    settled = context.at_fraction(x, fraction)
    words = [round(t * 2.0**fraction) for t in thresholds]
    return [Boolean(bit) for bit in context.protocol.less_than_each(settled.ring, words)]


def words_below(context: Context, x: Ring, thresholds: Sequence[int]) -> list[Boolean]:
    """[x < t] of the words themselves."""
    return [Boolean(bit) for bit in context.protocol.less_than_each(x, thresholds)]


def equal(context: Context, x: Value, y: Value) -> Boolean:
    """[x == y] for reals and integers of one type."""
    difference = subtract(context, x, y)
    if isinstance(difference, FixedPoint):
        return Boolean(context.protocol.is_zero(context.settled(difference).ring))
    ring = context.settled(difference).ring
    known = difference.interval
    limit = 1 << difference.width
    if known is None or not known.inside(-limit + 1, limit - 1):
        ring = context.protocol.scale(ring, 1 << (64 - difference.width))  # only the low bits count
    return Boolean(context.protocol.is_zero(ring))


def _integers(x: Value, y: Value) -> bool:
    return isinstance(x, Integer) or isinstance(y, Integer)


def _less_integers(context: Context, x: Value, y: Value) -> Boolean:
    x, y = (v if isinstance(v, Public) else context.extended(v) for v in (x, y))
    difference = subtract(context, x, y)
    if difference.interval is not None:
        return negative(context, difference)
    return _less_wide(context, x, y)


def _less_wide(context: Context, x: Value, y: Value) -> Boolean:
    """[x < y] of 64-bit integers whose difference may wrap: by the signs of x, y and x - y.

    With equal signs the difference does not wrap and its sign decides; otherwise the negative one is less.
    """
    protocol = context.protocol
    left, right = (_signed(context, v) for v in (x, y))
    a, b, d = (_sign(context, v) for v in (left, right, protocol.subtract(left, right)))
    differ = protocol.xor(a, b)
    return Boolean(protocol.xor(d, protocol.and_(differ, protocol.xor(a, d))))


def _signed(context: Context, x: Value) -> Ring:
    secret = context.secret(x)
    ring = context.settled(secret).ring
    return ring if secret.signed else context.protocol.add_public(ring, FLIP)


def _sign(context: Context, x: Ring) -> Bits:
    return context.protocol.sign(x)
