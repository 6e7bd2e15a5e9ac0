"""How the numbers in `coefficients.py` were found: `python -m jmpc.functions.fitting` prints that file.

With the argument `rectified` it prints `coefficients_rectified.py`, of the functions that are x far to the right;
`fitting_special.py` does the same for `coefficients_special.py`.

A function on [low, high] is fitted by a Fourier series whose period is longer than the interval (a
Fourier extension: nothing is asked of the series outside, so the function need not be periodic), with the
largest error made small by Lawson's reweighting of a least-squares problem. A tiny ridge keeps the
coefficients of the ill-conditioned basis small, below 2 as the integer gates require.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

_Q30 = 1 << 30
_RIDGE = 1e-11
_ROUNDS = 60
_POINTS = 4000


@dataclass(frozen=True)
class Target:
    """What is fitted: `even` and `odd` say which waves may be used, `relative` which error counts.

    `function` is what the series stands for, divided by 2^exponent.
    """

    name: str
    function: Callable[[np.ndarray], np.ndarray]
    low: float
    high: float
    period: float
    harmonics: tuple[int, ...]
    even: bool = True
    odd: bool = True
    relative: bool = False
    most_fraction: int = 30
    exponent: int = 0


@dataclass(frozen=True)
class Fitted:
    constant: float
    cosines: np.ndarray
    sines: np.ndarray
    error: float


def fit(target: Target) -> Fitted:
    """Lawson's iteration: weights grow where the error is large until the errors are level."""
    x = _chebyshev_points(target.low, target.high)
    y = target.function(x)
    basis = _basis(target, x)
    scale = 1 / np.abs(y) if target.relative else np.ones_like(y)
    ridge = _RIDGE * np.eye(basis.shape[1])
    weights = np.full(y.shape, 1 / y.size)
    best, best_error = np.zeros(basis.shape[1]), math.inf
    for _ in range(_ROUNDS):
        rows = np.sqrt(weights) * scale
        system = np.vstack([basis * rows[:, None], ridge])
        right = np.concatenate([y * rows, np.zeros(basis.shape[1])])
        solution = np.linalg.lstsq(system, right, rcond=None)[0]
        errors = np.abs(basis @ solution - y) * scale
        if errors.max() < best_error:
            best, best_error = solution, float(errors.max())
        weights = weights * (errors + 1e-18)
        weights = weights / weights.sum()
    return _unpack(target, best, best_error)


def _chebyshev_points(low: float, high: float) -> np.ndarray:
    nodes = np.cos(np.pi * (np.arange(_POINTS) + 0.5) / _POINTS)
    return (low + high) / 2 + (high - low) / 2 * nodes


def _basis(target: Target, x: np.ndarray) -> np.ndarray:
    angles = 2 * np.pi * np.outer(x, target.harmonics) / target.period
    even = [np.ones((x.size, 1)), np.cos(angles)] if target.even else []
    odd = [np.sin(angles)] if target.odd else []
    return np.hstack(even + odd)


def _unpack(target: Target, solution: np.ndarray, error: float) -> Fitted:
    n = len(target.harmonics)
    constant, cosines, sines = 0.0, np.zeros(n), np.zeros(n)
    if target.even:
        constant, cosines, solution = float(solution[0]), solution[1 : n + 1], solution[n + 1 :]
    if target.odd:
        sines = solution
    return Fitted(constant, cosines, sines, error)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x)) - 0.5


def _erf(x: np.ndarray) -> np.ndarray:
    return np.vectorize(math.erf)(x)


def _gelu_even(x: np.ndarray) -> np.ndarray:
    """gelu(x) - x / 2."""
    return x * _erf(x / math.sqrt(2)) / 2


def _gelu_tanh_even(x: np.ndarray) -> np.ndarray:
    """The form with tanh, less x / 2."""
    return x * np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)) / 2


