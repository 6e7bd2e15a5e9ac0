"""Functions of complex numbers, in terms of their parts.

Written for fixed point: a denominator is brought to a size near 1 before it is squared, so that small numbers keep
their digits.
"""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive

from jmpc.lowering.pairs.linear import on_parts
from jmpc.lowering.pairs.pair import Pair, as_pair
from jmpc.lowering.pairs.registry import on_pairs

# -- size and direction --------------------------------------------------------------------------------------------


@on_pairs("abs")
def magnitude(x: Pair) -> Any:
    if x.real is None or x.imag is None:
        return jnp.abs(x.imag if x.real is None else x.real)
    return jnp.sqrt(x.real * x.real + x.imag * x.imag)


def _scaled(x: Pair) -> tuple[Any, Pair]:
    """The larger of |real| and |imag|, and x over it; 0 and 0 of 0."""
    real, imag = x.filled
    size = jnp.maximum(jnp.abs(real), jnp.abs(imag))
    return size, Pair(real / size, imag / size)


def _squared_size(x: Pair) -> Any:
    return x.real * x.real + x.imag * x.imag


@on_pairs("sign")
def sign(x: Pair) -> Pair:
    if x.imag is None or x.real is None:
        return on_parts(jnp.sign, [x])
    _, near = _scaled(x)
    return near * lax.rsqrt(_squared_size(near))


@on_pairs("div")
def divide(x: Any, y: Any) -> Pair:
    x, y = as_pair(x), as_pair(y)
    if y.imag is None:
        return on_parts(lambda part: part / y.real, [x])
    if y.real is None:
        return on_parts(lambda part: part / y.imag, [x.over_i()])
    size, near = _scaled(y)
    denominator = size * _squared_size(near)
    return on_parts(lambda part: part / denominator, [x * near.conj()])


# -- powers --------------------------------------------------------------------------------------------------------


@on_pairs("square")
def square(x: Pair) -> Pair:
    if x.real is None or x.imag is None:
        return x * x
    return Pair(x.real * x.real - x.imag * x.imag, 2 * (x.real * x.imag))


@on_pairs("one_minus_square")
def one_minus_square(x: Pair) -> Pair:
    return 1 - square(x)


