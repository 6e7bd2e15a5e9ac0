"""Sums, products, powers, quotients, extrema and signs, element by element."""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np

from jmpc.choreography.primitives import local
from jmpc.functions import comparison
from jmpc.functions.normalize import known_exponents
from jmpc.functions.reciprocal import ratio, reciprocal
from jmpc.functions.roots import ratio_to_root
from jmpc.lowering import arithmetic, choosing, flooring, traits
from jmpc.lowering.comparing import equal, invert
from jmpc.lowering.context import Context
from jmpc.lowering.interval import Interval, Trust, symmetric
from jmpc.lowering.origins import Root
from jmpc.lowering.registry import rule
from jmpc.lowering.rules.integers import divide_integers
from jmpc.lowering.values import Boolean, FixedPoint, Integer, Public, Secret, Spread, Value, is_float

_QUOTIENT_SCALE = 28  # quotients of values at up to this scale need not truncate them first
_WORD_BITS = 61


@rule("add", "add_any")
def add(context: Context, x: Value, y: Value, **_: Any) -> Value:
    return arithmetic.add(context, x, y)


@rule("sub")
def sub(context: Context, x: Value, y: Value, **_: Any) -> Value:
    if isinstance(x, FixedPoint) and traits.is_peak_of(x, y):
        # the form of x that was compared, so that the difference is exactly 0 where the maximum is
        return traits.minus_peak(x, y, arithmetic.subtract(context, context.at_most(x), y))
    return arithmetic.subtract(context, x, y)


@rule("mul")
def mul(context: Context, x: Value, y: Value, **_: Any) -> Value:
    return arithmetic.multiply(context, x, y)


@rule("neg")
def neg(context: Context, x: Secret, **_: Any) -> Value:
    return arithmetic.negate(context, x)


@rule("square")
def square(context: Context, x: Secret, **_: Any) -> Value:
    return arithmetic.square(context, x)


@rule("one_minus_square")
def one_minus_square(context: Context, x: FixedPoint, **_: Any) -> Value:
    one = Public(np.ones((), x.dtype))
    return arithmetic.subtract(context, one, arithmetic.square(context, x))


@rule("abs")
def abs_(context: Context, x: Secret, **_: Any) -> Value:
    return choosing.absolute(context, extended(context, x))


@rule("sign")
def sign(context: Context, x: Secret, **_: Any) -> Value:
    x = extended(context, x)
    if isinstance(x, Integer) and not x.signed:  # 2^63 and more are not negative
        return choosing.number(context, nonzero(context, x), x.dtype)
    return choosing.sign_of(context, x)


@rule("max")
def max_(context: Context, x: Value, y: Value, **_: Any) -> Value:
    return choosing.maximum(context, x, y)


@rule("min")
def min_(context: Context, x: Value, y: Value, **_: Any) -> Value:
    return choosing.minimum(context, x, y)


@rule("clamp")
def clamp(context: Context, low: Value, x: Value, high: Value, **_: Any) -> Value:
    if isinstance(x, FixedPoint) and _scalar(low) and _scalar(high):
        return _clip(context, x, low, high)
    return choosing.minimum(context, choosing.maximum(context, x, low), high)


def _scalar(x: Value) -> bool:
    return isinstance(x, Public) and x.known and x.array.size == 1 and bool(np.isfinite(x.array).all())


def _clip(context: Context, x: FixedPoint, lower: Public, upper: Public) -> Value:
    """Both comparisons share their preparation."""
    ends = float(lower.array.reshape(())), float(upper.array.reshape(()))
    if ends[0] > ends[1]:
        return choosing.minimum(context, choosing.maximum(context, x, lower), upper)
    known = Interval(*ends).with_rounded(context.fraction)
    if x.interval.certain and x.interval.inside(known.low, known.high):
        return x
    x = context.at_fraction(x, context.fraction)
    words = [round(end * 2.0**context.fraction) for end in ends]
    if max(map(abs, words)) >= 1 << _WORD_BITS:
        return choosing.minimum(context, choosing.maximum(context, x, lower), upper)
    clipped = comparison.clip(context.protocol, x.ring, *words)
    low, high = (min(max(end, known.low), known.high) for end in (x.interval.low, x.interval.high))
    return FixedPoint(clipped, x.fraction, Interval(low, high), x.dtype)


@rule("integer_pow")
def integer_pow(context: Context, x: Secret, *, y: int, **_: Any) -> Value:
    return power(context, x, y)


def power(context: Context, x: Secret, exponent: int) -> Value:
    """x^n by squaring; of a negative n it is (1 / x)^-n, which loses nothing however small or large x is."""
    if exponent < 0:
        return power(context, divide(context, Public(np.ones((), x.dtype)), x), -exponent)
    if exponent == 0:
        return Public(np.ones(x.shape, x.dtype))
    result: Secret | None = None
    while True:
        if exponent & 1:
            result = x if result is None else arithmetic.multiply(context, result, x)
        exponent >>= 1
        if not exponent:
            assert result is not None
            return result
        x = arithmetic.square(context, x)


@rule("polynomial")
def polynomial(context: Context, x: Value, *coefficients: Value, **_: Any) -> Value:
    """a_0 + x (a_1 + x (a_2 + ...))."""
    total = coefficients[-1]
    for coefficient in reversed(coefficients[:-1]):
        total = context.secret(total) if isinstance(x, Public) else total
        total = arithmetic.add(context, arithmetic.multiply(context, total, x), coefficient)
    return total


