"""exp, exp2 and powers: accuracy, and what happens beyond the range."""

from __future__ import annotations

import numpy as np
import pytest
from functions.accuracy import FRACTIONS, deviation, encode, evaluate, interpret, linear, value

from jmpc import functions
from jmpc.functions.exponential import Octaves, result_octaves

RELATIVE = 2.0**-22.3


def octaves(fraction: int) -> float:
    return 24.5 if fraction < 24 else 23.5


@pytest.mark.parametrize("fraction", [12, 18, 24])
def test_exp(fraction: int) -> None:
    words = linear(-40, octaves(fraction) * np.log(2) - 1e-3, fraction)
    worst = deviation(lambda p, x: functions.exp(p, x, fraction), [words], np.exp, relative=RELATIVE, fraction=fraction)
    assert worst <= 1.6


@pytest.mark.parametrize("fraction", [12, 18, 24])
def test_exp2(fraction: int) -> None:
    words = linear(-40, octaves(fraction) - 1e-3, fraction)
    worst = deviation(
        lambda p, x: functions.exp2(p, x, fraction), [words], np.exp2, relative=RELATIVE, fraction=fraction
    )
    assert worst <= 1.6


def test_exp2_with_bounds_needs_no_comparison() -> None:
    worst = deviation(
        lambda p, x: functions.exp2(p, x, 18, bounds=(-8.0, 8.0)), [linear(-8, 8)], np.exp2, relative=RELATIVE
    )
    assert worst <= 1.6


@pytest.mark.parametrize("bounds", [(-np.inf, 3.0), (-4.0, np.inf)])
def test_exp_with_one_bound(bounds: tuple[float, float]) -> None:
    words = linear(max(bounds[0], -50), min(bounds[1], 16.9), points=20_000)
    worst = deviation(lambda p, x: functions.exp(p, x, 18, bounds=bounds), [words], np.exp, relative=RELATIVE)
    assert worst <= 1.6


def test_exp_saturates() -> None:
    """0 and a constant, exactly, up to the ends of the ring."""
    far = np.round(2.0 ** np.linspace(23, 61, 5000)).astype(np.int64)
    top = round(2.0 ** (24.5 + 18))
    for (results,) in evaluate(lambda p, x: functions.exp(p, x, 18), [np.concatenate([-far, far])]):
        assert (results[:5000] == 0).all() and (results[5000:] == top).all()


@pytest.mark.parametrize(("fraction", "out"), [(12, 28), (18, 28), (18, 40), (24, 30)])
def test_exp_nonpositive(fraction: int, out: int) -> None:
    worst = deviation(
        lambda p, x: functions.exp_nonpositive(p, x, fraction, out),
        [linear(-40, 0, fraction)],
        np.exp,
        relative=RELATIVE,
        fraction=fraction,
        out_fraction=out,
    )
    assert worst <= 1.6


@pytest.mark.parametrize("fraction", range(8, 31))
def test_groups_of_blocks_cover_the_range_and_fit(fraction: int) -> None:
    for octaves, out in ((result_octaves(fraction), fraction), (Octaves(-40.0, 0.0), 40)):
        groups = octaves.groups(out)
        blocks = sorted(q for group in groups for q in group.blocks)
        assert blocks == list(octaves.blocks) and len(blocks) <= 8
        for group in groups:
            shift = group.precision - 8 * group.blocks.start - out
            largest = min(octaves.high, 8 * (group.blocks.stop - 1) + 16) + group.precision
            assert 0 <= shift < 62 and largest - 8 * group.blocks.start <= 61


@pytest.mark.parametrize("fraction", FRACTIONS)
def test_every_fraction(fraction: int) -> None:
    words = linear(-25, 8, fraction, 200)
    results = value(interpret(lambda p, x: functions.exp(p, x, fraction), words))
    exact = np.exp(words / 2.0**fraction)
    assert (np.abs(results / 2.0**fraction - exact) <= 1.6 * 2.0**-fraction + 2.0**-21.5 * exact).all()


@pytest.mark.parametrize(("fraction", "relative"), [(12, 2.0**-19.5), (18, 2.0**-19.5), (24, 2.0**-19.5)])
def test_power(fraction: int, relative: float) -> None:
    rng = np.random.default_rng(3)
    x = encode(2.0 ** rng.uniform(-8, 8, 60_000), fraction)
    log = np.log2(x / 2.0**fraction)
    wanted = rng.uniform(-fraction - 1, octaves(fraction) - 0.6, x.size)
    y = encode(np.clip(wanted / np.where(np.abs(log) < 0.05, 0.05, log), -16, 16), fraction)
    inside = y / 2.0**fraction * log
    keep = (inside > -fraction - 1) & (inside < octaves(fraction) - 0.5)
    worst = deviation(
        lambda p, x, y: functions.power(p, x, y, fraction),
        [x[keep], y[keep]],
        np.power,
        relative=relative,
        fraction=fraction,
    )
    assert worst <= 2.0


def test_power_saturates() -> None:
    x, y = encode([8.0, 8.0, 1.0, 0.5]), encode([20.0, -20.0, 1e4, 1e4])
    results = value(interpret(lambda p, x, y: functions.power(p, x, y, 18), x, y))
    np.testing.assert_array_equal(results[[0, 1, 3]], [round(2.0**42.5), 0, 0])
    assert abs(results[2] - 2**18) <= 2**18 * 1e4 * 2.0**-24  # log2(1), with its noise, times 10^4


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, 7, -1, -2])
def test_integer_power(exponent: int) -> None:
    words = linear(-4, 4, points=2000)
    if exponent < 0:
        words = words[np.abs(words) >= 2**17]
    x = words / 2.0**18
    results = value(interpret(lambda p, x: functions.integer_power(p, x, exponent, 18), words))
    error = np.abs(results / 2.0**18 - x**exponent) * 2**18
    # Each product rounds once, and hands on the error of its factors. 1/x^2 at |x| >= 1/2: times 16.
    bound = 1.01 if exponent in (0, 1, 2) else 20 if exponent < 0 else exponent * np.maximum(1, np.abs(x) ** exponent)
    assert (error <= bound).all()
