"""Smooth functions, through `jmpc.functions`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from jmpc.functions import exponential, logarithm, roots, saturating, trigonometric
from jmpc.lowering import arithmetic, flooring, traits
from jmpc.lowering.context import Context
from jmpc.lowering.interval import Interval, Trust, symmetric
from jmpc.lowering.origins import Root
from jmpc.lowering.registry import rule
from jmpc.lowering.univariate import known
from jmpc.lowering.values import Attains, FixedPoint, Public, Value
from jmpc.protocols.base import Ring

LARGEST_EXP = 2.0**24.5  # where functions.exp is cut off at f = 18
_SOFTMAX_FRACTION = 28


def apply(
    context: Context, x: FixedPoint, function: Callable[..., Ring], known: Interval, **options: Any
) -> FixedPoint:
    """An elementwise function at the precision's fraction, once for each element before a broadcast."""

    def evaluate(x: FixedPoint) -> FixedPoint:
        standard = context.at_fraction(x, context.fraction)
        sharing = function(context.protocol, standard.ring, context.fraction, **options)
        return FixedPoint(sharing, context.fraction, known, x.dtype)

    return narrowly(context, x, evaluate)


def narrowly(context: Context, x: FixedPoint, evaluate: Callable[[FixedPoint], FixedPoint]) -> FixedPoint:
    return traits.narrowly(x, evaluate, lambda of, shape: arithmetic.broadcast(context, of, shape))


def bounds(x: FixedPoint) -> tuple[float, float]:
    """The promise that `jmpc.functions` take."""
    return x.interval.low, x.interval.high


# -- exponentials and logarithms -------------------------------------------------------------------------------


@rule("exp")
def exp(context: Context, x: FixedPoint, **_: Any) -> FixedPoint:
    if isinstance(x.trait, Attains) and x.trait.value == 0.0 and x.interval.high <= 0:
        return _exp_below_peak(context, x)
    return apply(context, x, exponential.exp, _monotone(np.exp, x.interval), bounds=bounds(x))


def _exp_below_peak(context: Context, x: FixedPoint) -> FixedPoint:
    """The exponentials of a softmax: more fraction bits, and the largest of them is 1."""
    fraction = max(_SOFTMAX_FRACTION, context.fraction)
    standard = context.at_fraction(x, context.fraction)
    sharing = exponential.exp_nonpositive(
        context.protocol, standard.ring, context.fraction, fraction, bounds=(x.interval.low, 0.0)
    )
    assert isinstance(x.trait, Attains)
    return FixedPoint(sharing, fraction, Interval(0, 1), x.dtype, Attains(x.trait.axes, 1.0))


@rule("exp2")
def exp2(context: Context, x: FixedPoint, **_: Any) -> FixedPoint:
    return apply(context, x, exponential.exp2, _monotone(np.exp2, x.interval), bounds=bounds(x))


def _monotone(function: Callable[[float], float], known: Interval) -> Interval:
    """Of an exponential, which is cut off where it grows too large."""
    with np.errstate(over="ignore", under="ignore"):
        low, high = (min(float(function(end)), LARGEST_EXP) for end in (known.low, known.high))
    slack = 2.0**-16
    return Interval(max(0.0, low * (1 - slack) - slack), high * (1 + slack) + slack, known.trust)


@rule("expm1")
def expm1(context: Context, x: FixedPoint, **_: Any) -> Value:
    return arithmetic.subtract(context, exp(context, x), _constant(x, 1.0))


@rule("log")
def log(context: Context, x: FixedPoint, **_: Any) -> FixedPoint:
    return flooring.beside(context, x, _log, np.log)


def _log(context: Context, x: FixedPoint) -> FixedPoint:
    def evaluate(x: FixedPoint) -> FixedPoint:
        standard = _log_scale(context, x)
        sharing = logarithm.log(
            context.protocol,
            standard.ring,
            context.fraction,
            in_fraction=standard.fraction,
            bounds=bounds(standard),
        )
        return FixedPoint(sharing, context.fraction, _log_interval(context, x.interval), x.dtype)

    return narrowly(context, x, evaluate)


