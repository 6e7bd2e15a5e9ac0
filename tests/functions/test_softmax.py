"""Softmax and its logarithms."""

from __future__ import annotations

import numpy as np
import pytest
from functions.accuracy import deviation, encode, interpret, value
from scipy.special import log_softmax, logsumexp, softmax

from jmpc import functions


@pytest.mark.parametrize(("n", "rows"), [(2, 10_000), (3, 10_000), (8, 8_000), (128, 400)])
def test_softmax(n: int, rows: int) -> None:
    rng = np.random.default_rng(n)
    words = encode(rng.normal(0, 4, (rows, n)))
    words[0], words[1, 0] = 0, 2**29
    worst = deviation(lambda p, x: functions.softmax(p, x, 18), [words], lambda x: softmax(x, -1))
    assert worst <= 1.8


@pytest.mark.parametrize(("fraction", "bound"), [(12, 1.8), (24, 3.0)])
def test_softmax_at_other_fractions(fraction: int, bound: float) -> None:
    words = encode(np.random.default_rng(0).normal(0, 4, (4000, 5)), fraction)
    worst = deviation(
        lambda p, x: functions.softmax(p, x, fraction), [words], lambda x: softmax(x, -1), fraction=fraction
    )
    assert worst <= bound


@pytest.mark.parametrize("bound", [0.5, 3.0, 6.9])
def test_softmax_with_a_bound(bound: float) -> None:
    rng = np.random.default_rng(1)
    words = encode(rng.choice([-1, -0.5, 0.3, 1], (4000, 6)) * rng.uniform(0, bound, (4000, 6)))
    words[0], words[1], words[2, 1:] = encode(-bound), encode(bound), encode(-bound)
    worst = deviation(lambda p, x: functions.softmax(p, x, 18, bound=bound), [words], lambda x: softmax(x, -1))
    assert worst <= 1.8


def test_log_softmax_and_logsumexp() -> None:
    words = encode(np.random.default_rng(2).normal(0, 4, (8000, 5)))

    def both(protocol, x):
        return functions.log_softmax(protocol, x, 18), functions.logsumexp(protocol, x, 18)

    assert deviation(both, [words], lambda x: (log_softmax(x, -1), logsumexp(x, -1))) <= 2.2


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_axes(axis: int) -> None:
    words = encode(np.random.default_rng(3).normal(0, 2, (3, 4, 5)))
    x = words / 2.0**18
    for function, exact in (
        (functions.softmax, softmax(x, axis)),
        (functions.log_softmax, log_softmax(x, axis)),
        (functions.logsumexp, logsumexp(x, axis)),
    ):
        results = value(interpret(lambda p, x, g=function: g(p, x, 18, axis=axis), words))
        np.testing.assert_allclose(results / 2.0**18, exact, atol=2.2 * 2.0**-18)


def test_one_entry_and_no_rows() -> None:
    assert value(interpret(lambda p, x: functions.softmax(p, x, 18), [[5], [-7]])).tolist() == [[2**18]] * 2
    empty = value(interpret(lambda p, x: functions.softmax(p, x, 18), np.zeros((0, 4))))
    assert empty.shape == (0, 4)
    with pytest.raises(ValueError, match="no element"):
        interpret(lambda p, x: functions.softmax(p, x, 18), np.zeros((4, 0)))


def test_a_bound_that_is_too_large_is_refused() -> None:
    with pytest.raises(ValueError, match="the bound may be 6.93 at most"):
        interpret(lambda p, x: functions.softmax(p, x, 18, bound=8.0), [[1, 2]])
