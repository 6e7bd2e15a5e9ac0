"""Dense grids, rounding modes, and the measurement that all accuracy tests share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from protocols.evaluate import Choreography

from jmpc.protocols.base import Ring
from jmpc.protocols.plain import Plain

POINTS = 100_000
FRACTIONS = (8, 14, 20, 25, 30)  # for coarse checks that a formula is generic
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


@dataclass(frozen=True)
class Coin:
    """What becomes of the uniform word of a truncation: or'ed, then and'ed."""

    set_bits: Any
    kept_bits: Any


_ALL = np.uint64(2**64 - 1)
RANDOM, ZEROS, ONES = Coin(np.uint64(0), _ALL), Coin(_ALL, np.uint64(0)), Coin(_ALL, _ALL)
MODES = (RANDOM, ZEROS, ONES)


def plain(coin: Coin, seed: int = 1) -> Plain:
    """Truncations with the given coin, gates on operands that are split at random."""
    coins, splits = Coins(seed), Coins(seed + 1_000_000)

    def rounding(shape: tuple[int, ...], shift: int) -> Any:
        word = (coins.words(shape) | coin.set_bits) & coin.kept_bits
        return word >> np.uint64(64 - shift)

    return Plain(rounding=rounding, splitting=splits.words)


def encode(x: Any, fraction: int = 18) -> np.ndarray:
    return np.round(np.asarray(x) * 2.0**fraction).astype(np.int64)


def linear(low: float, high: float, fraction: int = 18, points: int = POINTS) -> np.ndarray:
    return np.unique(encode(np.linspace(low, high, points), fraction))


def logarithmic(low: float, high: float, points: int = POINTS) -> np.ndarray:
    """Words between 2^low and 2^high, and all the small ones."""
    dense = np.round(2.0 ** np.linspace(low, high, points)).astype(np.int64)
    return np.unique(np.concatenate([dense, np.arange(2**low, 2**low + 2000).astype(np.int64)]))


def evaluate(
    function: Callable[..., Any], words: Sequence[np.ndarray], modes: Sequence[Coin] = MODES
) -> Iterator[list[np.ndarray]]:
    """The function's results as signed words, once for each mode; compiled once for all."""

    # The compiler's optimisations cost more than they save here.
    @functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    def run(set_bits: Any, kept_bits: Any, *slots: Any) -> list[Any]:
        results = function(plain(Coin(set_bits, kept_bits)), *(Ring((slot,)) for slot in slots))
        results = results if isinstance(results, tuple) else (results,)
        return [result.slots[0] for result in results]

    with jax.enable_x64(True):
        for mode in modes:
            outs = run(mode.set_bits, mode.kept_bits, *(w.astype(np.uint64) for w in words))
            yield [np.asarray(out).astype(np.int64) for out in outs]


def deviation(
    function: Callable[..., Any],
    words: Sequence[np.ndarray],
    exact: Callable[..., Any],
    *,
    relative: float = 0.0,
    fraction: int = 18,
    out_fraction: int | None = None,
) -> float:
    """Largest error in ulp, beyond `relative` of the value, of function(protocol, *sharings) in any mode.

    The exact function takes the words as floats, which is the value at the fixed-point input.
    """
    out_fraction = fraction if out_fraction is None else out_fraction
    wanted = exact(*(w.astype(np.float64) / 2.0**fraction for w in words))
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    worst = 0.0
    for results in evaluate(function, words):
        for got, want in zip(results, wanted, strict=True):
            assert got.shape == want.shape
            error = np.abs(got / 2.0**out_fraction - want) - relative * np.abs(want)
            worst = max(worst, float((error * 2.0**out_fraction).max()))
    return worst


def interpret(function: Callable[..., Any], *words: Any) -> Any:
    """The function's signed words on `Plain`, without compilation: for small arrays of any shape."""
    rings = [Ring((np.asarray(w).astype(np.int64).view(np.uint64),)) for w in words]
    out = Choreography(lambda *xs: function(Plain(), *xs), *rings)(*rings).out
    return jax.tree.map(lambda x: x.view(np.int64) if x.dtype == np.uint64 else x, out)


def value(x: Any) -> np.ndarray:
    """The only slot of a result of `interpret`."""
    (slot,) = x.slots
    return slot
