"""Sine, cosine, tangent, arctangents."""

from __future__ import annotations

import numpy as np
import pytest
from functions.accuracy import FRACTIONS, deviation, encode, evaluate, interpret, linear, logarithmic, value

from jmpc import functions


def sine_and_cosine(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.sin(x), np.cos(x)


@pytest.mark.parametrize("fraction", [12, 18, 24])
def test_sin_cos(fraction: int) -> None:
    worst = deviation(
        lambda p, x: functions.sin_cos(p, x, fraction),
        [linear(-64, 64, fraction)],
        sine_and_cosine,
        fraction=fraction,
    )
    assert worst <= 1.2


def test_sin_cos_of_large_angles() -> None:
    far = logarithmic(18, 44)
    words = np.concatenate([far, -far])
    assert deviation(lambda p, x: functions.sin_cos(p, x, 18), [words], sine_and_cosine) <= 2.0


def test_sin_and_cos_alone() -> None:
    words = linear(-4, 4, points=1000)
    for function, exact in ((functions.sin, np.sin), (functions.cos, np.cos)):
        results = value(interpret(lambda p, x, g=function: g(p, x, 18), words))
        assert np.abs(results / 2.0**18 - exact(words / 2.0**18)).max() <= 1.2 * 2.0**-18


def test_tan() -> None:
    words = linear(-64, 64)
    exact = np.tan(words / 2.0**18)
    words, exact = words[np.abs(exact) < 250], exact[np.abs(exact) < 250]
    for (results,) in evaluate(lambda p, x: functions.tan(p, x, 18), [words]):
        error = np.abs(results / 2.0**18 - exact)
        # Near a pole the noise of the cosine counts, and the rounding of x's angle, tan^2 times.
        assert (error <= 2.2 * 2.0**-18 + 2.0**-21.3 * np.abs(exact) + 2.0**-24 * exact**2).all()


@pytest.mark.parametrize("fraction", [12, 18, 24])
def test_atan_of_the_unit_interval(fraction: int) -> None:
    worst = deviation(
        lambda p, x: functions.atan_unit(p, x, fraction),
        [linear(-1, 1, fraction)],
        np.arctan,
        fraction=fraction,
    )
    assert worst <= 1.2


def test_atan_of_everything() -> None:
    far = logarithmic(0, 61.9, 30_000)
    words = np.concatenate([linear(-4, 4, points=60_000), far, -far])
    assert deviation(lambda p, x: functions.atan(p, x, 18), [words], np.arctan) <= 3.5


@pytest.mark.parametrize("fraction", [12, 18, 24])
def test_atan2(fraction: int) -> None:
    rng = np.random.default_rng(4)
    n = 60_000 if fraction == 18 else 12_000
    y, x = (rng.choice([-1, 1], n) * np.round(2.0 ** rng.uniform(0, 58.9, n)) for _ in range(2))
    y[::3] = np.clip(np.round(x[::3] * rng.uniform(-3, 3, y[::3].size)), -(2.0**58.9), 2.0**58.9)
    y[:9], x[:9] = [0, 5, 0, -5, 7, -7, 0, 3, -3], [5, 0, -5, 0, 7, -7, 0, -3, 3]
    worst = deviation(
        lambda p, y, x: functions.atan2(p, y, x, fraction),
        [y.astype(np.int64), x.astype(np.int64)],
        np.arctan2,
        fraction=fraction,
    )
    assert worst <= 3.5


def test_atan2_broadcasts() -> None:
    y, x = encode([[1.0], [-1.0]]), encode([1.0, -1.0, 0.0])
    results = value(interpret(lambda p, y, x: functions.atan2(p, y, x, 18), y, x))
    exact = np.arctan2([[1.0], [-1.0]], [1.0, -1.0, 0.0])
    np.testing.assert_allclose(results / 2.0**18, exact, atol=3.5 * 2.0**-18)


@pytest.mark.parametrize("fraction", FRACTIONS)
def test_every_fraction(fraction: int) -> None:
    words = linear(-3, 3, fraction, 50)
    x = words / 2.0**fraction
    for function, exact in (
        (functions.sin, np.sin(x)),
        (functions.cos, np.cos(x)),
        (functions.atan, np.arctan(x)),
    ):
        results = value(interpret(lambda p, x, g=function: g(p, x, fraction), words))
        assert np.abs(results / 2.0**fraction - exact).max() <= 3.5 * 2.0**-fraction + 2.0**-21, function
