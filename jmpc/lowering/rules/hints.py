"""What the author of a composite knows and says, so that it costs fewer rounds.

* `promise`: how large a value is. `jnp.clip` makes that certain, in six rounds; where mathematics bound a value anyway,
  up to roundings, a promise costs nothing. A reciprocal in [1, 2] takes 11 rounds instead of 19.
* `quotient`, `inverse_root`, `angle`: that they are of few numbers, one after the other. The size of a number is found
  in 15 rounds from its bits, or in 7 by comparing it with all powers of two, which is some 2 kB for each number: as
  much as it takes to save 8 rounds of a loop, and too much for a large array.
* `unit_vectors`: that they are wanted themselves, without rows of an identity matrix being read at their positions.

Applied to plain arrays they are what their names say.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import mlir

from jmpc.functions.normalize import Exponents, Method, known_exponents
from jmpc.functions.reciprocal import ratio
from jmpc.functions.roots import rsqrt
from jmpc.functions.trigonometric import atan2
from jmpc.lowering import lookup
from jmpc.lowering.context import Context
from jmpc.lowering.interval import Interval, Trust, symmetric
from jmpc.lowering.registry import rule
from jmpc.lowering.rules.elementwise import divide
from jmpc.lowering.values import FixedPoint, Integer, Public, Value

_FEW_COMPARISONS = 2048


def _elementwise(*operands: ShapedArray, **_: Any) -> ShapedArray:
    return ShapedArray(np.broadcast_shapes(*(x.shape for x in operands)), operands[0].dtype)


def _hint(name: str, function: Callable[..., Any], result: Callable[..., ShapedArray] = _elementwise) -> Primitive:
    primitive = Primitive(name)
    primitive.def_impl(function)
    primitive.def_abstract_eval(result)
    mlir.register_lowering(primitive, mlir.lower_fun(function, multiple_results=False))
    return primitive


_promise_p = _hint("promise", lambda x, **_: x)
_quotient_p = _hint("quotient_by_few", lambda x, y: x / y)
_inverse_root_p = _hint("inverse_root_of_few", lax.rsqrt)
_angle_p = _hint("angle_of_few", jnp.arctan2)
_unit_vectors_p = _hint(
    "unit_vectors",
    lambda places, *, n: (places[..., None] == jnp.arange(n, dtype=places.dtype)).astype(np.int32),
    lambda places, *, n: ShapedArray((*places.shape, n), np.dtype(np.int32)),
)


def promise(x: Any, low: float, high: float) -> Any:
    """`x`, of which low <= x <= high is promised: what is computed from another x is garbage."""
    return _promise_p.bind(x, low=low, high=high)


def quotient(x: Any, y: Any) -> Any:
    """x / y, where y is smaller than x, and broadcast."""
    return _quotient_p.bind(x, y)


def inverse_root(x: Any) -> Any:
    """x^(-1/2)."""
    return _inverse_root_p.bind(x)


def angle(y: Any, x: Any) -> Any:
    """atan2(y, x)."""
    return _angle_p.bind(y, x)


def unit_vectors(places: Any, n: int) -> Any:
    """[..., n]: 1 at each of these places, of those from 0 to n - 1, and 0 elsewhere."""
    return _unit_vectors_p.bind(places, n=n)


@rule(_promise_p.name, hint=True)
def _narrowed(context: Context, x: FixedPoint, *, low: float, high: float) -> FixedPoint:
    del context
    if x.interval.inside(low, high):
        return x
    known = Interval(max(low, x.interval.low), min(high, x.interval.high), Trust.PROMISED)
    return dataclasses.replace(x, interval=known)


@rule(_quotient_p.name, hint=True)
def _quotient(context: Context, x: Value, y: Value) -> Value:
    if isinstance(y, Public):
        return divide(context, x, y)
    f = context.fraction
    x, y = (context.at_fraction(context.secret(v), f) for v in (x, y))
    exponents, bits = _exponents(context, y), 33 - f
    sharing = ratio(context.protocol, x.ring, y.ring, f, bits, exponents, _method(exponents, y))
    return FixedPoint(sharing, f, symmetric(2.0**bits, trust=Trust.PROMISED), x.dtype)


@rule(_inverse_root_p.name, hint=True)
def _inverse_root(context: Context, x: FixedPoint) -> FixedPoint:
    f = context.fraction
    x = context.at_fraction(x, f)
    method = _method(_exponents(context, x), x)
    sharing = rsqrt(context.protocol, x.ring, f, bounds=(x.interval.low, x.interval.high), method=method)
    return FixedPoint(sharing, f, Interval(0, 2.0 ** (f / 2)), x.dtype)


@rule(_angle_p.name, hint=True)
def _angle(context: Context, y: Value, x: Value) -> FixedPoint:
    f = context.fraction
    y, x = (context.at_fraction(context.secret(v), f) for v in (y, x))
    sharing = atan2(context.protocol, y.ring, x.ring, f, method=_method(Exponents(), x))
    return FixedPoint(sharing, f, symmetric(3.2), x.dtype)


@rule(_unit_vectors_p.name, hint=True)
def _unit_vectors(context: Context, places: Integer, *, n: int) -> Integer:
    return Integer(lookup.locate(context, [places], [n], clamp=False).unit, np.dtype(np.int32), Interval(0, 1))


def _exponents(context: Context, x: FixedPoint) -> Exponents:
    return known_exponents((x.interval.low, x.interval.high), context.fraction)


def _method(exponents: Exponents, x: FixedPoint) -> Method | None:
    few = exponents.comparisons * x.sharing.size <= _FEW_COMPARISONS
    return Method.THRESHOLDS if few else None