def _log_scale(context: Context, x: FixedPoint) -> FixedPoint:
    """`x` at the scale it has, if that is a little finer than usual, as in a softmax."""
    return context.at_fraction(x, x.fraction if context.fraction <= x.fraction <= 30 else context.fraction)


def _log_interval(context: Context, x: Interval) -> Interval:
    least = 2.0**-context.fraction
    low, high = (float(np.log(max(end, least))) for end in (x.low, x.high))
    slack = 2.0**-14
    return Interval(low - slack, high + slack, x.trust)


@rule("log2")
def log2(context: Context, x: FixedPoint, **_: Any) -> FixedPoint:
    known = _log_interval(context, x.interval)
    scaled = Interval(known.low * 1.5, known.high * 1.5).hull(known)
    return apply(context, x, logarithm.log2, scaled, bounds=bounds(x))


@rule("log1p")
def log1p(context: Context, x: FixedPoint, **_: Any) -> FixedPoint:
    return log(context, arithmetic.add(context, x, _constant(x, 1.0)))


# -- roots -----------------------------------------------------------------------------------------------------


@rule("sqrt")
def sqrt(context: Context, x: FixedPoint, **_: Any) -> FixedPoint:
    root = flooring.beside(context, x, _sqrt, np.sqrt)
    context.once(root, Root, lambda: Root(x))
    return root


def _sqrt(context: Context, x: FixedPoint) -> FixedPoint:
    high = float(np.sqrt(max(x.interval.high, 0.0)))
    known = Interval(0, high * 1.001 + 1e-3, x.interval.trust)
    options: dict[str, Any] = {"bounds": bounds(x)} if x.interval.high <= 2.0**26 else {}
    if x.interval.low >= 0 and not options:
        options = {"bounds": (x.interval.low, 2.0 ** (72 - 2 * context.fraction))}

    def evaluate(x: FixedPoint) -> FixedPoint:
        standard = _root_scale(context, x)
        sharing = roots.sqrt(
            context.protocol, standard.ring, context.fraction, in_fraction=standard.fraction, **options
        )
        return FixedPoint(sharing, context.fraction, known, x.dtype)

    return narrowly(context, x, evaluate)


def _root_scale(context: Context, x: FixedPoint) -> FixedPoint:
    """`x` with all the bits it has, as a sum of squares: half of the bits of a small x are those of its root.

    Not where it might be negative by rounding, which a truncation mostly hides.
    """
    exact = context.fraction <= x.fraction <= 2 * context.fraction and x.interval.low >= 0
    return context.at_fraction(x, x.fraction if exact else context.fraction)


@rule("rsqrt")
def rsqrt(context: Context, x: FixedPoint, **_: Any) -> FixedPoint:
    return flooring.beside(context, x, _rsqrt, lambda v: 1 / np.sqrt(v))


def _rsqrt(context: Context, x: FixedPoint) -> FixedPoint:
    limit = 2.0 ** (context.fraction / 2)
    if x.interval.low > 0:
        limit = min(limit, float(1 / np.sqrt(x.interval.low)) * 1.001 + 1e-3)
    return apply(context, x, roots.rsqrt, Interval(0, limit), bounds=bounds(x))


# -- saturating functions --------------------------------------------------------------------------------------


@rule("logistic")
def logistic(context: Context, x: FixedPoint, **_: Any) -> FixedPoint:
    return apply(context, x, saturating.sigmoid, _widened(0, 1, context), bounds=bounds(x))


@rule("tanh")
def tanh(context: Context, x: FixedPoint, **_: Any) -> FixedPoint:
    return apply(context, x, saturating.tanh, _widened(-1, 1, context), bounds=bounds(x))


@rule("erf")
def erf(context: Context, x: FixedPoint, **_: Any) -> FixedPoint:
    return apply(context, x, saturating.erf, _widened(-1, 1, context), bounds=bounds(x))


@rule("erfc")
def erfc(context: Context, x: FixedPoint, **_: Any) -> Value:
    return arithmetic.subtract(context, _constant(x, 1.0), erf(context, x))


