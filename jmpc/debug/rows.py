"""One operation on one line of a compared function: its figures, what is the matter with them, and what to do."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from jmpc.precision import LOWEST, Precision

_LARGE = 2e-3  # of an error of more than so many steps, relative to the result
_STEPS = 16
_ERROR = 1e-2  # relative, so far, where operands were at least so many times better
_AMPLIFICATION = 8
_ROOM = 2  # bits
_LOST = 0.01  # share of results


class Concern(enum.IntEnum):
    """What a line should be looked at for; the higher, the more urgent."""

    NONE = 0
    SMALL = 1  # values of a few steps, whose digits are lost
    UNDEFINED = 2  # plain JAX gives inf or nan
    TIGHT = 3  # nearly at the end of the range
    INEXACT = 4  # the operation itself is far off
    AMPLIFIED = 5  # errors of operands weigh much more in the result
    OVERFLOW = 6  # beyond the end of the range: wrapped around


class Place(enum.Enum):
    """What a row is about."""

    ARGUMENT = "argument"
    OPERATION = "operation"
    RESULT = "result"


@dataclass(frozen=True)
class Row:
    """What all evaluations of one operation on one source line came to.

    Magnitudes and errors are those of the reals among its results, integers and booleans count as numbers. Errors are
    distances from float64.

    Args:
      line: "file.py:12 (function)", or which argument or result it is.
      operation: the name of JAX's primitive; empty for arguments and results.
      place: whether it is an argument, an operation or a result.
      times: how often it was evaluated.
      error: the largest error so far: of everything up to here together.
      relative_error: the same, relative to the largest magnitude of its array.
      own_error: the largest error that the operation makes itself, on the operands that it is given.
      own_relative_error: the same, relative.
      amplification: how much larger the relative error so far is than that of the operands.
      low: the lowest value in float64; high: the highest.
      smallest: the smallest magnitude that is not zero, infinity if all are.
      operands: the smallest, not zero, and the largest magnitude of its real operands, in fixed point.
      fraction: with how many fractional bits results are held, None if they are no reals.
      limit: the magnitude that wraps around there.
      headroom: how many bits the largest magnitude is below `limit`; negative: it is beyond.
      lost: the share of the results that are not zero and of which the operation leaves less than three bits right.
      constant: the largest constant operand that counts as zero there, None if there is none.
      undefined: how many results are inf or nan in float64.
      precision: of the computation.
    """

    line: str
    operation: str
    place: Place
    times: int
    error: float
    relative_error: float
    own_error: float
    own_relative_error: float
    amplification: float
    low: float
    high: float
    smallest: float
    operands: tuple[float, float]
    fraction: int | None
    limit: float
    headroom: float
    lost: float
    constant: float | None
    undefined: int
    precision: Precision

    @property
    def concern(self) -> Concern:
        """The most urgent thing to say about it."""
        steps = self.own_error / self.precision.step
        if self.headroom < 0:
            return Concern.OVERFLOW
        theirs = self.relative_error > max(_ERROR, 2 * self.own_relative_error)
        if theirs and self.amplification > _AMPLIFICATION:
            return Concern.AMPLIFIED
        if steps > _STEPS and self.own_relative_error > _LARGE:
            return Concern.INEXACT
        if self.headroom < _ROOM:
            return Concern.TIGHT
        if self.undefined:
            return Concern.UNDEFINED
        return Concern.SMALL if self.constant is not None or self.lost > _LOST else Concern.NONE

    @property
    def advice(self) -> str:
        """What is the matter and what to do, in words; empty if nothing is."""
        return _ADVICE[self.concern](self)

    @property
    def urgency(self) -> tuple[float, ...]:
        """Sorts rows; of those that are equally urgent the first in the program is the cause of the others."""
        if self.concern > Concern.SMALL:
            return (self.concern,)
        return (self.concern, self.constant is not None, self.lost, self.own_error, self.error)

    @property
    def name(self) -> str:
        """Where it stands and what it does."""
        return f"{self.line}, {self.operation}" if self.operation else self.line


# -- in words -----------------------------------------------------------------------------------------------


def _overflow(row: Row) -> str:
    largest = max(abs(row.low), abs(row.high))
    if row.place is Place.ARGUMENT:
        return (
            f"reaches {largest:.3g}, and an input of which no range is declared stays below {row.limit:.3g}. Scale it, "
            "declare its range where it is defined, or lower the precision"
        )
    return (
        f"reaches {largest:.3g}, and {row.fraction} fractional bits carry no more than {row.limit:.3g}: it is wrong, "
        f"and so is everything that follows from it. Scale its operands down{_lower(row, -row.headroom)}"
    )


def _tight(row: Row) -> str:
    return (
        f"comes within {row.headroom:.1f} bits of {row.limit:.3g}, where values wrap around. Larger data would "
        f"be wrong: scale the operands down{_lower(row, _ROOM - row.headroom)}"
    )


def _lower(row: Row, missing: float) -> str:
    """A precision that gives as many more bits: products gain two for each fractional bit less."""
    gain = 2 if row.fraction is not None and row.fraction > row.precision.fraction else 1
    lower = row.precision.fraction - int(-(-missing // gain)) - 1
    return f", or use precision={lower}" if lower >= LOWEST else ""


def _inexact(row: Row) -> str:
    smallest, largest = row.operands
    off = f"is off by {row.own_error:.2g} ({row.own_relative_error:.1%}) itself"
    if smallest * row.own_relative_error < _STEPS * row.precision.step:
        return (
            f"{off}: its operands are as small as {smallest:.2g}, and rounded to steps of {row.precision.step:.2g}. "
            "Scale them up first, or use a higher precision"
        )
    return (
        f"{off}, on exact operands: they reach {largest:.3g}, outside of what `{row.operation}` is right for. "
        "jmpc.functions states the domain of each function"
    )


def _amplified(row: Row) -> str:
    return (
        f"makes errors of its operands {row.amplification:.0f} times larger, relatively: they are "
        f"{row.relative_error:.1%} of its result. It divides by something small, or subtracts numbers that are nearly "
        "equal: bound the divisor from below with jnp.maximum, or scale what is small up before this line"
    )


def _undefined(row: Row) -> str:
    return (
        f"{row.undefined} of its results are inf or nan in floating point; in fixed point they are some finite number. "
        "Keep such operands away with jnp.where or jnp.maximum, unless nothing depends on them"
    )


def _small(row: Row) -> str:
    step = row.precision.step
    if row.constant is not None:
        return (
            f"the constant {row.constant:.3g} counts as 0 here: it is less than half a step of {step:.2g}. Use at "
            f"least {2 * step:.1g}, or a higher precision"
        )
    return (
        f"{row.lost:.0%} of its results that are not zero are so small that less than three bits of them are right "
        f"(the smallest is {row.smallest:.2g}, a step {step:.2g}). That is harmless where larger numbers are added; it "
        "matters where one divides by them or takes a root or logarithm: scale them up first, or use a higher precision"
    )


_ADVICE = {
    Concern.NONE: lambda row: "",
    Concern.SMALL: _small,
    Concern.UNDEFINED: _undefined,
    Concern.AMPLIFIED: _amplified,
    Concern.TIGHT: _tight,
    Concern.INEXACT: _inexact,
    Concern.OVERFLOW: _overflow,
}
