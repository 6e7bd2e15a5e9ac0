"""Signed intervals: what is known about the size of secret values while a function is traced.

An interval is *certain* if it follows from the checked ranges of inputs and the mathematics alone, and a
*promise* otherwise: every value that is truncated must have been below 2^62 in the ring, so whoever
computes with the result may count on the bound that follows. Promises narrow comparisons and tell whether
scales can be aligned; only certain bounds choose the precision of constants. Where the ranges were *declared*, and
are not merely the widest that inputs may have, what they allow to overflow is worth a warning.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

import numpy as np

RANGE_BITS = 62  # |x| < 2^62 in the ring, wherever a value is truncated


class Trust(enum.IntEnum):
    """What an interval follows from, the weakest part of it."""

    PROMISED = 0  # no value would be correct outside
    CHECKED = 1  # the range of inputs of which nothing was declared
    DECLARED = 2  # declared ranges, constants, mathematics


@dataclass(frozen=True)
class Interval:
    """low <= x <= high in real units; Python integers stay exact."""

    low: float
    high: float
    trust: Trust = Trust.DECLARED

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise ValueError(f"an interval from {self.low} to {self.high} is empty")

    @property
    def certain(self) -> bool:
        return self.trust > Trust.PROMISED

    @property
    def magnitude(self) -> float:
        """The largest |x|."""
        return max(abs(self.low), abs(self.high))

    @property
    def mignitude(self) -> float:
        """The smallest |x|."""
        return 0 if self.low <= 0 <= self.high else min(abs(self.low), abs(self.high))

    def __neg__(self) -> Interval:
        return Interval(-self.high, -self.low, self.trust)

    def __add__(self, other: Interval) -> Interval:
        return Interval(self.low + other.low, self.high + other.high, min(self.trust, other.trust))

    def __sub__(self, other: Interval) -> Interval:
        return self + -other

    def __mul__(self, other: Interval) -> Interval:
        corners = [_times(a, b) for a in (self.low, self.high) for b in (other.low, other.high)]
        return Interval(min(corners), max(corners), min(self.trust, other.trust))

    def hull(self, *others: Interval) -> Interval:
        """The smallest interval around all of them."""
        every = (self, *others)
        return Interval(min(i.low for i in every), max(i.high for i in every), min(i.trust for i in every))

    def clip(self, low: float, high: float) -> Interval:
        """Its part in [low, high], which is a promise if that cuts anything off."""
        if low <= self.low and self.high <= high:
            return self
        clipped = sorted((min(max(self.low, low), high), min(max(self.high, low), high)))
        return Interval(clipped[0], clipped[1], Trust.PROMISED)

    def inside(self, low: float, high: float) -> bool:
        return low <= self.low and self.high <= high

    def with_rounded(self, fraction: int) -> Interval:
        """Around its numbers and the multiples of 2^-fraction nearest to them, which are what is computed with."""
        ends = self.low, self.high
        nearest = [float(np.round(end * 2.0**fraction)) / 2.0**fraction if np.isfinite(end) else end for end in ends]
        return Interval(min(self.low, nearest[0]), max(self.high, nearest[1]), self.trust)

    def range_bits(self, fraction: int = 0) -> int:
        """The n for which |x| * 2^fraction < 2^(n - 1) everywhere, one ulp of slack included; at most 64."""
        limit = self.magnitude
        if limit >= 2.0**63:
            return 64
        words = limit * 2**fraction
        return min(64, max(2, math.floor(words + 2 + _rounding(words)).bit_length() + 1))

    def words(self, fraction: int = 0) -> tuple[int, int]:
        """The integers between which x * 2^fraction lies everywhere."""
        low, high = self.low * 2**fraction, self.high * 2**fraction
        return math.floor(low) - _rounding(low), math.ceil(high) + _rounding(high)


def _rounding(words: float) -> int:
    """By how many words floating point may have moved the end of an interval; Python integers are exact."""
    return 0 if isinstance(words, int) else int(abs(words)) >> 50


def _times(a: float, b: float) -> float:
    return 0 if a == 0 or b == 0 else a * b


def symmetric(limit: float, trust: Trust = Trust.DECLARED) -> Interval:
    return Interval(-limit, limit, trust)


def representable(fraction: int) -> Interval:
    """All that is known of a value at this scale of which nothing is known."""
    return symmetric(2.0 ** (RANGE_BITS - fraction), Trust.PROMISED)


def of_array(x: np.ndarray) -> Interval:
    """The range of a public array."""
    if x.size == 0:
        return Interval(0, 0)
    if np.issubdtype(x.dtype, np.integer):
        return Interval(int(x.min()), int(x.max()))
    x = x.astype(np.float64)
    if np.isnan(x).any():
        return Interval(-np.inf, np.inf, Trust.PROMISED)
    return Interval(float(x.min()), float(x.max()))


def of_dtype(dtype: np.dtype) -> Interval:
    """The range of an integer type."""
    info = np.iinfo(dtype)
    return Interval(int(info.min), int(info.max))
