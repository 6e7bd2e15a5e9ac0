"""Reciprocals and quotients of either sign, over everything that fits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from functions.accuracy import FRACTIONS, deviation, encode, interpret, logarithmic, value

from jmpc import functions
from jmpc.functions import Method

POSITIVE = logarithmic(0, 61.9)


def inverse(x: np.ndarray) -> np.ndarray:
    """1/x, and 0 for 0."""
    return np.divide(1.0, x, out=np.zeros_like(x), where=x != 0)


def quotient(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return x * inverse(y)


def both_signs(words: np.ndarray) -> np.ndarray:
    return np.concatenate([-words[::-1], [0], words])


def within(words: np.ndarray, low: float, high: float, fraction: int) -> np.ndarray:
    x = words / 2.0**fraction
    return words[(x >= low) & (x <= high)]


def test_reciprocal_of_everything() -> None:
    worst = deviation(lambda p, x: functions.reciprocal(p, x, 18), [both_signs(POSITIVE)], inverse, relative=2.0**-22.5)
    assert worst <= 2.2


@pytest.mark.parametrize("method", Method)
def test_reciprocal_of_positive_numbers(method: Method) -> None:
    words = np.append(POSITIVE[:: 1 if method is Method.WORD else 10], 0)
    bounds = (0.0, 2.0**44)
    worst = deviation(
        lambda p, x: functions.reciprocal(p, x, 18, bounds=bounds, method=method),
        [words],
        inverse,
        relative=2.0**-22.5,
    )
    assert worst <= 2.2


@pytest.mark.parametrize("bounds", [(1.0, 256.0), (0.3, 5.0), (-2.0, 2.0), (-9.0, -0.5), (0.0, 2.0**-8), (0.0, 0.0)])
def test_reciprocal_with_narrow_bounds(bounds: tuple[float, float]) -> None:
    words = np.unique(np.concatenate([encode(np.linspace(*bounds, 20_000)), encode(bounds)]))
    for method in (None, *Method):
        results = value(
            interpret(lambda p, x, m=method: functions.reciprocal(p, x, 18, bounds=bounds, method=m), words)
        )
        exact = inverse(words / 2.0**18)
        assert (np.abs(results / 2.0**18 - exact) <= 2.2 * 2.0**-18 + 2.0**-22.5 * np.abs(exact)).all()


@pytest.mark.parametrize("fraction", [12, 24])
def test_reciprocal_at_other_fractions(fraction: int) -> None:
    smallest = 2.0 ** -min(fraction, 38 - fraction)
    words = within(POSITIVE[::4], smallest, np.inf, fraction)
    worst = deviation(
        lambda p, x: functions.reciprocal(p, x, fraction),
        [both_signs(words)],
        inverse,
        relative=2.0**-21.9,
        fraction=fraction,
    )
    assert worst <= 2.2


def test_small_numbers_count_as_zero_where_their_reciprocal_does_not_fit() -> None:
    words = np.array([1, -1, 2, 100, 255, -255])  # at 30 fractional bits
    assert (value(interpret(lambda p, x: functions.reciprocal(p, x, 30), words)) == 0).all()


def test_an_impossible_reciprocal_is_refused() -> None:
    with pytest.raises(ValueError, match="bits of precision at 30 fractional bits"):
        interpret(lambda p, x: functions.reciprocal(p, x, 30, bounds=(2.0**-20, 1.0)), [1])


def operands(fraction: int, quotient_bits: int, largest: float, points: int) -> list[np.ndarray]:
    """Quotients and denominators of all magnitudes and signs, with 0 / 0 and 5 / 0."""
    rng = np.random.default_rng(3)
    y = np.round(2.0 ** rng.uniform(0, np.log2(largest) + fraction - 0.001, points))
    q = rng.uniform(-1, 1, points) * 2.0 ** rng.uniform(-fraction - 2, quotient_bits - 0.01, points)
    x = np.round(q * y)
    keep = (np.abs(x / y) < 0.999 * 2.0**quotient_bits) & (np.abs(x) < 2.0**61)
    x, y = x[keep], (y * rng.choice([-1, 1], points))[keep]
    return [np.append(x, [0, 5, 7]).astype(np.int64), np.append(y, [0, 0, -1]).astype(np.int64)]


@pytest.mark.parametrize("fraction", [12, 18, 24])
def test_divide(fraction: int) -> None:
    words = operands(fraction, 33 - fraction, 2.0**28, 100_000 if fraction == 18 else 20_000)
    worst = deviation(
        lambda p, x, y: functions.divide(p, x, y, fraction),
        words,
        quotient,
        relative=2.0**-21.3,
        fraction=fraction,
    )
    assert worst <= 2.2


@pytest.mark.parametrize(
    ("quotient_bits", "bounds"), [(10, (0.0, 2.0**10)), (2, (0.0, 2.0**18)), (15, (1.0, 64.0)), (1, (-1.0, 1.0))]
)
def test_divide_with_known_ranges(quotient_bits: int, bounds: tuple[float, float]) -> None:
    x, y = operands(18, quotient_bits, bounds[1], 20_000)
    y = y if bounds[0] < 0 else np.abs(y)
    keep = (y >= bounds[0] * 2**18) & (y <= bounds[1] * 2**18)

    def divide(protocol: Any, x: Any, y: Any) -> Any:
        return functions.divide(protocol, x, y, 18, quotient_bits=quotient_bits, bounds=bounds)

    worst = deviation(divide, [x[keep], y[keep]], quotient, relative=2.0**-21.3)
    assert worst <= 2.2


def test_divide_broadcasts_and_cuts_off_large_denominators() -> None:
    x, y = encode([[1.0], [-6.0]]), encode([2.0, -3.0, 2.0**29])
    results = value(interpret(lambda p, x, y: functions.divide(p, x, y, 18), x, y))
    np.testing.assert_allclose(results / 2.0**18, [[0.5, -1 / 3, 0], [-3, 2, 0]], atol=2.2 * 2.0**-18)


def test_an_impossible_quotient_is_refused() -> None:
    with pytest.raises(ValueError, match="a quotient below 2\\^30 leaves"):
        interpret(lambda p, x, y: functions.divide(p, x, y, 24, quotient_bits=30), [1], [1])


@pytest.mark.parametrize("fraction", FRACTIONS)
def test_every_fraction(fraction: int) -> None:
    x, y = encode(np.linspace(0.5, 5, 50), fraction), encode(np.linspace(-7, 9, 50), fraction)
    for protocol_function, exact in (
        (lambda p, x, y: functions.reciprocal(p, x, fraction), 1 / (x / 2.0**fraction)),
        (lambda p, x, y: functions.divide(p, x, y, fraction), x / y),
    ):
        results = value(interpret(protocol_function, x, y))
        keep = np.abs(exact) < 2.0 ** (33 - fraction)
        error = np.abs(results / 2.0**fraction - exact)
        assert (error <= 2.2 * 2.0**-fraction + 2.0**-20 * np.abs(exact))[keep].all()
