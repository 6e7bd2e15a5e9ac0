"""sigmoid, tanh, erf, gelu, silu: accuracy on the whole range of inputs, and their ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from functions.accuracy import FRACTIONS, deviation, evaluate, interpret, linear, value
from scipy.special import erf, expit

from jmpc import functions


def gelu(x: np.ndarray) -> np.ndarray:
    return x * (1 + erf(x / np.sqrt(2))) / 2


def gelu_tanh(x: np.ndarray) -> np.ndarray:
    return x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2


def silu(x: np.ndarray) -> np.ndarray:
    return x * expit(x)


EXACT: dict[Callable[..., Any], Callable[..., np.ndarray]] = {
    functions.sigmoid: expit,
    functions.tanh: np.tanh,
    functions.erf: erf,
    functions.gelu: gelu,
    functions.gelu_tanh: gelu_tanh,
    functions.silu: silu,
}

# Largest error in ulp at 12, 18 and 24 fractional bits. From about 2^-22 on the fits' own errors show, and those
# of silu are multiplied by x.
BOUNDS = {
    functions.sigmoid: {12: 1.9, 18: 1.9, 24: 4.5},
    functions.tanh: {12: 1.9, 18: 1.9, 24: 7.5},
    functions.erf: {12: 1.9, 18: 1.9, 24: 1.9},
    functions.gelu: {12: 1.9, 18: 1.9, 24: 1.9},
    functions.gelu_tanh: {12: 1.9, 18: 1.9, 24: 1.9},
    functions.silu: {12: 1.9, 18: 3.5, 24: 50.0},
}


def all_words(fraction: int, points: int) -> np.ndarray:
    """Dense around 0, and both signs of everything up to 2^61.9."""
    far = np.round(2.0 ** np.linspace(fraction + 2, 61.9, points // 10)).astype(np.int64)
    return np.concatenate([linear(-20, 20, fraction, points), far, -far])


@pytest.mark.parametrize("fraction", [12, 18, 24])
@pytest.mark.parametrize("function", EXACT, ids=lambda f: f.__name__)
def test_whole_range(function: Callable[..., Any], fraction: int) -> None:
    words = all_words(fraction, 120_000 if fraction == 18 else 20_000)
    worst = deviation(lambda p, x: function(p, x, fraction), [words], EXACT[function], fraction=fraction)
    assert worst <= BOUNDS[function][fraction]


@pytest.mark.parametrize("function", EXACT, ids=lambda f: f.__name__)
def test_promised_bounds(function: Callable[..., Any]) -> None:
    bounds = (-3.0, 2.5)
    words = linear(*bounds, points=3000)
    results = value(interpret(lambda p, x: function(p, x, 18, bounds=bounds), words))
    assert np.abs(results / 2.0**18 - EXACT[function](words / 2.0**18)).max() <= 1.6 * 2.0**-18


LIMITS = [(functions.sigmoid, 13.0, 0, 1), (functions.tanh, 6.9, -1, 1), (functions.erf, 3.4, -1, 1)]


@pytest.mark.parametrize(("function", "reach", "low", "high"), LIMITS)
def test_ends_are_flat_and_never_fall(function: Callable[..., Any], reach: float, low: int, high: int) -> None:
    """Around the ends, in every mode: no step down of more than the rounding, and exact limits outside."""
    one, edge = 1 << 18, round(reach * 2**18)
    words = np.concatenate([np.arange(-edge - 3000, 3000 - edge), np.arange(edge - 3000, edge + 3000)])
    for (results,) in evaluate(lambda p, x: function(p, x, 18), [words]):
        assert np.diff(results[:6000]).min() >= -2 and np.diff(results[6000:]).min() >= -2
        assert (results[words < -edge] == low * one).all()
        assert (results[words >= edge] == high * one).all()


@pytest.mark.parametrize("function", EXACT, ids=lambda f: f.__name__)
def test_fractions_outside_the_limits_are_refused(function: Callable[..., Any]) -> None:
    for fraction in (7, 31):
        with pytest.raises(ValueError, match="8 to 30 fractional bits"):
            interpret(lambda p, x, f=fraction: function(p, x, f), [1])


@pytest.mark.parametrize("fraction", FRACTIONS)
def test_every_fraction(fraction: int) -> None:
    """Coarse, at all fractional bits: the formulas are generic."""
    words = linear(-20, 20, fraction, 200)
    x = words / 2.0**fraction
    for function, exact in EXACT.items():
        results = value(interpret(lambda p, x, g=function: g(p, x, fraction), words))
        tolerance = 3 * 2.0**-fraction + (2.0**-18 if function is functions.silu else 2.0**-20.5)
        assert np.abs(results / 2.0**fraction - exact(x)).max() <= tolerance, function
