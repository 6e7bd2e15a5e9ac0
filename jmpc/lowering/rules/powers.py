"""Powers, by products where the exponent is a small integer, and else by logarithms."""

from __future__ import annotations

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jmpc.functions.power import power as secret_power
from jmpc.functions.power import public_power
from jmpc.lowering import arithmetic, choosing
from jmpc.lowering.composite import composed
from jmpc.lowering.context import Context
from jmpc.lowering.interval import Interval
from jmpc.lowering.registry import rule
from jmpc.lowering.rules.cast import convert
from jmpc.lowering.rules.elementwise import clamp, power
from jmpc.lowering.rules.hints import promise
from jmpc.lowering.rules.nonlinear import LARGEST_EXP, apply, exp2, rsqrt, sqrt
from jmpc.lowering.values import FixedPoint, Integer, Public, Value
from jmpc.protocols.base import Ring

_FARTHEST = np.float32(2**20)  # integers beyond are as good as infinite exponents
_MOST_PRODUCTS = 64  # up to this exponent a power is made of products


@rule("cbrt")
def cbrt(context: Context, x: FixedPoint, **_: Any) -> Value:
    """sign(x) |x|^(1/3)."""
    root = _by_public(context, choosing.absolute(context, x), 1 / 3, 2.0**-context.fraction)  # 0 counts as an ulp
    return arithmetic.multiply(context, choosing.sign_of(context, x), root)


@rule("pow")
def pow_(context: Context, x: Value, y: Value, **_: Any) -> Value:
    """x^y; of a negative x for integers y, whether these are integers or reals by their type."""
    exponent = uniform(y)
    if exponent is not None and isinstance(x, FixedPoint):
        x = arithmetic.broadcast(context, x, np.broadcast_shapes(x.shape, y.shape))
        return _power_by_constant(context, x, exponent)
    if isinstance(y, Public) and y.known and not isinstance(x, Public) and _small_integers(y.array):
        return composed(context, functools.partial(integer_powers, exponents=np.asarray(y.array)), x)[0]
    if isinstance(y, Integer):
        y = clamp(context, Public(-_FARTHEST), convert(context, y, x.dtype), Public(_FARTHEST))
    if isinstance(x, Public):
        return _power_of_public(context, x, y)
    if x.interval.low >= 2.0**-context.fraction:
        return _power(context, x, y)
    with_any_base = functools.partial(_with_any_base, known=x.interval, ulp=2.0**-context.fraction)
    return composed(context, with_any_base, x, y)[0]


def _with_any_base(x: Any, y: Any, *, known: Interval, ulp: float) -> Any:
    """x^y of an x that may be 0 or negative."""
    size = promise(jnp.abs(x), ulp, max(ulp, -known.low, known.high))  # 0 counts as an ulp
    factor = 1 - ((x == 0) & (y > 0)).astype(x.dtype)
    if known.low < 0:
        odd = lax.convert_element_type(y, np.int32) & 1 == 1
        factor -= 2 * ((x < 0) & odd).astype(x.dtype)
    return factor * lax.pow(size, y)


def _power_by_constant(context: Context, x: FixedPoint, exponent: float) -> Value:
    integer = exponent == int(exponent)
    if integer and abs(exponent) <= _MOST_PRODUCTS:
        return power(context, x, int(exponent))
    if exponent == 0.5:
        return sqrt(context, x)
    if exponent == -0.5:
        return rsqrt(context, x)
    if not integer or x.interval.low >= 0:
        return _by_public(context, x, exponent)
    result = _by_public(context, choosing.absolute(context, x), exponent)
    return result if exponent % 2 == 0 else arithmetic.multiply(context, choosing.sign_of(context, x), result)


def _small_integers(exponents: Any) -> bool:
    exponents = np.asarray(exponents, np.float64)
    return bool((exponents == np.round(exponents)).all() and (np.abs(exponents) <= _MOST_PRODUCTS).all())


def integer_powers(x: Any, exponents: np.ndarray) -> Any:
    """x^n for public integers n, one for each x: by squaring."""
    n = np.abs(exponents).astype(np.int64)
    base = jnp.where(exponents < 0, 1 / x, x) if (exponents < 0).any() else x
    result = jnp.ones(np.broadcast_shapes(x.shape, exponents.shape), x.dtype)
    for place in range(int(n.max(initial=0)).bit_length()):
        base = base * base if place else base
        result = jnp.where(n >> place & 1 == 1, result * base if place else base, result)
    return result


def uniform(y: Value) -> float | None:
    """The number that all elements of a public constant are."""
    if isinstance(y, Public) and y.known and y.array.size and (y.array == y.array.flat[0]).all():
        return float(y.array.flat[0])
    return None


def _power_of_public(context: Context, x: Public, y: FixedPoint) -> Value:
    """c^y = 2^(y log2 c)."""
    if not x.known or not (np.asarray(x.array) > 0).all():
        raise context.refuse(
            "a secret power of a public base that is not a positive constant",
            "Use jnp.exp2(y * jnp.log2(x)) with a positive base",
        )
    scaled = arithmetic.multiply(context, y, Public(np.log2(np.asarray(x.array, np.float64))))
    return exp2(context, scaled)


def _power(context: Context, x: FixedPoint, y: Value) -> FixedPoint:
    """Of a positive base."""
    f = context.fraction
    shape = np.broadcast_shapes(x.shape, y.shape)
    x, y = (context.at_fraction(context.secret(v), f) for v in (x, y))
    x, y = (arithmetic.broadcast(context, v, shape) for v in (x, y))
    sharing = secret_power(context.protocol, x.ring, y.ring, f, bounds=(x.interval.low, x.interval.high))
    return FixedPoint(sharing, f, Interval(0, LARGEST_EXP), x.dtype)


def _by_public(context: Context, x: FixedPoint, exponent: float, least: float = 0.0) -> FixedPoint:
    low = max(least, x.interval.low)  # a negative base is garbage, as it is NaN in JAX
    promise = (low, max(low, x.interval.high))
    return apply(context, x, _public_power, Interval(0, LARGEST_EXP), exponent=exponent, bounds=promise)


def _public_power(protocol: Any, x: Ring, fraction: int, *, exponent: float, bounds: Any) -> Ring:
    return public_power(protocol, x, exponent, fraction, bounds=bounds)
