"""Sine, cosine and powers of two in integers only, for angles that are 64-bit turns.

One whole turn is 2^64, so that a sum of two angles mod 2^64 is the angle of the sum. Two players
that hold the same angle get the same bits on every platform: there is no floating point here.
Everything is elementwise, so one call evaluates any number of stacked harmonics. Results are int64
in Q30.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

Array = Any

ONE_Q30 = 1 << 30
QUARTER_TURN = np.uint64(1 << 62)

# sin(pi/2 r) and 2^r for r in [0, 1], in Q30, low degree first.
_SINE = (0, 1686629706, 230, -693601563, 18410, 85502469, 146087, -5220363, 147066, 119782)
_EXP2 = (1073741824, 744261118, 257941253, 59597032, 10327648, 1430937, 166631, 15192, 2014)


@jax.jit
def sin_turn(theta: Array) -> Array:
    """sin(2 pi theta / 2^64) in Q30 (int64) for uint64 `theta`; error below 2^-28."""
    quadrant = (theta >> np.uint64(62)).astype(np.int64)
    rising = ((theta << np.uint64(2)) >> np.uint64(33)).astype(np.int64)
    odd = (quadrant & np.int64(1)) != np.int64(0)
    magnitude = _horner(_SINE, jax.lax.select(odd, np.int64(1 << 31) - rising, rising))
    return magnitude * (np.int64(1) - (quadrant & np.int64(2)))


def cos_turn(theta: Array) -> Array:
    """cos(2 pi theta / 2^64) in Q30 (int64) for uint64 `theta`; error below 2^-28."""
    return sin_turn(theta + QUARTER_TURN)


@jax.jit
def exp2_q30(fraction31: Array) -> Array:
    """2^(fraction31 / 2^31) in Q30 (int64), in [1, 2], for int64 `fraction31` in [0, 2^31)."""
    return _horner(_EXP2, fraction31)


def _horner(coefficients: Sequence[int], t31: Array) -> Array:
    """The Q30 polynomial at t31 / 2^31 in [0, 1]; each step rounds (acc * t + coefficient) once."""
    half = 1 << 30
    high, *rest = reversed(coefficients)
    acc: Array = np.int64(high)
    for coefficient in rest:
        # acc < 2^31 throughout, so the sum stays below 2^63.
        acc = (acc * t31 + np.int64((coefficient << 31) + half)) >> np.int64(31)
    return acc