def targets() -> Iterator[Target]:
    """Everything in `coefficients.py`, in its order."""
    yield _mantissa("RECIPROCAL", lambda x: 1 / x, 8, 19, relative=True)
    yield _mantissa("RECIPROCAL_FINE", lambda x: 1 / x, 10, 30, relative=True)
    yield _mantissa("RSQRT", lambda x: x**-0.5, 8, 30, relative=True)
    yield _mantissa("SQRT", lambda x: x**0.5, 8, 30, relative=True)
    yield _mantissa("LOG2", np.log2, 8, 19)
    yield _mantissa("LOG2_FINE", np.log2, 10, 30)
    yield _mantissa("LOG", np.log, 8, 19)
    yield _mantissa("LOG_FINE", np.log, 10, 30)
    yield _odd("ATAN", np.arctan, 1.0, 4.0, _all(8), 19)
    yield _odd("ATAN_FINE", np.arctan, 1.0, 4.0, _all(10), 30)
    yield _odd("SIGMOID_COARSE", _sigmoid, 9.0, 36.0, _odds(8), 12)
    yield _odd("SIGMOID", _sigmoid, 13.0, 52.0, _odds(18), 18)
    yield _odd("SIGMOID_FINE", _sigmoid, 16.0, 64.0, _odds(24), 30)
    yield _odd("TANH_COARSE", np.tanh, 5.0, 20.0, _odds(9), 12)
    yield _odd("TANH", np.tanh, 6.9, 27.6, _odds(19), 18)
    yield _odd("TANH_FINE", np.tanh, 8.0, 32.0, _odds(24), 30)
    yield _odd("ERF_COARSE", _erf, 2.8, 11.2, _odds(5), 12)
    yield _odd("ERF", _erf, 3.4, 14.0, _odds(8), 18)
    yield _odd("ERF_FINE", _erf, 4.0, 16.0, _odds(10), 30)


def rectified_targets() -> Iterator[Target]:
    """Everything in `coefficients_rectified.py`, in its order."""
    for name, function, reach, period, n, most in (
        ("GELU_COARSE", _gelu_even, 4.0, 14.0, 6, 12),
        ("GELU", _gelu_even, 5.0, 16.0, 10, 18),
        ("GELU_FINE", _gelu_even, 5.6, 18.0, 14, 30),
        ("GELU_TANH_COARSE", _gelu_tanh_even, 4.0, 14.0, 6, 12),
        ("GELU_TANH", _gelu_tanh_even, 4.8, 15.0, 10, 18),
        ("GELU_TANH_FINE", _gelu_tanh_even, 5.5, 16.0, 16, 30),
    ):
        yield Target(name, function, -reach, reach, period, _all(n), odd=False, most_fraction=most)


def _mantissa(
    name: str,
    function: Callable[[np.ndarray], np.ndarray],
    harmonics: int,
    most_fraction: int,
    relative: bool = False,
) -> Target:
    """On [1/2, 1] with period 1: the turn of a gate is the mantissa itself, with no multiplication."""
    return Target(name, function, 0.5, 1.0, 1.0, _all(harmonics), True, True, relative, most_fraction)


def _odd(
    name: str,
    function: Callable[[np.ndarray], np.ndarray],
    reach: float,
    period: float,
    harmonics: tuple[int, ...],
    most_fraction: int,
) -> Target:
    return Target(name, function, -reach, reach, period, harmonics, even=False, most_fraction=most_fraction)


def _all(n: int) -> tuple[int, ...]:
    return tuple(range(1, n + 1))


def _odds(n: int) -> tuple[int, ...]:
    return tuple(range(1, 2 * n, 2))


def _integers(values: np.ndarray) -> tuple[int, ...]:
    return tuple(round(float(v) * _Q30) for v in values)


def _print_tuple(name: str, values: tuple[int, ...]) -> None:
    print(f"        {name}=(")
    line = "           "
    for value in values:
        if len(line) + len(f" {value},") > 88:
            print(line)
            line = "           "
        line += f" {value},"
    print(line)
    print("        ),")


def print_fits(targets: Iterable[Target], printer: str) -> None:
    """The module with the coefficients of all these."""
    print(f'"""Fitted Fourier series, printed by `{printer}`; coefficients in Q30."""\n')
    print("from jmpc.functions.series import Fit")
    print("from jmpc.protocols.base import Series")
    for target in targets:
        fitted = fit(target)
        print(f"\n{target.name} = Fit(")
        print(f"    period={target.period},")
        print(f"    low={target.low},")
        print(f"    high={target.high},")
        print(f"    error=2.0 ** {math.log2(fitted.error) + target.exponent:.2f},")
        print(f"    most_fraction={target.most_fraction},")
        if target.exponent:
            print(f"    exponent={target.exponent},")
        print("    series=Series(")
        _print_tuple("harmonics", target.harmonics)
        _print_tuple("cosines", _integers(fitted.cosines))
        _print_tuple("sines", _integers(fitted.sines))
        print(f"        constant={fitted.constant!r},")
        print("    ),\n)")


if __name__ == "__main__":
    rectified = "rectified" in sys.argv[1:]
    print_fits(rectified_targets() if rectified else targets(), "jmpc.functions.fitting")
