"""Rounds and bits of each function with rep3, and that the shares open to the right numbers.

The figures are those of the docstrings, at f = 18. Everything is evaluated message by message for the three
players, on a few numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from functions.accuracy import encode
from protocols import sharings
from protocols.evaluate import Choreography, P
from scipy.special import erf, expit, log_softmax, logsumexp, softmax

from jmpc import functions
from jmpc.functions import Method
from jmpc.protocols.rep3 import Rep3

F = 18
N = 32


@dataclass(frozen=True)
class Case:
    """`bits` are those of all parties for each element of the first operand (or each row of n entries)."""

    name: str
    run: Callable[..., Any]
    inputs: tuple[np.ndarray, ...]
    exact: Callable[..., Any]
    rounds: int
    bits: float
    ulps: float
    relative: float = 0.0
    elements: int | None = None


def spread(low: float, high: float) -> np.ndarray:
    """N numbers of both signs if low < 0, else of all magnitudes."""
    return np.linspace(low, high, N) if low <= 0 else np.geomspace(low, high, N)


WIDE = np.concatenate([spread(2.0**-18, 2.0**40)[::2], -spread(2.0**-18, 2.0**40)[::2]])
POSITIVE = spread(2.0**-18, 2.0**36)
NEAR = np.append(spread(-14, 14)[1:], [3e9])
ROWS = np.random.default_rng(0).normal(0, 3, (4, 8))
ONE = (spread(1.0, 250.0),)
SIGNS = np.resize([1.0, -1.0, -1.0], N)
PAIR = (np.resize([5.0, -3.0, 0.25, -100.0, 0.0], N), SIGNS * spread(2.0**-6, 2.0**27))
ROOTS = (SIGNS * spread(0.01, 100.0), spread(2.0**-10, 2.0**10))
ANGLES = (np.sign(PAIR[0]) * spread(0.01, 500), WIDE)
BASES = (spread(2.0**-6, 2.0**6), np.resize([0.0, 1.0, -2.0, 3.5, 2.75, -0.5], N))


def smooth(name: str, run: Any, inputs: Any, exact: Any, rounds: int, bits: float, ulps: float, relative=0.0) -> Case:
    return Case(name, lambda p, *xs: run(p, *xs, F), inputs, exact, rounds, bits, ulps, relative)


def gelu(x: np.ndarray) -> np.ndarray:
    return x * (1 + erf(x / np.sqrt(2))) / 2


def gelu_tanh(x: np.ndarray) -> np.ndarray:
    return x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2


def inverse(x: np.ndarray) -> np.ndarray:
    return 1 / x


def positive_reciprocal(protocol: Any, x: Any, fraction: int, method: Method = Method.WORD) -> Any:
    return functions.reciprocal(protocol, x, fraction, bounds=(0.0, 2.0**43), method=method)


# fmt: off
CASES = [
    # Reciprocals, roots, logarithms: an exponent is found first, by bits or by comparisons.
    smooth("reciprocal", functions.reciprocal, (WIDE,), inverse, 19, 8327, 2.2, 2**-22.5),
    smooth("reciprocal of positive x", positive_reciprocal, (POSITIVE,), inverse, 19, 7687, 2.2, 2**-22.5),
    smooth(
        "reciprocal by thresholds",
        lambda p, x, f: positive_reciprocal(p, x, f, Method.THRESHOLDS),
        (POSITIVE,), inverse, 11, 20874, 2.2, 2**-22.5,
    ),
    smooth(
        "reciprocal in [1, 256]",
        lambda p, x, f: functions.reciprocal(p, x, f, bounds=(1.0, 256.0)),
        ONE, inverse, 11, 5805, 2.2, 2**-22.5,
    ),
    smooth("divide", functions.divide, PAIR, np.divide, 19, 8606, 2.2, 2**-21.3),
    smooth("rsqrt", functions.rsqrt, (POSITIVE,), lambda x: x**-0.5, 19, 7528, 2.2, 2**-22.8),
    smooth("ratio to root", functions.ratio_to_root, ROOTS, lambda x, y: x / np.sqrt(y), 19, 7777, 2.2, 2**-21),
    smooth("sqrt", functions.sqrt, (POSITIVE / 2,), np.sqrt, 19, 7505, 2.2, 2**-22),
    smooth("log2", functions.log2, (POSITIVE,), np.log2, 17, 7000, 1.3),
    smooth("log", functions.log, (POSITIVE,), np.log, 17, 6980, 1.6),
    smooth("log1p", functions.log1p, (POSITIVE,), np.log1p, 17, 6980, 1.6),
    # Exponentials and powers.
    smooth("exp", functions.exp, (spread(-20, 16.9),), np.exp, 6, 4649, 1.6, 2**-22.3),
    smooth("exp2", functions.exp2, (spread(-20, 24.4),), np.exp2, 6, 4649, 1.6, 2**-22.3),
    smooth(
        "exp in [-4, 4]",
        lambda p, x, f: functions.exp(p, x, f, bounds=(-4.0, 4.0)),
        (spread(-4, 4),), np.exp, 4, 3162, 1.6, 2**-22.3,
    ),
    smooth("power", functions.power, BASES, np.power, 25, 12343, 2.0, 2**-19.5),
    smooth(
        "power 1.7", lambda p, x, f: functions.public_power(p, x, 1.7, f),
        BASES[:1], lambda x: x**1.7, 24, 12257, 2.0, 2**-20.5,
    ),
    smooth(
        "cube root", lambda p, x, f: functions.public_power(p, x, 1 / 3, f),
        (spread(2.0**-18, 2.0**40),), np.cbrt, 25, 13341, 2.0, 2**-21.5,
    ),
    Case("remainder", functions.remainder, PAIR, np.fmod, 36, 12284, 0),
    smooth("cube", lambda p, x, f: functions.integer_power(p, x, 3, f), ONE, lambda x: x**3, 4, 492, 260, 2**-17),
    # Saturating functions.
    smooth("sigmoid", functions.sigmoid, (NEAR,), expit, 6, 6455, 1.9),
    smooth("tanh", functions.tanh, (NEAR,), np.tanh, 6, 6839, 1.9),
    smooth("erf", functions.erf, (NEAR,), erf, 6, 4023, 1.9),
    smooth("gelu", functions.gelu, (NEAR,), gelu, 6, 4591, 1.9),
    smooth("gelu with tanh", functions.gelu_tanh, (NEAR,), gelu_tanh, 6, 4591, 1.9),
    smooth("silu", functions.silu, (NEAR,), lambda x: x * expit(x), 6, 8419, 3.5),
    # Trigonometry.
    smooth("sin_cos", functions.sin_cos, (spread(-64, 64),), lambda x: (np.sin(x), np.cos(x)), 2, 976, 1.2),
    smooth("sin", functions.sin, (spread(-64, 64),), np.sin, 2, 616, 1.2),
    smooth("tan", functions.tan, (spread(-1.5, 1.5),), np.tan, 21, 9201, 2.2, 2**-19),
    smooth("atan_unit", functions.atan_unit, (spread(-1, 1),), np.arctan, 2, 2408, 1.2),
    smooth("atan", functions.atan, (NEAR / 4,), np.arctan, 23, 12795, 3.5),
    smooth("atan2", functions.atan2, ANGLES, np.arctan2, 28, 14931, 3.5),
    # Along an axis: bits for each entry, or each sum.
    smooth("softmax of 8", functions.softmax, (ROWS,), lambda x: softmax(x, -1), 37, 6067.75, 1.8),
    smooth(
        "softmax of 8 with a bound",
        lambda p, x, f: functions.softmax(p, x, f, bound=4.0),
        (ROWS / 3,), lambda x: softmax(x, -1), 17, 4449.25, 1.8,
    ),
    smooth("log_softmax of 8", functions.log_softmax, (ROWS,), lambda x: log_softmax(x, -1), 33, 5744.25, 2.2),
    smooth("logsumexp of 8", functions.logsumexp, (ROWS,), lambda x: logsumexp(x, -1), 33, 5744.25, 2.2),
    Case(
        "norm of 8", lambda p, x: functions.norm(p, x, F), (ROWS,), lambda x: np.sqrt((x * x).sum(-1)),
        20, 7696, 2.2, 2**-21.5, elements=4,
    ),
    # Comparisons, exact.
    Case("relu", functions.relu, (WIDE,), lambda x: np.maximum(x, 0), 6, 1080, 0),
    Case("absolute", functions.absolute, (WIDE,), np.abs, 6, 1080, 0),
    Case("signum", lambda p, x: functions.signum(p, x, 1 << F), (WIDE,), np.sign, 6, 1167, 0),
    Case("clip", lambda p, x: functions.clip(p, x, 0, 1 << F), (WIDE,), lambda x: np.clip(x, 0, 1), 6, 1615, 0),
    Case("maximum", functions.maximum, PAIR, np.maximum, 6, 1080, 0),
    Case(
        "reduce_max of 8", lambda p, x: functions.reduce_max(p, x, 1), (ROWS,), lambda x: x.max(1),
        18, 1080, 0, elements=28,
    ),
    Case(
        "argmax of 8", lambda p, x: functions.argmax(p, x, 1), (ROWS,), lambda x: x.argmax(1) / 2**F,
        18, 1400, 0, elements=28,
    ),
]
# fmt: on


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_cost_and_result(case: Case) -> None:
    rng = np.random.default_rng(1)
    words = [encode(x) for x in case.inputs]
    shared = [sharings.ring(rng, w) for w in words]
    result = Choreography(lambda *xs: case.run(Rep3(P), *xs), *shared)(*shared, seed=2)
    exact = case.exact(*(w / 2.0**F for w in words))
    outs, exact = (x if isinstance(x, tuple) else (x,) for x in (result.out, exact))
    for out, want in zip(outs, exact, strict=True):
        error = np.abs(sharings.opened(out) / 2.0**F - want) - case.relative * np.abs(want)
        assert error.max() <= case.ulps * 2.0**-F
    elements = case.elements or words[0].size
    assert (result.rounds, result.bits / elements) == (case.rounds, case.bits)
