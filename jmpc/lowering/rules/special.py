"""Special functions of one variable, written in JAX. Domains and errors: `docs/functions.md`."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax.numpy as jnp
from jax import lax

from jmpc.functions import coefficients_special as fits
from jmpc.functions.series import MOST_FRACTION, Fit
from jmpc.lowering.composite import bounded, composite
from jmpc.lowering.rules.fitted import fitted
from jmpc.protocols.base import Series

_LARGE = 2.0**16  # from here on acosh(x) is log(2 x), but for less than any ulp


@composite("cumlogsumexp")
def cumlogsumexp(x: Any, *, axis: int, reverse: bool) -> Any:
    """Relative to the running maximum: log of the sums of exp(x - max up to there), all of them at most the length."""
    return lax.associative_scan(jnp.logaddexp, x, reverse=reverse, axis=axis)


@composite("asin")
def asin(x: Any) -> Any:
    """The angle of the point (sqrt(1 - x^2), x)."""
    x = bounded(x, -1, 1)
    return jnp.arctan2(x, jnp.sqrt(1 - x * x))


@composite("acos")
def acos(x: Any) -> Any:
    """The angle of the point (x, sqrt(1 - x^2))."""
    x = bounded(x, -1, 1)
    return jnp.arctan2(jnp.sqrt(1 - x * x), x)


@composite("asinh")
def asinh(x: Any) -> Any:
    """Smooth in [-1, 1], and less log|x| in 1 / x beyond."""
    size = jnp.abs(x)
    inside = size < 1
    argument = jnp.where(inside, x, 1 / x)
    near = fitted(argument, fits.ASINH_NEAR, fits.ASINH_NEAR_FINE)
    far = jnp.log(size) + fitted(argument, fits.ASINH_FAR)
    return jnp.where(inside, near, jnp.sign(x) * far)


@composite("acosh")
def acosh(x: Any) -> Any:
    """2 log(sqrt(x + 1) + sqrt(x - 1)) - log(2) up to 2^16, and from there on as log(x) grows."""
    near = bounded(x, 1, _LARGE)
    return 2 * jnp.log(jnp.sqrt(near + 1) + jnp.sqrt(near - 1)) - math.log(2) + _growth(x)


def _growth(x: Any) -> Any:
    """log(x / 2^16), or 0 for a smaller x."""
    return jnp.log(jnp.maximum(x, _LARGE)) - math.log(_LARGE)


# -- the error function's inverse, Bessel functions --------------------------------------------------------------


@composite("erf_inv")
def erf_inv(x: Any) -> Any:
    """x times a smooth function of w = -log(1 - x^2), which grows with the number of digits that 1 - |x| has."""
    x = bounded(x, -1, 1)
    w = -(jnp.log(1 - x) + jnp.log(1 + x))
    return x * fitted(w, fits.ERF_INV, fits.ERF_INV_FINE)


@composite("bessel_i0e")
def bessel_i0e(x: Any) -> Any:
    """Smooth in |x| up to 8, and in |x|^(-1/2) from there on."""
    size = jnp.abs(x)
    near = fitted(size, fits.I0E_NEAR, fits.I0E_NEAR_FINE)
    return jnp.where(size < 8, near, fitted(lax.rsqrt(jnp.maximum(size, 8)), fits.I0E_FAR))


@composite("bessel_i1e")
def bessel_i1e(x: Any) -> Any:
    """As `bessel_i0e`, and odd."""
    size = jnp.abs(x)
    near = fitted(size, fits.I1E_NEAR, fits.I1E_NEAR_FINE)
    return jnp.sign(x) * jnp.where(size < 8, near, fitted(lax.rsqrt(jnp.maximum(size, 8)), fits.I1E_FAR))


# -- gamma functions -----------------------------------------------------------------------------------------------

# sin(pi x) and cos(pi x) of every x: half a turn is a power of two in the ring, so that the angle is exact.
_SIN_PI = Fit(2.0, -math.inf, math.inf, 0.0, MOST_FRACTION, Series((1,), (0,), (1 << 30,)))
_COS_PI = dataclasses.replace(_SIN_PI, series=Series((1,), (1 << 30,), (0,)))


@composite("lgamma")
def lgamma(x: Any) -> Any:
    """By Stirling's series from 8 on; of a negative x by reflection."""
    below = x < 0
    positive = _lgamma_of_positive(jnp.where(below, 1 - x, x))
    wave = jnp.abs(fitted(x, _SIN_PI))
    return jnp.where(below, math.log(math.pi) - jnp.log(wave) - positive, positive)


def _lgamma_of_positive(x: Any) -> Any:
    log = jnp.log(x)
    near = fitted(x, fits.LGAMMA, fits.LGAMMA_FINE) - log  # of x + 1, minus log(x)
    r = 1 / jnp.maximum(x, 8)
    far = (x - 0.5) * log - x + math.log(2 * math.pi) / 2 + r * (1 / 12 - r * r * (1 / 360))
    return jnp.where(x < 8, near, far)


@composite("digamma")
def digamma(x: Any) -> Any:
    """By its asymptotic series from 8 on; of a negative x by reflection."""
    below = x < 0
    positive = _digamma_of_positive(jnp.where(below, 1 - x, x))
    return positive - jnp.where(below, math.pi * cotangent_of_pi(x), 0)


def cotangent_of_pi(x: Any) -> Any:
    """cot(pi x), and 0 at the poles."""
    return fitted(x, _COS_PI) * (1 / fitted(x, _SIN_PI))


def _digamma_of_positive(x: Any) -> Any:
    inverse = 1 / x
    near = fitted(x, fits.DIGAMMA, fits.DIGAMMA_FINE) - inverse  # of x + 1, minus 1 / x
    r = jnp.minimum(inverse, 1 / 8)
    far = jnp.log(x) - r * 0.5 - r * r * (1 / 12 - r * r * (1 / 120))
    return jnp.where(x < 8, near, far)
