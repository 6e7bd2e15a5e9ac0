"""Comparisons, extrema, relu and the like: exact on every shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from functions.accuracy import interpret, value

from jmpc import functions

RNG = np.random.default_rng(0)
EDGES = np.array([0, 1, -1, 2, -2, 2**61, -(2**61), 2**40 + 1, -(2**40)])
WORDS = np.concatenate([EDGES, RNG.integers(-(2**61), 2**61, 300), RNG.integers(-3, 4, 100)])
OTHERS = RNG.permutation(WORDS)

BINARY: list[tuple[Callable[..., Any], Callable[..., np.ndarray]]] = [
    (functions.less_than, np.less),
    (functions.greater_than, np.greater),
    (functions.less_equal, np.less_equal),
    (functions.greater_equal, np.greater_equal),
    (functions.equal, np.equal),
    (functions.not_equal, np.not_equal),
    (functions.maximum, np.maximum),
    (functions.minimum, np.minimum),
]


@pytest.mark.parametrize(("function", "exact"), BINARY, ids=[f.__name__ for f, _ in BINARY])
def test_binary(function: Callable[..., Any], exact: Callable[..., np.ndarray]) -> None:
    np.testing.assert_array_equal(value(interpret(function, WORDS, OTHERS)), exact(WORDS, OTHERS))
    column = WORDS[:5, None]
    np.testing.assert_array_equal(value(interpret(function, column, OTHERS)), exact(column, OTHERS))


def test_unary() -> None:
    for function, exact in (
        (functions.relu, np.maximum(WORDS, 0)),
        (functions.absolute, np.abs(WORDS)),
        (lambda p, x: functions.signum(p, x, 1 << 18), np.sign(WORDS) << 18),
        (lambda p, x: functions.clip(p, x, -1, 2**40), np.clip(WORDS, -1, 2**40)),
        (lambda p, x: functions.clip(p, x, 7, 7), np.full_like(WORDS, 7)),
    ):
        np.testing.assert_array_equal(value(interpret(function, WORDS)), exact)


def test_relu_with_mask() -> None:
    positive, mask = interpret(functions.relu_with_mask, WORDS)
    np.testing.assert_array_equal(value(positive), np.maximum(WORDS, 0))
    np.testing.assert_array_equal(value(mask), WORDS >= 0)
    assert mask.width == 1


def test_narrow_ranges() -> None:
    words = np.arange(-(2**9), 2**9)
    for function, exact in ((functions.relu, np.maximum(words, 0)), (functions.absolute, np.abs(words))):
        results = value(interpret(lambda p, x, g=function: g(p, x, range_bits=11), words))
        np.testing.assert_array_equal(results, exact)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 13])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_extrema(n: int, axis: int) -> None:
    """Few different numbers, so that there are ties, which go to the first as in numpy."""
    shape = [2, 4, 3]
    shape[axis] = n
    words = RNG.integers(-2, 3, shape) * 2**50
    for function, exact in (
        (functions.reduce_max, words.max(axis)),
        (functions.reduce_min, words.min(axis)),
        (functions.argmax, words.argmax(axis)),
        (functions.argmin, words.argmin(axis)),
    ):
        results = value(interpret(lambda p, x, g=function: g(p, x, axis), words))
        np.testing.assert_array_equal(results, exact, err_msg=str(function))


def test_extremum_with_index() -> None:
    words = RNG.integers(-100, 100, (6, 7))
    largest, position = interpret(lambda p, x: functions.extremum_with_index(p, x, 1), words)
    np.testing.assert_array_equal(value(largest), words.max(1))
    np.testing.assert_array_equal(value(position), words.argmax(1))


def test_no_element_to_choose_from() -> None:
    with pytest.raises(ValueError, match="no element"):
        interpret(lambda p, x: functions.reduce_max(p, x, 1), np.zeros((3, 0)))


ELEMENTWISE: list[Callable[..., Any]] = [
    lambda p, x: functions.sigmoid(p, x, 18),
    lambda p, x: functions.exp(p, x, 18),
    lambda p, x: functions.reciprocal(p, x, 18),
    lambda p, x: functions.reciprocal(p, x, 18, bounds=(0.25, 4.0)),
    lambda p, x: functions.atan2(p, x, x, 18),
    lambda p, x: functions.integer_power(p, x, 3, 18),
    functions.relu,
]


def test_shapes() -> None:
    """Elementwise functions keep any shape, and do to each element what they do to it alone."""
    words = RNG.integers(2**16, 2**20, 6)
    for function in ELEMENTWISE:
        alone = value(interpret(function, words))
        for shape in ((), (0,), (3, 0, 2), (2, 1, 3)):
            n = int(np.prod(shape))
            results = value(interpret(function, words[:n].reshape(shape)))
            np.testing.assert_array_equal(results, alone[:n].reshape(shape))
