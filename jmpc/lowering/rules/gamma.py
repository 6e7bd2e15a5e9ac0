"""Functions around the gamma function that have several arguments, written in JAX. See `docs/functions.md`.

The incomplete functions are integrals of a density: Gauss-Legendre sums over public nodes, whose terms are exponentials
of what is linear in a few logarithms. Nodes are denser where the integral begins, and the first argument is raised by
one, which makes the density smooth there; the difference that this makes is one more term (Abramowitz and Stegun,
6.5.21 and 26.5.16).
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jmpc.lowering.composite import bounded, composed, composite
from jmpc.lowering.context import Context
from jmpc.lowering.registry import rule
from jmpc.lowering.rules.hints import promise
from jmpc.lowering.rules.powers import uniform
from jmpc.lowering.rules.special import cotangent_of_pi
from jmpc.lowering.values import Value

# -- incomplete gamma and beta functions ----------------------------------------------------------------------------

_GAMMA_NODES, _GAMMA_SPACING = 32, 3
_BETA_NODES, _BETA_SPACING = 24, 2
_LARGEST_ORDER_OF_GAMMA = _LARGEST_ORDER_OF_BETA = 32
_LARGEST_GAMMA_ARGUMENT = 96  # where P(32, x) is 1
_SLOPE_GUARD = 32.0  # densities are held at so many times their size where large numbers multiply them


@composite("igamma")
def igamma(a: Any, x: Any) -> Any:
    """P(a, x) = P(a + 1, x) + x^a e^-x / gamma(a + 1), the first as the integral of t^a e^-t over t = x s^3."""
    weights, logarithms, last, _, _ = _incomplete_gamma(a, x)
    return jnp.where(x > 0, jnp.sum(weights * _density(logarithms), axis=0) + _density(last), 0)


@composite("igamma_grad_a")
def igamma_grad_a(a: Any, x: Any) -> Any:
    """The derivative of P(a, x) by a: each term of `igamma` times that of its logarithm, which grows as x vanishes."""
    weights, logarithms, last, slopes, slope = _incomplete_gamma(a, x)
    integral = jnp.sum(weights * _density(logarithms, _SLOPE_GUARD) * slopes, axis=0)
    return jnp.where(x > 0, (integral + _density(last, _SLOPE_GUARD) * slope) / _SLOPE_GUARD, 0)


def _incomplete_gamma(a: Any, x: Any) -> tuple[Any, Any, Any, Any, Any]:
    """The weights of the integral; the logarithms of its terms and of the other one; the derivatives of these by a."""
    a, x = bounded(a, 0, _LARGEST_ORDER_OF_GAMMA), bounded(x, 0, _LARGEST_GAMMA_ARGUMENT)
    log = jnp.log(x)
    last = a * log - x - lax.lgamma(a + 1)
    nodes, weights = _nodes(x, _GAMMA_NODES, _GAMMA_SPACING)
    powers = (_GAMMA_SPACING * (a + 1) - 1) * np.log(nodes) + x * (1 - nodes**_GAMMA_SPACING)
    slope = log - lax.digamma(a + 1)
    return weights, last + log + powers, last, slope + _GAMMA_SPACING * np.log(nodes), slope


@composite("igammac")
def igammac(a: Any, x: Any) -> Any:
    """1 - P(a, x)."""
    return 1 - igamma(a, x)


@composite("regularized_incomplete_beta")
def regularized_incomplete_beta(a: Any, b: Any, x: Any) -> Any:
    """I_x(a, b), or 1 - I_(1 - x)(b, a) where x lies beyond the middle of the density."""
    a, b, x = bounded(a, 0, _LARGEST_ORDER_OF_BETA), bounded(b, 0, _LARGEST_ORDER_OF_BETA), bounded(x, 0, 1)
    beyond = x * (a + b + 2) > a + 1
    a, b = jnp.where(beyond, b, a), jnp.where(beyond, a, b)
    x = jnp.where(beyond, 1 - x, x)
    low = _lower_beta(a, b, x)
    return jnp.where(beyond, 1 - low, low)


def _lower_beta(a: Any, b: Any, x: Any) -> Any:
    """I_x(a, b) = I_x(a + 1, b) + x^a (1 - x)^b / (a B(a, b)), the first as the integral of t^a (1 - t)^(b - 1)."""
    log, total = jnp.log(x), a + b
    outside = a * log + lax.lgamma(total) - lax.lgamma(a + 1) - lax.lgamma(b)
    nodes, weights = _nodes(x, _BETA_NODES, _BETA_SPACING)
    powers = (_BETA_SPACING * (a + 1) - 1) * np.log(nodes) + (b - 1) * jnp.log(1 - x * nodes**_BETA_SPACING)
    integral = jnp.sum(weights * _density(outside + log + jnp.log(total) + powers), axis=0)
    return jnp.where(x > 0, integral + _density(outside + b * jnp.log(1 - x)), 0)


def _nodes(x: Any, count: int, spacing: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes s in (0, 1) and weights, on a new first axis: the sum approximates the integral over u = s^spacing.

    The density must come with a factor s^(spacing - 1), which here is part of the exponents.
    """
    nodes, weights = np.polynomial.legendre.leggauss(count)
    shape = (count, *(1,) * x.ndim)
    return ((nodes + 1) / 2).reshape(shape).astype(x.dtype), (spacing * weights / 2).reshape(shape).astype(x.dtype)


