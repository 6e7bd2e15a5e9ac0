"""How far lowered functions are from the exact ones: dense grids, random truncations, every fraction."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from functions.accuracy import RANDOM
from functions.accuracy import plain as with_coin

from jmpc.lowering import Context, Precision, interval, lower
from jmpc.lowering.inputs import reveal, share

from .evaluation import evaluate
from .helpers import OWNER

FRACTIONS = (12, 18, 24)
EVERYTHING = 62  # words below 2^62 are what the ring represents


def grid(low: float, high: float, fraction: int = 18, points: int = 4001) -> np.ndarray:
    """Numbers of this fraction, evenly between the ends, and the nearest ones to either end."""
    near = np.arange(50) * 2.0**-fraction
    wanted = np.concatenate([np.linspace(low, high, points), low + near, high - near])
    return np.unique(_exact(wanted, fraction))


def magnitudes(low: float, high: float, fraction: int = 18, points: int = 2001) -> np.ndarray:
    """Positive numbers of this fraction, evenly between the logarithms of the ends, and the smallest ones.

    `low` is such a number.
    """
    small = low + np.arange(50) * 2.0**-fraction
    return np.unique(_exact(np.concatenate([np.geomspace(low, high, points), small[small <= high]]), fraction))


def both_signs(x: np.ndarray) -> np.ndarray:
    return np.concatenate([-x[::-1], x])


def smallest(fraction: int) -> float:
    return 2.0**-fraction


def largest(fraction: int) -> float:
    """Below 2^62 in words, and exact as a float."""
    return 2.0 ** (EVERYTHING - fraction) * (1 - 2.0**-50)


def _exact(x: Any, fraction: int) -> np.ndarray:
    """The nearest numbers toward zero."""
    return np.trunc(np.asarray(x) * 2.0**fraction) * 2.0**-fraction


def computed(f: Callable[..., Any], *args: np.ndarray, fraction: int = 18) -> np.ndarray:
    """The only result of `f` in double precision, with random truncations and gates on random operands.

    Arguments may be anything that the ring represents, and nothing is known of their size.
    """
    limit = largest(fraction)

    def run(*arrays: Any) -> Any:
        context = Context(with_coin(RANDOM), Precision(fraction))
        inputs = [share(context, x, OWNER, (-limit, limit)) for x in arrays]
        values = [dataclasses.replace(x, interval=interval.representable(fraction)) for x in inputs]
        (result,) = lower(closed, values, context)
        return reveal(context, result, OWNER, "result")

    with jax.enable_x64(True):
        closed = jax.make_jaxpr(f)(*args)
        (result,) = evaluate(jax.make_jaxpr(run)(*args), args)
    return result
