"""What the author of a composite knows and says, so that it costs fewer rounds.

* `promise`: how large a value is. `jnp.clip` makes that certain, in six rounds; where mathematics bound a value anyway,
  up to roundings, a promise costs nothing. A reciprocal in [1, 2] takes 11 rounds instead of 19.
* `quotient`, `inverse_root`, `angle`: that they are of few numbers, one after the other. The size of a number is found
  in 15 rounds from its bits, or in 7 by comparing it with all powers of two, which is some 2 kB for each number: as
  much as it takes to save 8 rounds of a loop, and too much for a large array.
* `enlarged`: that there is room for a number to be held at so many times its size that its rounding does not matter.

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
from jmpc.lowering import arithmetic
from jmpc.lowering.context import Context
from jmpc.lowering.interval import Interval, Trust, symmetric
from jmpc.lowering.registry import rule
from jmpc.lowering.rules.elementwise import divide
from jmpc.lowering.scales import Scales
from jmpc.lowering.values import FixedPoint, Public, Secret, Value

_FEW_COMPARISONS = 2048


def _hint(name: str, function: Callable[..., Any]) -> Primitive:
    primitive = Primitive(name)
    primitive.def_impl(function)
    primitive.def_abstract_eval(lambda *xs, **_: ShapedArray(np.broadcast_shapes(*(x.shape for x in xs)), xs[0].dtype))
    mlir.register_lowering(primitive, mlir.lower_fun(function, multiple_results=False))
    return primitive


_promise_p = _hint("promise", lambda x, **_: x)
_quotient_p = _hint("quotient_by_few", lambda x, y: x / y)
_inverse_root_p = _hint("inverse_root_of_few", lax.rsqrt)
_angle_p = _hint("angle_of_few", jnp.arctan2)
_enlarged_p = _hint("enlarged", lambda x, **_: x)


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


def enlarged(x: Any, times: int = 1) -> Any:
    """`x` times a power of what there is room for at the precision (`Scales.guard`); at no precision that is 1."""
    return _enlarged_p.bind(x, times=times)


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


@rule(_enlarged_p.name, hint=True)
def _enlarged(context: Context, x: Secret, *, times: int) -> Value:
    return arithmetic.multiply(context, x, Public(np.full((), Scales(context.fraction).guard ** times, x.dtype)))


def _exponents(context: Context, x: FixedPoint) -> Exponents:
    return known_exponents((x.interval.low, x.interval.high), context.fraction)


def _method(exponents: Exponents, x: FixedPoint) -> Method | None:
    few = exponents.comparisons * x.sharing.size <= _FEW_COMPARISONS
    return Method.THRESHOLDS if few else None