def _density(logarithm: Any, guard: float = 1.0) -> Any:
    """`guard` times a density of u at the nodes, which is below 5 for all arguments that are allowed."""
    more = math.log(guard)
    return jnp.exp(promise(logarithm + more, -2000.0, 2.0 + more))


# -- the Hurwitz zeta function and the derivatives of digamma ---------------------------------------------------------

_SHIFT = 8  # how many terms are summed before the asymptotic series
_LARGEST_ORDER = 6


@rule("zeta")
def zeta(context: Context, s: Value, q: Value, **_: Any) -> Value:
    """sum_k (q + k)^-s."""
    order = uniform(s)
    if order is not None and order == int(order) and 2 <= order <= _LARGEST_ORDER + 1:
        return composed(context, functools.partial(_hurwitz_of_order, int(order), shape=s.shape), q)[0]
    return composed(context, _hurwitz, s, q)[0]


@rule("polygamma")
def polygamma(context: Context, n: Value, x: Value, **_: Any) -> Value:
    """(-1)^(n + 1) n! zeta(n + 1, x); digamma for n = 0."""
    order = uniform(n)
    if order is None or order != int(order) or not 0 <= order <= _LARGEST_ORDER:
        raise context.refuse(
            "its order is secret, different for different elements, or large",
            f"Use one constant order up to {_LARGEST_ORDER}",
        )
    positive = context.interval(x).low >= 0
    return composed(context, functools.partial(_polygamma, int(order), shape=n.shape, positive=positive), x)[0]


def _polygamma(order: int, x: Any, *, shape: tuple[int, ...], positive: bool) -> Any:
    """Of a negative x by reflection: with the n-th derivative of pi cot(pi x), a polynomial in the cotangent."""
    x = jnp.broadcast_to(x, np.broadcast_shapes(x.shape, shape))
    if order == 0:
        return lax.digamma(x)
    if positive:
        return _polygamma_of_positive(order, x)
    below = x < 0
    of_positive = _polygamma_of_positive(order, jnp.where(below, 1 - x, x))
    reflected = (-1) ** order * of_positive - _derivative_of_cotangent(order, jnp.where(below, x, 0.5))
    return jnp.where(below, reflected, of_positive)


def _polygamma_of_positive(order: int, x: Any) -> Any:
    return (-1) ** (order + 1) * math.factorial(order) * _hurwitz_of_order(order + 1, x, shape=x.shape)


def _derivative_of_cotangent(order: int, x: Any) -> Any:
    """Of pi cot(pi x): the derivative of cot(y) is -(1 + cot(y)^2)."""
    coefficients = np.polynomial.Polynomial([0, 1])
    for _ in range(order):
        coefficients = -coefficients.deriv() * np.polynomial.Polynomial([1, 0, 1])
    cotangent = cotangent_of_pi(x)
    highest, *rest = (math.pi ** (order + 1) * float(c) for c in reversed(coefficients.coef))
    return functools.reduce(lambda total, c: total * cotangent + c, rest, highest)


def _hurwitz_of_order(s: int, q: Any, *, shape: tuple[int, ...]) -> Any:
    """By reciprocals and their powers."""
    q = jnp.broadcast_to(q, np.broadcast_shapes(q.shape, shape))
    inverses = 1 / (q + _steps(q))
    r = inverses[-1]
    return jnp.sum(inverses[:-1] ** s, axis=0) + r ** (s - 1) * (1 / (s - 1)) + r**s * _tail(s, r)


def _hurwitz(s: Any, q: Any) -> Any:
    """By powers with secret exponents."""
    s, q = jnp.broadcast_arrays(s, q)
    terms = promise(q + _steps(q), 0.25, 2.0**24) ** -s
    last = promise(q + _SHIFT, 1, 2.0**24)
    return jnp.sum(terms[:-1], axis=0) + last ** (1 - s) / (s - 1) + terms[-1] * _tail(s, 1 / last)


def _steps(q: Any) -> np.ndarray:
    return np.arange(_SHIFT + 1, dtype=q.dtype).reshape(-1, *(1,) * q.ndim)


def _tail(s: Any, r: Any) -> Any:
    """1/2 + s r / 12 - ..., the Euler-Maclaurin series after its integral."""
    inner = 1 - (s + 3) * (s + 4) * (r * r) * (1 / 42)
    return 0.5 + s * r * (1 / 12) * (1 - (s + 1) * (s + 2) * (r * r) * (1 / 60) * inner)
