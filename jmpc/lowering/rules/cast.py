"""Conversions between reals, integers and booleans."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from jmpc.lowering import arithmetic, comparing, interval
from jmpc.lowering.context import Context
from jmpc.lowering.interval import Interval, Trust
from jmpc.lowering.registry import rule
from jmpc.lowering.values import (
    Boolean,
    FixedPoint,
    Integer,
    Public,
    Secret,
    Value,
    is_boolean,
    is_float,
    is_integer,
)


@rule("convert_element_type")
def convert_element_type(context: Context, x: Secret, *, new_dtype: Any, **_: Any) -> Value:
    return convert(context, x, np.dtype(new_dtype))


@rule("bitcast_convert_type")
def bitcast_convert_type(context: Context, x: Secret, *, new_dtype: Any, **_: Any) -> Value:
    dtype = np.dtype(new_dtype)
    if isinstance(x, Integer) and is_integer(dtype) and Integer(x.sharing, dtype).width == x.width:
        return convert(context, x, dtype)
    if x.dtype == dtype:
        return x
    raise context.refuse(
        "it reads the bits of a floating-point number, and secret reals are fixed-point numbers",
        "Use arithmetic: jnp.signbit or x < 0 for the sign, jnp.floor(jnp.log2(jnp.abs(x))) for the exponent, "
        "x * 2.0**n or x * jnp.exp2(n) instead of jnp.ldexp and jnp.frexp",
    )


@rule("reduce_precision")
def reduce_precision(context: Context, x: FixedPoint, **_: Any) -> Value:
    """A hint about floating point; fixed point has the precision it has."""
    del context
    return x


def convert(context: Context, x: Secret, dtype: np.dtype) -> Secret:
    """The same value as another type: reals toward zero to integers, which keep their low bits."""
    if x.dtype == dtype:
        return x
    if is_boolean(dtype):
        return comparing.invert(context, comparing.equal(context, x, Public(np.zeros((), x.dtype))))
    if isinstance(x, Boolean):
        return arithmetic.as_real(context, x, dtype) if is_float(dtype) else arithmetic.as_integer(context, x, dtype)
    if is_float(dtype):
        return _to_real(context, x, dtype)
    assert is_integer(dtype), dtype
    if isinstance(x, Integer):
        return _to_width(context, x, dtype)
    return to_integer(context, toward_zero(context, x), dtype)


def _to_real(context: Context, x: Secret, dtype: np.dtype) -> FixedPoint:
    if isinstance(x, FixedPoint):
        return dataclasses.replace(x, dtype=dtype)
    x = context.extended(x)
    every = interval.of_dtype(x.dtype)
    known = x.interval or every
    trust = Trust.CHECKED if (known.low, known.high) == (every.low, every.high) else known.trust
    limit = interval.representable(0).high
    return FixedPoint(x.ring, 0, Interval(float(known.low), float(known.high), trust).clip(-limit, limit), dtype)


def _to_width(context: Context, x: Integer, dtype: np.dtype) -> Integer:
    """Narrower: the low bits as they are. Wider: extended first."""
    target = Integer(x.sharing, dtype)
    if target.width <= x.width:
        known = context.settled(x)
        return Integer(known.sharing, dtype, known.interval)
    known = context.extended(x)
    return Integer(known.sharing, dtype, known.interval)


def toward_zero(context: Context, x: FixedPoint) -> FixedPoint:
    """x without its fraction bits: the floor, of x plus nearly 1 where x < 0."""
    if x.fraction == 0:
        return context.settled(x)
    x = context.at_most(x)
    ring = x.ring
    if x.interval.low < 0:
        nearly_one = (1 << x.fraction) - 1
        (moved,) = context.protocol.to_ring([context.bits(comparing.negative(context, x))], [[nearly_one]])
        ring = context.protocol.add(ring, moved)
    ring = context.protocol.truncate_exact(ring, x.fraction)
    low, high = np.trunc(x.interval.low), np.trunc(x.interval.high)
    return FixedPoint(ring, 0, Interval(float(low), float(high), x.interval.trust), x.dtype)


def to_integer(context: Context, whole: FixedPoint, dtype: np.dtype) -> Integer:
    """A real at fraction 0 as an integer."""
    known = whole.interval
    inside = known.inside(-(2.0**62), 2.0**62)
    bounds = Interval(int(known.low), int(known.high)) if inside else None
    return Integer(context.settled(whole).sharing, dtype, bounds)
