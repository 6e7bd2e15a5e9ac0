"""What a comparison found, line by line of the user's."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jmpc.debug.rows import Concern, Place, Row
from jmpc.precision import Precision

_SHOWN = 16  # rows of the printed table
_EXPLAINED = 6  # of them, in words


@dataclass(frozen=True)
class Report:
    """A function in fixed point beside itself in float64. `print` it, or read the rows.

    Args:
      precision: of the computation.
      rows: of arguments, operations and results, the most urgent first.
    """

    precision: Precision
    rows: tuple[Row, ...]

    @property
    def max_error(self) -> float:
        """The largest absolute error of any result."""
        return max((row.error for row in self.rows if row.place is Place.RESULT), default=0.0)

    def worst(self) -> Row:
        """The row to look at first."""
        return self.rows[0]

    @property
    def concerns(self) -> tuple[Row, ...]:
        """The rows about which there is something to say."""
        return tuple(row for row in self.rows if row.concern is not Concern.NONE)

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        f = self.precision.fraction
        yield (
            f"{f} fractional bits: steps of {_number(self.precision.step)}, inputs below {_number(2.0 ** (38 - f))}, "
            f"products below {_number(2.0 ** (62 - 2 * f))}"
        )
        yield f"largest error of a result: {_number(self.max_error)}, {_steps(self.max_error, self.precision)}"
        yield ""
        yield from _table(self.rows[:_SHOWN])
        if len(self.rows) > _SHOWN:
            yield f"  and {len(self.rows) - _SHOWN} more in `rows`, all of them less urgent"
        yield ""
        if not self.concerns:
            yield "nothing to look at: all values are well inside of the range, and no line loses digits"
            return
        yield "what to look at"
        for row in self.concerns[:_EXPLAINED]:
            yield f"  {row.name}: {row.advice}"
        if len(self.concerns) > _EXPLAINED:
            yield f"  and {len(self.concerns) - _EXPLAINED} more in `concerns`"


def _table(rows: Sequence[Row]) -> Iterator[str]:
    heading = ["line", "operation", "times", "error", "own error", "relative", "values", "head-room", "lost"]
    filled = [heading, *(_cells(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*filled, strict=True)]
    for cells in filled:
        left = [cell.ljust(width) for cell, width in zip(cells[:2], widths, strict=False)]
        right = [cell.rjust(width) for cell, width in zip(cells[2:], widths[2:], strict=True)]
        yield ("  " + "  ".join([*left, *right])).rstrip()


def _cells(row: Row) -> list[str]:
    room = "" if math.isinf(row.headroom) else f"{row.headroom:.0f} bits"
    lost = f"{row.lost:.0%}" if row.lost > 0 else ""
    return [
        row.line,
        row.operation,
        f"{row.times:,}",
        _number(row.error),
        _number(row.own_error),
        _number(row.relative_error),
        f"{_number(row.low)} .. {_number(row.high)}",
        room,
        lost,
    ]


def _number(x: float) -> str:
    return f"{x:.2g}" if x == 0 or abs(x) < 1e-3 or abs(x) >= 1e5 else f"{x:.3g}"


def _steps(error: float, precision: Precision) -> str:
    return f"{error / precision.step:,.1f} steps"