@rule("div")
def div(context: Context, x: Value, y: Value, **_: Any) -> Value:
    if not is_float(x.dtype):
        return divide_integers(context, x, y)[0]
    return divide(context, x, y)


def divide(context: Context, x: Value, y: Value) -> Value:
    """x / y of reals."""
    if isinstance(y, Public):
        return arithmetic.multiply(context, x, _reciprocal_of_public(context, y))
    if isinstance(y.trait, Spread):  # one reciprocal for everything it was broadcast to
        shape = np.broadcast_shapes(x.shape, y.shape)
        return arithmetic.broadcast(context, divide(context, x, y.trait.of), shape)
    if isinstance(x, Public) and x.known and (np.abs(np.asarray(x.array, np.float64)) == 1).all():
        return arithmetic.multiply(context, _reciprocal(context, y), x)
    root = context.remembered(y, Root)
    if root is not None and isinstance(root.of, FixedPoint):
        return _quotient_by_root(context, context.secret(x), root.of)
    return _quotient(context, context.secret(x), y)


def _quotient_by_root(context: Context, x: FixedPoint, y: FixedPoint) -> FixedPoint:
    """x / sqrt(y): one normalisation for both."""
    f = context.fraction
    x, y = context.at_fraction(x, f), context.at_fraction(y, f)
    sharing = ratio_to_root(context.protocol, x.ring, y.ring, f, bounds=(y.interval.low, y.interval.high))
    return FixedPoint(sharing, f, symmetric(2.0 ** (33 - f), trust=Trust.PROMISED), x.dtype)


def _reciprocal_of_public(context: Context, y: Public) -> Public:
    if y.known:
        return Public(_reciprocals(context, np.asarray(y.array, np.float64)))
    player = y.at or context.first
    closed = jax.make_jaxpr(lambda v: 1.0 / v)(jax.ShapeDtypeStruct(y.shape, y.dtype))
    (inverse,) = local(closed, [context.at_player(y, player)], player, "reciprocal")
    return Public(inverse, player)


def _reciprocals(context: Context, array: np.ndarray) -> np.ndarray:
    """Of a zero among other numbers 0, as of a secret one: what is divided by it may never be selected."""
    zero = array == 0
    if not zero.any():
        return 1.0 / array
    instead = "Replace the zeros of the divisor first, x / jnp.where(y == 0, 1, y)"
    if array.ndim == 0:
        raise context.refuse("a division by a public zero, and fixed-point numbers have no infinity", instead)
    context.warn(f"{int(zero.sum())} of {array.size} public divisors are 0: these quotients are 0. {instead}")
    return np.where(zero, 0.0, 1.0 / np.where(zero, 1.0, array))


def _reciprocal(context: Context, y: FixedPoint) -> FixedPoint:
    return flooring.beside(context, y, _reciprocal_of, lambda v: 1 / np.float64(v))


def _reciprocal_of(context: Context, y: FixedPoint) -> FixedPoint:
    f = context.fraction
    y = context.at_fraction(y, f)
    bounds = (y.interval.low, y.interval.high)
    sharing = reciprocal(context.protocol, y.ring, f, bounds=bounds)
    return FixedPoint(sharing, f, _inverse(y.interval, f), y.dtype)


def _inverse(y: Interval, fraction: int) -> Interval:
    if y.low > 0:
        slack = 2.0 ** (3 - fraction)
        return Interval(0, (1 + slack) / y.low + slack, y.trust)
    return symmetric(2.0**fraction, trust=Trust.PROMISED)


def _quotient(context: Context, x: FixedPoint, y: FixedPoint) -> FixedPoint:
    """x / y at the precision's fraction, from words at one scale, whichever it is."""
    f = context.fraction
    most = 33 - f
    bits = most
    if y.interval.low > 0:
        largest = x.interval.magnitude / y.interval.low
        bits = min(most, max(1, math.frexp(largest)[1]))
    scale = _quotient_scale(context, x, y, bits)
    x, y = context.at_fraction(x, scale), context.at_fraction(y, scale)
    exponents = known_exponents((y.interval.low, y.interval.high), scale)
    sharing = ratio(context.protocol, x.ring, y.ring, f, bits, exponents)
    limit = symmetric(2.0**bits, trust=Trust.PROMISED)
    if y.interval.low > 0:
        known = x.interval * _inverse(y.interval, f)
        limit = known.clip(-(2.0**bits), 2.0**bits)
    return FixedPoint(sharing, f, limit, x.dtype)


def _quotient_scale(context: Context, x: FixedPoint, y: FixedPoint, bits: int) -> int:
    scale = max(x.fraction, y.fraction, context.fraction)
    words = max(x.interval.magnitude, y.interval.magnitude * 2.0**bits) * 2.0**scale
    return scale if scale <= _QUOTIENT_SCALE and words < 2.0**_WORD_BITS else context.fraction


def extended(context: Context, x: Secret) -> Secret:
    """Integers with their words extended to the value; others as they are."""
    return context.extended(x) if isinstance(x, Integer) else x


def nonzero(context: Context, x: Secret) -> Boolean:
    """[x != 0]."""
    return invert(context, equal(context, x, Public(np.zeros((), x.dtype))))