# -- recognised by their values ----------------------------------------------------------------------------------


@known(lambda x: 1 / (1 + np.exp(-x)))
def _sigmoid(context: Context, x: FixedPoint, **_: Any) -> FixedPoint:
    return logistic(context, x)


@known(lambda x: x / (1 + np.exp(-x)))
def _silu(context: Context, x: FixedPoint, **_: Any) -> FixedPoint:
    return apply(context, x, saturating.silu, _rectified(x, -0.279, context), bounds=bounds(x))


@known(lambda x: x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2)
def _gelu(context: Context, x: FixedPoint, **_: Any) -> FixedPoint:
    return apply(context, x, saturating.gelu, _rectified(x, -0.17, context), bounds=bounds(x))


@known(lambda x: x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2)
def _gelu_tanh(context: Context, x: FixedPoint, **_: Any) -> FixedPoint:
    return apply(context, x, saturating.gelu_tanh, _rectified(x, -0.171, context), bounds=bounds(x))


def _rectified(x: FixedPoint, least: float, context: Context) -> Interval:
    """Of a function between 0 and x, but for a dip to `least`."""
    known = _widened(least, max(0.0, x.interval.high), context)
    return Interval(known.low, known.high, x.interval.trust)


def _widened(low: float, high: float, context: Context) -> Interval:
    slack = 2.0 ** (2 - context.fraction)  # the functions' errors are below four ulp
    return Interval(low - slack, high + slack)


# -- circular and hyperbolic functions ---------------------------------------------------------------------------


@rule("sin")
def sin(context: Context, x: FixedPoint, *_: Any, **__: Any) -> FixedPoint:
    return apply(context, x, trigonometric.sin, _widened(-1, 1, context))


@rule("cos")
def cos(context: Context, x: FixedPoint, *_: Any, **__: Any) -> FixedPoint:
    return apply(context, x, trigonometric.cos, _widened(-1, 1, context))


@rule("tan")
def tan(context: Context, x: FixedPoint, *_: Any, **__: Any) -> FixedPoint:
    limit = 2.0 ** trigonometric.tangent_bits(context.fraction)
    return apply(context, x, trigonometric.tan, symmetric(limit, trust=Trust.PROMISED))


@rule("atan")
def atan(context: Context, x: FixedPoint, **_: Any) -> FixedPoint:
    if x.interval.inside(-1.0, 1.0):
        return apply(context, x, trigonometric.atan_unit, symmetric(0.8))
    return apply(context, x, trigonometric.atan, symmetric(1.6))


@rule("atan2")
def atan2(context: Context, y: Value, x: Value, **_: Any) -> FixedPoint:
    f = context.fraction
    y, x = (context.at_fraction(context.secret(v), f) for v in (y, x))
    sharing = trigonometric.atan2(context.protocol, y.ring, x.ring, f)
    return FixedPoint(sharing, f, symmetric(3.2), x.dtype)


@rule("sinh")
def sinh(context: Context, x: FixedPoint, **_: Any) -> Value:
    return _half(context, arithmetic.subtract(context, *_both_exps(context, x)))


@rule("cosh")
def cosh(context: Context, x: FixedPoint, **_: Any) -> Value:
    return _half(context, arithmetic.add(context, *_both_exps(context, x)))


def _both_exps(context: Context, x: FixedPoint) -> tuple[FixedPoint, FixedPoint]:
    return exp(context, x), exp(context, arithmetic.negate(context, x))


def _half(context: Context, x: FixedPoint) -> Value:
    return arithmetic.multiply(context, x, _constant(x, 0.5))


@rule("atanh")
def atanh(context: Context, x: FixedPoint, **_: Any) -> Value:
    """log((1 + x) / (1 - x)) / 2, as a difference of logarithms."""
    one = _constant(x, 1.0)
    above = log(context, arithmetic.add(context, x, one))
    below = log(context, arithmetic.subtract(context, one, x))
    return _half(context, arithmetic.subtract(context, above, below))


def _constant(like: FixedPoint, value: float, dtype: Any = None) -> Public:
    return Public(np.asarray(value, dtype or like.dtype))
