"""How exact the elementwise functions are on all of their domains: the figures of `docs/functions.md`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy.special as jsp
import numpy as np
import scipy.special as sp
from jax import lax

from .accuracy import both_signs, grid, largest, magnitudes, smallest

Points = Callable[[int], tuple[np.ndarray, ...]]


@dataclasses.dataclass(frozen=True)
class Function:
    """What is claimed of a function.

    name: its row in the documentation.
    f, exact: of JAX and of scipy.
    points: arguments in its domain, the ends included, for a number of fraction bits.
    ulps: the largest error at 18 bits, and at 24 (12 are as 18).
    rounds: with three parties, at 18 bits.
    relative: as much of the result comes on top, as a power of two; -inf is nothing.
    per_unit: as many ulp for each unit of the result come on top.
    input_ulps: an error of as many ulp in the first argument comes on top.
    """

    name: str
    f: Callable[..., Any]
    exact: Callable[..., Any]
    points: Points
    ulps: tuple[float, float]
    rounds: int
    relative: float = -np.inf
    per_unit: float = 0.0
    input_ulps: float = 0.0

    def excess(self, got: np.ndarray, fraction: int, *args: np.ndarray) -> np.ndarray:
        """By how many ulp the results are off, beyond what is allowed in proportion."""
        want = self.exact(*args)
        allowed = (2.0**self.relative + self.per_unit * 2.0**-fraction) * np.abs(want)
        if self.input_ulps:
            step = self.input_ulps * 2.0**-fraction
            with np.errstate(all="ignore"):
                sides = [np.abs(self.exact(args[0] + s, *args[1:]) - want) for s in (-step, step)]
            allowed = allowed + np.fmax(*(np.nan_to_num(side, nan=0.0) for side in sides))
        return (np.abs(got - want) - allowed) * 2.0**fraction

    def error(self) -> str:
        """The claim in words."""
        parts = [f"{self.ulps[0]:g} ulp ({self.ulps[1]:g})"]
        if self.relative > -np.inf:
            parts.append(f"2^{self.relative:g} of the result")
        if self.per_unit:
            parts.append(f"{self.per_unit:g} ulp for each unit of the result")
        if self.input_ulps:
            parts.append(f"{self.input_ulps:g} ulp of the input")
        return " + ".join(parts)


def everything(f: int) -> tuple[np.ndarray]:
    """All magnitudes and signs, and zero."""
    return (np.concatenate([both_signs(magnitudes(smallest(f), largest(f), f)), [0.0]]),)


def wide(f: int) -> tuple[np.ndarray]:
    """All magnitudes, and more of the middle ones."""
    return (np.concatenate([*everything(f), grid(-20, 20, f)]),)


def positive(f: int) -> tuple[np.ndarray]:
    return (magnitudes(smallest(f), largest(f), f),)


def between(low: float, high: float) -> Points:
    return lambda f: (grid(low, high, f),)


def inside(low: float, high: float) -> Points:
    """Without the ends."""
    return lambda f: (grid(low + smallest(f), high - smallest(f), f),)


def invertible(power: int) -> Points:
    """Where x^-power stays in the range of products."""
    return lambda f: (both_signs(magnitudes(max(2.0 ** -((61 - 2 * f) / power), 2 * smallest(f)), 2.0**12, f)),)


def pairs(low: float, high: float) -> Points:
    def points(f: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(f)
        x, y = (np.round(rng.uniform(low, high, 4000) * 2.0**f) * 2.0**-f for _ in range(2))
        return np.concatenate([x, [0, 0, 1, -1, 0, 1, 1]]), np.concatenate([y, [1, -1, 0, 0, 0, 1, -1]])

    return points


def between_poles(f: int) -> tuple[np.ndarray]:
    x = grid(-20, 4, f)
    return (x[np.abs(x - np.round(x)) > 2.0**-6],)


def log_uniform(*ranges: tuple[float, float]) -> Points:
    def points(f: int) -> tuple[np.ndarray, ...]:
        rng = np.random.default_rng(f)
        drawn = (np.exp(rng.uniform(np.log(low), np.log(high), 1000)) for low, high in ranges)
        return tuple(np.maximum(np.round(x * 2.0**f), 1) * 2.0**-f for x in drawn)

    return points


def magnitudes_from(low: Callable[[int], float], high: Callable[[int], float], *, signed: bool = False) -> Points:
    """The ends as functions of the fraction."""

    def points(f: int) -> tuple[np.ndarray]:
        x = magnitudes(low(f), high(f), f)
        return (both_signs(x) if signed else x,)

    return points


def exponents(least: float, most: float) -> Points:
    """Up to where an exponential is capped: `most`, and an octave less from 24 bits on."""
    return lambda f: (grid(least, most if f < 24 else most - abs(np.log(2)), f),)


def above_minus_one(f: int) -> tuple[np.ndarray]:
    return (np.concatenate([grid(smallest(f) - 1, 4, f), magnitudes(smallest(f), largest(f) / 2, f)]),)


def tangents(f: int) -> tuple[np.ndarray]:
    """Within half of the largest tangent."""
    end = np.arctan(2.0 ** (max(8, min(15, 33 - f)) - 1))
    return (grid(-np.floor(end * 2.0**f) * 2.0**-f, np.floor(end * 2.0**f) * 2.0**-f, f),)


def invertible_once(f: int) -> float:
    return 2.0 ** -min(f, 37 - f)


def for_beta(f: int) -> tuple[np.ndarray, ...]:
    a, b = log_uniform((0.05, 32), (0.05, 32))(f)
    return a, b, np.round(np.random.default_rng(1).uniform(0, 1, a.size) * 2.0**f) * 2.0**-f


FUNCTIONS = [
    Function("sqrt", jnp.sqrt, np.sqrt, magnitudes_from(smallest, lambda f: 2.0 ** (71 - 2 * f)), (1.5, 2.5), 19, -22),
    Function(
        "rsqrt",
        lax.rsqrt,
        lambda x: x**-0.5,
        magnitudes_from(lambda f: 2.0 ** -min(f, 72 - 2 * f), largest),
        (1.5, 2.5),
        19,
        -21.4,
    ),
    Function("cbrt", jnp.cbrt, np.cbrt, everything, (1.5, 2), 31, -22),
    Function(
        "reciprocal",
        lambda x: 1 / x,
        lambda x: 1 / x,
        magnitudes_from(invertible_once, largest, signed=True),
        (1.5, 2.5),
        19,
        -21.5,
    ),
    Function("x**-2", lambda x: x**-2, lambda x: x**-2.0, invertible(2), (3, 3), 21, -20.5, input_ulps=1),
    Function("x**-3", lambda x: x**-3, lambda x: x**-3.0, invertible(3), (3, 3), 23, -20.5, input_ulps=1),
    Function(
        "x**1.7", lambda x: x**1.7, lambda x: x**1.7, magnitudes_from(smallest, lambda f: 2.0**13), (1.5, 2), 24, -20.5
    ),
    Function("exp", jnp.exp, np.exp, exponents(-40, 16.9), (1.5, 2), 6, -22.3),
    Function("exp2", jnp.exp2, np.exp2, exponents(-40, 24.0), (1.5, 2), 6, -22.3),
    Function("expm1", jnp.expm1, np.expm1, exponents(-40, 16.9), (1.5, 2), 6, -22.3),
    Function("log", jnp.log, np.log, positive, (1.5, 2), 17),
    Function("log1p", jnp.log1p, np.log1p, above_minus_one, (1.5, 2), 17),
    Function("logaddexp", jnp.logaddexp, np.logaddexp, pairs(-30, 30), (2.5, 3), 21),
    Function("logistic", jax.nn.sigmoid, sp.expit, everything, (1.5, 4), 6),
    Function("tanh", jnp.tanh, np.tanh, everything, (1.5, 7), 6),
    Function("erf", lax.erf, sp.erf, everything, (1.5, 1.5), 6),
    Function("erfc", lax.erfc, sp.erfc, everything, (1.5, 1.5), 6),
    Function("erf_inv", lax.erf_inv, sp.erfinv, inside(-1, 1), (2, 2), 27),
    Function("sin", jnp.sin, np.sin, between(-64, 64), (1.5, 1.5), 2),
    Function("cos", jnp.cos, np.cos, between(-64, 64), (1.5, 1.5), 2),
    Function("tan", jnp.tan, np.tan, tangents, (2, 3), 21, -20, input_ulps=2.0**-5),
    Function("asin", jnp.arcsin, np.arcsin, between(-1, 1), (2.5, 3), 54),
    Function("acos", jnp.arccos, np.arccos, between(-1, 1), (2.5, 3), 54),
    Function("atan", jnp.arctan, np.arctan, everything, (2.5, 3), 23),
    Function("atan2", jnp.arctan2, np.arctan2, pairs(-30, 30), (2.5, 3), 28),
    Function("sinh", jnp.sinh, np.sinh, exponents(-16.2, 16.9), (1.5, 2), 7, -22.3),
    Function("cosh", jnp.cosh, np.cosh, exponents(-16.2, 16.9), (1.5, 2), 7, -22.3),
    Function("asinh", jnp.arcsinh, np.arcsinh, everything, (2.5, 2.5), 25),
    Function("acosh", jnp.arccosh, np.arccosh, magnitudes_from(lambda f: 1.0, largest), (4, 7), 42),
    Function("atanh", jnp.arctanh, np.arctanh, inside(-1, 1), (2, 2), 18),
    Function(
        "lgamma",
        lax.lgamma,
        sp.gammaln,
        magnitudes_from(smallest, lambda f: 2.0 ** (57 - 2 * f)),
        (2, 2),
        33,
        per_unit=1,
    ),
    Function("digamma", lax.digamma, sp.digamma, magnitudes_from(invertible_once, largest), (3, 4), 37, -21.5),
    Function(
        "polygamma(1, x)",
        lambda x: jsp.polygamma(1, x),
        lambda x: sp.polygamma(1, x),
        magnitudes_from(lambda f: max(2.0 ** (f - 30), 4 * smallest(f)), lambda f: 2.0**12),
        (4, 4),
        35,
        -20,
        input_ulps=1,
    ),
    Function(
        "polygamma(2, x)",
        lambda x: jsp.polygamma(2, x),
        lambda x: sp.polygamma(2, x),
        magnitudes_from(lambda f: max(2.0 ** ((2 * f - 58) // 3), 4 * smallest(f)), lambda f: 2.0**12),
        (9, 9),
        35,
        -20,
        input_ulps=1,
    ),
    Function("zeta", lax.zeta, sp.zeta, log_uniform((1.25, 9), (0.5, 30)), (6, 6), 30, -18),
    Function("igamma", lax.igamma, sp.gammainc, log_uniform((0.01, 32), (1e-3, 128)), (45, 45), 37),
    Function("igamma for a < 4", lax.igamma, sp.gammainc, log_uniform((0.01, 4), (1e-3, 128)), (6, 6), 37),
    Function(
        "igamma_grad_a",
        lax.igamma_grad_a,
        lambda a, x: (sp.gammainc(a + 1e-5, x) - sp.gammainc(a - 1e-5, x)) / 2e-5,
        log_uniform((0.01, 32), (1e-3, 128)),
        (15, 15),
        39,
    ),
    Function("regularized_incomplete_beta", lax.betainc, sp.betainc, for_beta, (35, 35), 45),
    Function("bessel_i0e", lax.bessel_i0e, sp.i0e, wide, (1.5, 2), 29),
    Function("bessel_i1e", lax.bessel_i1e, sp.i1e, wide, (1.5, 2), 30),
    Function("lgamma for x < 0", lax.lgamma, sp.gammaln, between_poles, (3, 3), 33, per_unit=1, input_ulps=0.5),
    Function("digamma for x < 0", lax.digamma, sp.digamma, between_poles, (3, 3), 37, input_ulps=1),
    Function(
        "polygamma(1, x) for x < 0",
        lambda x: jsp.polygamma(1, x),
        lambda x: (np.pi / np.sin(np.pi * x)) ** 2 - sp.polygamma(1, 1 - x),
        between_poles,
        (6, 6),
        35,
        -20,
        input_ulps=1,
    ),
]
