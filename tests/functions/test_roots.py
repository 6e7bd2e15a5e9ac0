"""Square roots, their reciprocals, norms and logarithms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from functions.accuracy import FRACTIONS, deviation, encode, evaluate, interpret, linear, logarithmic, value

from jmpc import functions
from jmpc.functions import Method

POSITIVE = logarithmic(0, 61.9)


def below(x: float, fraction: int = 18) -> np.ndarray:
    return POSITIVE[POSITIVE / 2.0**fraction < x]


def inverse_root(x: np.ndarray) -> np.ndarray:
    """x^-1/2, and 0 for 0."""
    return np.divide(1.0, np.sqrt(x), out=np.zeros_like(x), where=x != 0)


def test_rsqrt() -> None:
    words = np.append(POSITIVE, 0)
    worst = deviation(lambda p, x: functions.rsqrt(p, x, 18), [words], inverse_root, relative=2.0**-22.8)
    assert worst <= 2.2


def test_sqrt() -> None:
    words = np.append(below(2.0**36), 0)
    worst = deviation(lambda p, x: functions.sqrt(p, x, 18), [words], np.sqrt, relative=2.0**-22.0)
    assert worst <= 2.2


@pytest.mark.parametrize("fraction", [12, 24])
def test_roots_at_other_fractions(fraction: int) -> None:
    def roots(protocol: Any, x: Any) -> Any:
        return functions.rsqrt(protocol, x, fraction), functions.sqrt(protocol, x, fraction)

    words = np.append(below(2.0 ** (72 - 2 * fraction), fraction)[::5], 0)
    worst = deviation(roots, [words], lambda x: (inverse_root(x), np.sqrt(x)), relative=2.0**-21.4, fraction=fraction)
    assert worst <= 2.2


@pytest.mark.parametrize("bounds", [(2.0**-6, 64.0), (-1e-4, 3.0), (1.0, 1.5)])
def test_roots_with_narrow_bounds(bounds: tuple[float, float]) -> None:
    words = linear(max(bounds[0], 0), bounds[1], points=20_000)
    x = words / 2.0**18
    for method in (None, *Method):
        known = {"bounds": bounds, "method": method}
        root = value(interpret(lambda p, x, k=known: functions.sqrt(p, x, 18, **k), words))
        inverse = value(interpret(lambda p, x, k=known: functions.rsqrt(p, x, 18, **k), words))
        assert np.abs(root / 2.0**18 - np.sqrt(x)).max() <= 2.2 * 2.0**-18
        exact = inverse_root(x)
        assert (np.abs(inverse / 2.0**18 - exact) <= 2.2 * 2.0**-18 + 2.0**-22.8 * exact).all()


def test_a_root_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="sqrt"):
        interpret(lambda p, x: functions.sqrt(p, x, 30, bounds=(0.0, 2.0**32)), [1])
    with pytest.raises(ValueError, match="x\\^-1/2"):
        interpret(lambda p, x: functions.rsqrt(p, x, 30, bounds=(2.0**-29, 1.0)), [1])


@pytest.mark.parametrize("fraction", [12, 18, 24])
def test_ratio_to_root(fraction: int) -> None:
    rng, bits = np.random.default_rng(4), 33 - fraction
    y = np.round(2.0 ** rng.uniform(0, min(44, 26 + fraction), 30_000)).astype(np.int64)
    quotient = rng.choice([-1, 1], y.size) * 2.0 ** rng.uniform(-fraction, bits - 0.01, y.size)
    x = np.round(quotient * np.sqrt(y * 2.0**fraction)).astype(np.int64)
    fits = np.abs(x) < 2**61
    x, y = x[fits], y[fits]
    exact = x / np.sqrt(y * 2.0**fraction)
    allowed = 2.0**-20.5 * np.abs(exact) + 2.0 ** (fraction - 60 + bits) * np.abs(x / 2.0**fraction)
    for (words,) in evaluate(lambda p, x, y: functions.ratio_to_root(p, x, y, fraction), [x, y]):
        assert (np.abs(words / 2.0**fraction - exact) - allowed).max() <= 2.2 * 2.0**-fraction


def test_ratio_to_the_root_of_nothing_is_nothing() -> None:
    words = value(interpret(lambda p, x, y: functions.ratio_to_root(p, x, y, 18), [5, 1 << 40, -3], [0, 0, 0]))
    assert not words.any()


def test_norm() -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(0, 1, (8000, 16)) * 2.0 ** rng.uniform(-10, 8, (8000, 1))
    worst = deviation(
        lambda p, x: functions.norm(p, x, 18),
        [encode(x)],
        lambda x: np.sqrt((x * x).sum(-1)),
        relative=2.0**-21.5,
    )
    assert worst <= 2.2


@pytest.mark.parametrize(("fraction", "bound"), [(12, 1.6), (18, 1.6), (24, 1.6)])
def test_logarithms(fraction: int, bound: float) -> None:
    def logarithms(protocol: Any, x: Any) -> Any:
        return functions.log(protocol, x, fraction), functions.log2(protocol, x, fraction)

    words = POSITIVE if fraction == 18 else POSITIVE[::5]
    worst = deviation(logarithms, [words], lambda x: (np.log(x), np.log2(x)), fraction=fraction)
    assert worst <= bound


def test_log2_alone_is_better() -> None:
    worst = deviation(lambda p, x: functions.log2(p, x, 18), [POSITIVE], np.log2)
    assert worst <= 1.3


def test_log1p() -> None:
    words = np.concatenate([-below(1.0), [0], below(2.0**20)])
    assert deviation(lambda p, x: functions.log1p(p, x, 18), [words], np.log1p) <= 1.6


@pytest.mark.parametrize("method", [None, *Method])
def test_log_with_narrow_bounds(method: Method | None) -> None:
    words = linear(0.1, 10, points=20_000)
    results = value(interpret(lambda p, x: functions.log(p, x, 18, bounds=(0.1, 10.0), method=method), words))
    assert np.abs(results / 2.0**18 - np.log(words / 2.0**18)).max() <= 1.6 * 2.0**-18


def test_logarithm_of_zero_is_that_of_the_smallest_number() -> None:
    for function, exact in ((functions.log, -18 * np.log(2)), (functions.log2, -18)):
        results = value(interpret(lambda p, x, g=function: g(p, x, 18), [0, 1]))
        assert np.abs(results / 2.0**18 - exact).max() <= 1.6 * 2.0**-18


@pytest.mark.parametrize("fraction", FRACTIONS)
def test_every_fraction(fraction: int) -> None:
    words = encode(np.geomspace(0.01, 1000, 60), fraction)
    x = words / 2.0**fraction
    for function, exact in (
        (functions.sqrt, np.sqrt(x)),
        (functions.rsqrt, inverse_root(x)),
        (functions.log, np.log(x)),
        (functions.log2, np.log2(x)),
    ):
        results = value(interpret(lambda p, x, g=function: g(p, x, fraction), words))
        error = np.abs(results / 2.0**fraction - exact)
        assert (error <= 2.2 * 2.0**-fraction + 2.0**-20 * np.maximum(1, np.abs(exact))).all(), function