@on_pairs("integer_pow")
def integer_pow(x: Pair, *, y: int) -> Pair:
    if y < 0:
        return integer_pow(divide(1, x), y=-y)
    if y == 0:
        return Pair(jnp.ones_like(x.filled[0]))
    if y == 1:
        return x
    even = square(integer_pow(x, y=y // 2))
    return even * x if y % 2 else even


@on_pairs("sqrt")
def sqrt(x: Pair) -> Pair:
    """The root with a real part that is not negative: sqrt((|x| + |real|) / 2), and what follows from x = root^2."""
    real, imag = x.filled
    larger = jnp.sqrt((magnitude(x) + jnp.abs(real)) * 0.5)
    smaller = jnp.abs(imag) / (2 * larger)
    right = real >= 0
    turned = jnp.where(right, smaller, larger)
    return Pair(jnp.where(right, larger, smaller), jnp.where(imag < 0, -turned, turned))


@on_pairs("rsqrt")
def rsqrt(x: Pair) -> Pair:
    return divide(1, sqrt(x))


@on_pairs("pow")
def power(x: Any, y: Any) -> Pair:
    """exp(y log(x))."""
    x = as_pair(x)
    y = y if isinstance(y, Pair) else Pair(y.astype(x.filled[0].dtype))
    return exp(y * log(x))


# -- exponentials and logarithms -----------------------------------------------------------------------------------


@on_pairs("exp")
def exp(x: Pair) -> Pair:
    if x.imag is None:
        return Pair(jnp.exp(x.real))
    direction = Pair(jnp.cos(x.imag), jnp.sin(x.imag))
    return direction if x.real is None else direction * jnp.exp(x.real)


@on_pairs("exp2")
def exp2(x: Pair) -> Pair:
    return exp(x * math.log(2))


@on_pairs("expm1")
def expm1(x: Pair) -> Pair:
    return exp(x) - 1  # in fixed point nothing is lost to the 1


@on_pairs("log")
def log(x: Pair) -> Pair:
    size, near = _scaled(x)
    real, imag = x.filled
    return Pair(jnp.log(size) + 0.5 * jnp.log(_squared_size(near)), jnp.arctan2(imag, real))


@on_pairs("log2")
def log2(x: Pair) -> Pair:
    return log(x) * (1 / math.log(2))


@on_pairs("log1p")
def log1p(x: Pair) -> Pair:
    return log(x + 1)


@on_pairs("logistic")
def logistic(x: Pair) -> Pair:
    return tanh(x * 0.5) * 0.5 + 0.5


# -- trigonometric and hyperbolic functions ------------------------------------------------------------------------


@on_pairs("sinh")
def sinh(x: Pair) -> Pair:
    real, imag = x.filled
    return Pair(jnp.sinh(real) * jnp.cos(imag), jnp.cosh(real) * jnp.sin(imag))


@on_pairs("cosh")
def cosh(x: Pair) -> Pair:
    real, imag = x.filled
    return Pair(jnp.cosh(real) * jnp.cos(imag), jnp.sinh(real) * jnp.sin(imag))


@on_pairs("tanh")
def tanh(x: Pair) -> Pair:
    """sinh and cosh both over cosh(real): nothing in it grows, and the denominator vanishes at the poles alone."""
    real, imag = x.filled
    t, c, s = jnp.tanh(real), jnp.cos(imag), jnp.sin(imag)
    return divide(Pair(t * c, s), Pair(c, t * s))


@on_pairs("sin")
def sin(x: Pair) -> Pair:
    return sinh(x.times_i()).over_i()


@on_pairs("cos")
def cos(x: Pair) -> Pair:
    return cosh(x.times_i())


@on_pairs("tan")
def tan(x: Pair) -> Pair:
    return tanh(x.times_i()).over_i()


@on_pairs("asinh")
def asinh(x: Pair) -> Pair:
    """Odd: of a number in the right half plane log(x + sqrt(x + i) sqrt(x - i))."""
    side = jnp.where(x.filled[0] < 0, -1.0, 1.0).astype(x.filled[0].dtype)
    right, i = x * side, Pair(None, jnp.ones_like(side))
    return log(right + sqrt(right + i) * sqrt(right - i)) * side


@on_pairs("acosh")
def acosh(x: Pair) -> Pair:
    return log(x + sqrt(x + 1) * sqrt(x - 1))


@on_pairs("atanh")
def atanh(x: Pair) -> Pair:
    return (log(1 + x) - log(1 - x.conj()).conj()) * 0.5  # on the cut above 1 a quarter turn to the left, as in JAX


@on_pairs("asin")
def asin(x: Pair) -> Pair:
    return asinh(x.times_i()).over_i()


@on_pairs("acos")
def acos(x: Pair) -> Pair:
    return math.pi / 2 - asin(x)


@on_pairs("atan")
def atan(x: Pair) -> Pair:
    return atanh(x.times_i()).over_i()


# -- comparisons ---------------------------------------------------------------------------------------------------


@on_pairs("eq")
def eq(x: Pair, y: Pair) -> Any:
    if x.imag is None and y.imag is None:
        return x.real == y.real
    (a, b), (c, d) = x.filled, y.filled
    return (a == c) & (b == d)


@on_pairs("ne")
def ne(x: Pair, y: Pair) -> Any:
    return ~eq(x, y)


def extremum(x: Pair, y: Pair, *, largest: bool) -> Pair:
    """The larger or the smaller one, by the real parts, and of equal ones by the imaginary parts."""
    (a, b), (c, d) = (x.filled, y.filled) if largest else (y.filled, x.filled)
    second = (a < c) | ((a == c) & (b < d))
    return on_parts(lambda one, other: jnp.where(second, other, one), [x, y])


@on_pairs("max", "min")
def extremum_of_two(x: Pair, y: Pair, *, primitive: Primitive) -> Pair:
    return extremum(x, y, largest=primitive.name == "max")
