"""Figures of one operation on one line, gathered over all of its evaluations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from jmpc.debug.observing import Seen
from jmpc.debug.rows import Place, Row
from jmpc.lowering.interval import RANGE_BITS
from jmpc.lowering.values import is_float
from jmpc.precision import Precision

_WEAK = 1 / 8  # of a number that is off by as much, less than three bits are right


@dataclass
class Tally:
    """`see` takes evaluations, `row` sums them up.

    Args:
      place: what the row is about.
      limit: the magnitude that wraps around, if it does not follow from the number of fractional bits.
    """

    line: str
    operation: str
    place: Place
    precision: Precision
    limit: float = math.inf
    times: int = 1
    error: float = 0.0
    relative_error: float = 0.0
    own_error: float = 0.0
    own_relative_error: float = 0.0
    amplification: float = 0.0
    low: float = math.inf
    high: float = -math.inf
    smallest: float = math.inf
    least: float = math.inf  # of the operands
    greatest: float = 0.0
    fraction: int | None = None
    headroom: float = math.inf
    few: int = 0  # elements that keep less than three bits
    elements: int = 0  # that are not zero
    undefined: int = 0
    constants: list[float] = field(default_factory=list)

    def see(self, seen: Seen, so_far: np.ndarray | None, exact: np.ndarray, operand_error: float = 0.0) -> None:
        """A result in fixed point, in float64, and in float64 from the operands in fixed point."""
        got = np.asarray(seen.array, np.float64)
        own, own_relative = distance(got, exact)
        self.own_error = max(self.own_error, own)
        self.own_relative_error = max(self.own_relative_error, own_relative)
        true = exact if so_far is None else so_far
        if is_float(seen.array.dtype):
            self._see_small(got, true, exact)
        self._see_range(seen, true, exact)
        if so_far is None:
            self.error, self.relative_error = max(self.error, own), max(self.relative_error, own_relative)
            return
        error, relative = distance(got, so_far)
        self.error = max(self.error, error)
        if relative > self.relative_error:
            self.relative_error = relative
            self.amplification = relative / operand_error if operand_error > 0 else 0.0

    def see_operands(self, operands: Sequence[np.ndarray]) -> None:
        """What is real among the operands, in fixed point."""
        for operand in operands:
            if is_float(operand.dtype):
                magnitudes = np.abs(_finite(operand))
                self.least = min(self.least, float(magnitudes[magnitudes > 0].min(initial=math.inf)))
                self.greatest = max(self.greatest, float(magnitudes.max(initial=0.0)))

    def _see_small(self, got: np.ndarray, true: np.ndarray, exact: np.ndarray) -> None:
        """What is weak beside both: a zero that came with a rounding error may be that error or zero."""
        wanted = np.isfinite(exact) & np.isfinite(true) & (exact != 0) & (true != 0)
        self.elements += int(wanted.sum())
        weak = [np.abs(got - want)[wanted] > _WEAK * np.abs(want[wanted]) for want in (exact, true)]
        self.few += int((weak[0] & weak[1]).sum())

    def _see_range(self, seen: Seen, true: np.ndarray, exact: np.ndarray) -> None:
        finite = _finite(true)
        self.undefined += true.size - finite.size
        if not finite.size:
            return
        magnitudes = np.abs(finite)
        self.low, self.high = min(self.low, float(finite.min())), max(self.high, float(finite.max()))
        self.smallest = min(self.smallest, float(magnitudes[magnitudes > 0].min(initial=math.inf)))
        if not is_float(seen.array.dtype) or seen.fraction is None:
            return
        limit = min(self.limit, 2.0 ** (RANGE_BITS - seen.fraction))
        # the words hold what the operands really are, which may be beyond the range before float64 is, or after it
        largest = max(float(magnitudes.max()), float(np.abs(_finite(exact)).max(initial=0.0)))
        headroom = math.log2(limit / largest) if largest > 0 else math.inf
        if headroom <= self.headroom:
            self.headroom, self.limit, self.fraction = headroom, limit, seen.fraction

    def row(self) -> Row:
        """What it all came to."""
        some = self.low <= self.high
        return Row(
            line=self.line,
            operation=self.operation,
            place=self.place,
            times=self.times,
            error=self.error,
            relative_error=self.relative_error,
            own_error=self.own_error,
            own_relative_error=self.own_relative_error,
            amplification=self.amplification,
            low=self.low if some else 0.0,
            high=self.high if some else 0.0,
            smallest=self.smallest,
            operands=(self.least, self.greatest),
            fraction=self.fraction,
            limit=self.limit,
            headroom=self.headroom,
            lost=self.few / self.elements if self.elements else 0.0,
            constant=max(self.constants, key=abs, default=None),
            undefined=self.undefined,
            precision=self.precision,
        )


def distance(got: np.ndarray, want: np.ndarray) -> tuple[float, float]:
    """The largest difference where `want` is finite; and that relative to the largest magnitude."""
    want = np.asarray(want, np.float64)
    finite = np.isfinite(want)
    if not finite.any():
        return 0.0, 0.0
    error = float(np.abs(got[finite] - want[finite]).max())
    largest = float(np.abs(want[finite]).max())
    return error, error / largest if largest > 0 else float(error > 0)


def largest_relative(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """The largest relative distance of several arrays."""
    return max((distance(np.asarray(got, np.float64), want)[1] for got, want in pairs), default=0.0)


def _finite(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x, np.float64)
    return x[np.isfinite(x)]
