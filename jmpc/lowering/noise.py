"""Noise that the servers add to a secret.

Each server draws a discrete Gaussian on the grid of fixed-point numbers, an integer that no rounding touches, and
shares it as a private input of its own. What two of them draw has together the deviation that was asked for: whichever
server is curious, and takes its own noise off again, that of the other two is left.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from jmpc.errors import TraceError
from jmpc.gaussian import MOST_DEVIATION, DiscreteGaussian
from jmpc.lowering import interval
from jmpc.lowering.context import Context
from jmpc.lowering.interval import Interval, Trust
from jmpc.lowering.values import FixedPoint, Value, is_float

HONEST = 2  # of three servers
_LEAST_VARIANCE = 16  # of one server's noise, in steps: the sum of two is then as good as one discrete Gaussian
_TAILS = 10  # deviations: more has a probability below 2^-75


def noise_of_server(deviation: float, fraction: int) -> DiscreteGaussian:
    """What one server draws, in steps of 2^-fraction: N_Z(0, variance / 2), of exactly this variance."""
    return DiscreteGaussian((Fraction(deviation) * (1 << fraction)) ** 2 / HONEST)


def add_noise(context: Context, value: Value, deviation: float, drawn: Mapping[str, Any]) -> FixedPoint:
    """A secret real with the noise that each server brings, as uint64 words. 1 round, 64 bits for each server.

    Raises:
      TraceError: if the deviation does not fit the steps of fixed-point numbers.
    """
    if not is_float(value.dtype):
        raise TraceError(f"{context.line}: noise is added to reals, not to {value.dtype}: convert it to float32 first")
    f, protocol = context.fraction, context.protocol
    step = 2.0**-f
    if not _LEAST_VARIANCE <= (Fraction(deviation) * (1 << f)) ** 2 / HONEST <= MOST_DEVIATION**2:
        raise TraceError(
            f"{context.line}: noise of standard deviation {deviation:g} has to lie between 5.7 and 2^52 steps of "
            f"{step:g}, which numbers of {f} fractional bits have: use another precision, or scale the values"
        )
    value = context.at_fraction(context.secret(value), f)
    # Nothing wraps around: a value stays below 2^62 steps, and ten deviations of the largest noise below 2^57.
    tails = _TAILS * deviation * math.sqrt(len(drawn) / HONEST)
    ring = value.ring
    for server, words in drawn.items():
        ring = protocol.add(ring, protocol.share(words, server))
    low, high = value.interval.low - tails, value.interval.high + tails
    limit = interval.representable(f).high
    known = Interval(low, high, Trust.PROMISED).clip(-limit, limit)
    return FixedPoint(ring, f, known, value.dtype)
