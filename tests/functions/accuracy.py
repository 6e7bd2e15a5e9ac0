"""Dense grids, rounding modes, and the measurement that all accuracy tests share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jmpc.protocols.base import Ring
from jmpc.protocols.plain import Plain, round_down, round_up

POINTS = 100_000
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(z: Any) -> Any:
    """The finaliser of splitmix64: good enough coins, and far cheaper to compile than a real generator."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


class Coins:
    """Independent uniform words for every call that is traced."""

    def __init__(self, seed: int) -> None:
        self._calls = np.uint64(seed)

    def words(self, shape: tuple[int, ...]) -> Any:
        with np.errstate(over="ignore"):
            self._calls = self._calls + np.uint64(1)
            start = _mix(self._calls * _GOLDEN)
        counter = jax.lax.iota(np.uint64, int(np.prod(shape))).reshape(shape)
        return _mix(counter * _GOLDEN + start)

    def rounding(self, shape: tuple[int, ...], shift: int) -> Any:
        return self.words(shape) >> np.uint64(64 - shift)


def modes(seed: int = 1) -> list[Plain]:
    """Truncations with random, all-zero and all-one coins; the gates' operands are split at random."""
    return [
        Plain(rounding=rounding, splitting=Coins(seed + i).words)
        for i, rounding in enumerate((Coins(seed + 7).rounding, round_down, round_up))
    ]


def encode(x: Any, fraction: int = 18) -> np.ndarray:
    return np.round(np.asarray(x) * 2.0**fraction).astype(np.int64)


def linear(low: float, high: float, fraction: int = 18, points: int = POINTS) -> np.ndarray:
    return np.unique(encode(np.linspace(low, high, points), fraction))


def logarithmic(low: float, high: float, points: int = POINTS) -> np.ndarray:
    """Words between 2^low and 2^high, and all the small ones."""
    dense = np.round(2.0 ** np.linspace(low, high, points)).astype(np.int64)
    return np.unique(np.concatenate([dense, np.arange(2**low, 2**low + 2000).astype(np.int64)]))


@dataclass(frozen=True)
class Deviation:
    """Largest error in units in the last place, beyond the relative part that is allowed."""

    ulps: float
    relative: float


def evaluate(
    function: Callable[..., Any], words: Sequence[np.ndarray], protocol: Plain
) -> list[np.ndarray]:
    """The function's results as signed words."""

    def run(*slots: Any) -> list[Any]:
        results = function(protocol, *(Ring((slot,)) for slot in slots))
        results = results if isinstance(results, tuple) else (results,)
        return [result.slots[0] for result in results]

    with jax.enable_x64(True):
        outs = jax.jit(run)(*(jnp.asarray(w.astype(np.uint64)) for w in words))
        return [np.asarray(out).astype(np.int64) for out in outs]


def deviation(
    function: Callable[..., Any],
    words: Sequence[np.ndarray],
    exact: Callable[..., Any],
    *,
    relative: float = 0.0,
    fraction: int = 18,
    out_fraction: int | None = None,
    protocols: Sequence[Plain] | None = None,
) -> Deviation:
    """Largest error over all modes of function(protocol, *sharings) against exact(*floats)."""
    out_fraction = fraction if out_fraction is None else out_fraction
    wanted = exact(*(w.astype(np.float64) / 2.0**fraction for w in words))
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    ulps = worst_relative = 0.0
    for protocol in protocols or modes():
        for got, want in zip(evaluate(function, words, protocol), wanted, strict=True):
            error = np.abs(got / 2.0**out_fraction - want)
            ulps = max(ulps, float(((error - relative * np.abs(want)) * 2.0**out_fraction).max()))
            large = np.abs(want) > 0.5
            if large.any():
                ratios = error[large] / np.abs(want[large])
                worst_relative = max(worst_relative, float(ratios.max()))
    return Deviation(ulps, worst_relative)
