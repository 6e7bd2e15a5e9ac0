"""Comparisons of reals, integers and booleans."""

from __future__ import annotations

from typing import Any

import numpy as np

from jmpc.lowering import comparing, interval, missing, traits, unbounded
from jmpc.lowering.comparing import complement
from jmpc.lowering.context import Context
from jmpc.lowering.interval import Interval
from jmpc.lowering.registry import rule
from jmpc.lowering.rules.logic import bitwise_and, exclusive_or
from jmpc.lowering.values import Attains, Boolean, FixedPoint, Integer, Public, Value, is_boolean


@rule("lt", "lt_to")
def lt(context: Context, x: Value, y: Value, **_: Any) -> Value:
    return missing.compared(context, x, y, _less(context, x, y))


def _less(context: Context, x: Value, y: Value) -> Value:
    if is_boolean(x.dtype):  # false < true
        return bitwise_and(context, complement(context, x), y)
    high, low = unbounded.finite_end(context, x, y, sign=1), unbounded.finite_end(context, y, x, sign=-1)
    if high is not None or low is not None:
        return comparing.less(context, x if low is None else low, y if high is None else high)
    known = _decided(context, x, y)
    if known is not None:
        return known
    return comparing.less(context, x, y)


@rule("gt")
def gt(context: Context, x: Value, y: Value, **_: Any) -> Value:
    return lt(context, y, x)


@rule("le", "le_to")
def le(context: Context, x: Value, y: Value, **_: Any) -> Value:
    return missing.compared(context, x, y, complement(context, _less(context, y, x)))


@rule("ge")
def ge(context: Context, x: Value, y: Value, **_: Any) -> Value:
    return missing.compared(context, x, y, complement(context, _less(context, x, y)))


@rule("eq", "eq_to")
def eq(context: Context, x: Value, y: Value, **_: Any) -> Value:
    if is_boolean(x.dtype):
        return complement(context, exclusive_or(context, x, y))
    if x is y:  # how NaN is looked for
        return missing.nowhere(context, x) if isinstance(x, FixedPoint) else Public(np.ones(x.shape, np.bool_))
    return missing.compared(context, x, y, _equal(context, x, y))


def _equal(context: Context, x: Value, y: Value) -> Value:
    for a, b in ((x, y), (y, x)):
        if unbounded.finite_end(context, a, b, sign=1) is not None:
            return complement(context, _less(context, a, b))
        if unbounded.finite_end(context, a, b, sign=-1) is not None:
            return complement(context, _less(context, b, a))
    if _infinite(x) or _infinite(y) or _apart(context, x, y):
        return Public(np.zeros(np.broadcast_shapes(x.shape, y.shape), np.bool_))
    same = comparing.equal(context, x, y)
    for a, b in ((x, y), (y, x)):
        if isinstance(a, FixedPoint) and traits.is_peak_of(a, b):
            return Boolean(same.sharing, Attains(b.trait.axes, 1.0))
    return same


@rule("ne")
def ne(context: Context, x: Value, y: Value, **_: Any) -> Value:
    return complement(context, eq(context, x, y))


@rule("is_finite")
def is_finite(context: Context, x: Value, **_: Any) -> Value:
    """Fixed-point numbers always are, but for NaN that a program put among them."""
    return missing.nowhere(context, x)


def _infinite(x: Value) -> bool:
    if not isinstance(x, Public) or not x.known or x.array.dtype.kind in "iub":
        return False
    return x.array.size > 0 and not np.isfinite(np.asarray(x.array, np.float64)).any()


def _apart(context: Context, x: Value, y: Value) -> bool:
    """Whether intervals know for certain that no element of x is one of y."""
    a, b = _certain(context, x), _certain(context, y)
    return a is not None and b is not None and (a.high < b.low or b.high < a.low)


def _decided(context: Context, x: Value, y: Value) -> Public | None:
    """The answer to x < y where intervals know it for certain."""
    if x is y:
        return Public(np.zeros(x.shape, np.bool_))
    a, b = _certain(context, x), _certain(context, y)
    if a is None or b is None or not (a.high < b.low or a.low >= b.high):
        return None
    return Public(np.full(np.broadcast_shapes(x.shape, y.shape), a.high < b.low))


def _certain(context: Context, x: Value) -> Interval | None:
    """What is known of the value that is compared."""
    known = context.interval(x)
    if isinstance(x, Integer):
        limits = interval.of_dtype(x.dtype)
        return known if x.interval is not None and known.inside(limits.low, limits.high) else limits
    if isinstance(x, FixedPoint) and not known.certain:
        return interval.representable(context.fraction)  # decides against infinities and floats' extremes
    if isinstance(x, Public) and not x.known:
        return None
    return known if known.certain else None
