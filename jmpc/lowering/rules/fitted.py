"""Fitted Fourier series as a primitive, for rules that are written in JAX: one gate and one truncation, 2 rounds."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive

from jmpc.functions.series import Fit, choose, smooth
from jmpc.lowering.context import Context
from jmpc.lowering.interval import Interval
from jmpc.lowering.registry import rule
from jmpc.lowering.rules.nonlinear import apply
from jmpc.lowering.values import FixedPoint
from jmpc.protocols.base import Protocol, Ring

_fitted_p = Primitive("fitted_series")


def fitted(x: Any, *fits: Fit) -> Any:
    """The function that the fits approximate, cheapest first: right where they are fitted, and bounded elsewhere."""
    return _fitted_p.bind(x, fits=fits)


@_fitted_p.def_abstract_eval
def _abstract(x: Any, *, fits: tuple[Fit, ...]) -> jax.core.ShapedArray:
    del fits
    return jax.core.ShapedArray(x.shape, x.dtype)


@_fitted_p.def_impl
def _in_the_clear(x: Any, *, fits: tuple[Fit, ...]) -> Any:
    series = fits[-1].series
    angles = 2 * np.pi / fits[-1].period * jnp.asarray(x)[..., None] * np.asarray(series.harmonics, x.dtype)
    cosines, sines = (np.asarray(c, x.dtype) * 2.0**-30 for c in (series.cosines, series.sines))
    waves = jnp.cos(angles) @ cosines + jnp.sin(angles) @ sines
    return (waves + series.constant) * 2.0 ** fits[-1].exponent


@rule("fitted_series", hint=True)
def fitted_series(context: Context, x: FixedPoint, *, fits: tuple[Fit, ...]) -> FixedPoint:
    fit = choose(fits, context.fraction)
    return apply(context, x, _smooth, Interval(*fit.limits), fit=fit)


def _smooth(protocol: Protocol, x: Ring, fraction: int, *, fit: Fit) -> Ring:
    return smooth(protocol, x, fit, fraction)
