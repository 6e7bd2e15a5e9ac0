"""What a value was made of, where that lets it be used with fewer rounds.

The value is an ordinary one nevertheless, and what nobody uses of it is dropped. Origins are remembered as standard
forms are, and go along wherever the elements of a value are moved.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from jmpc.lowering.context import Context
from jmpc.lowering.values import Boolean, FixedPoint, Integer, Public, Secret, Value
from jmpc.protocols.base import Bits

Move = Callable[[Secret], Secret]


@dataclass(frozen=True)
class FromEnd:
    """The value is of + size where `of` is negative, otherwise `of`: an index as JAX makes it."""

    of: Integer
    size: int

    def moved(self, move: Move) -> FromEnd:
        return dataclasses.replace(self, of=move(self.of))


@dataclass(frozen=True)
class Floored:
    """The value is `of` where that is `above` the number `low`, otherwise `low`."""

    of: FixedPoint
    low: float
    above: Boolean

    def moved(self, move: Move) -> Floored:
        return dataclasses.replace(self, of=move(self.of), above=move(self.above))


@dataclass(frozen=True)
class Root:
    """The value is the square root of `of`."""

    of: FixedPoint

    def moved(self, move: Move) -> Root:
        return Root(move(self.of))


@dataclass(frozen=True)
class Ordered:
    """The value is order[which], where the order of some elements has element i at `places[i]`."""

    places: Bits
    which: Public

    def moved(self, move: Move) -> Ordered:
        return dataclasses.replace(self, which=move(self.which))


@dataclass(frozen=True)
class Missing:
    """The value is NaN exactly where `at` holds, and nowhere if that is None; NaN was put there at `line`."""

    at: Boolean | Public | None
    line: str

    def moved(self, move: Move) -> Missing:
        return self if self.at is None else dataclasses.replace(self, at=move(self.at))


Origin = type[FromEnd] | type[Floored] | type[Root] | type[Ordered] | type[Missing]
_ALL: tuple[Origin, ...] = (FromEnd, Floored, Root, Ordered, Missing)


def carried(context: Context, x: Secret, result: Secret, move: Move) -> Secret:
    """`result`, which is `x` with its elements moved by `move`."""
    for kind in _ALL:
        origin: Any = context.remembered(x, kind)
        if origin is not None:
            context.once(result, kind, lambda origin=origin: origin.moved(move))
    return result


def maximum(context: Context, x: FixedPoint, y: Value, above: Boolean, result: FixedPoint) -> FixedPoint:
    """`result`, which is the maximum of x, `above` y, and y."""
    low = _number(y)
    if low is not None and above.shape == x.shape == result.shape:
        context.once(result, Floored, lambda: Floored(x, low, above))
    return result


def added(
    context: Context, x: FixedPoint, y: Public, sign: int, total: FixedPoint, add: Callable[[FixedPoint], FixedPoint]
) -> FixedPoint:
    """`total`, which is x + sign y, where add(z) is z + sign y."""
    amount = _number(y)
    if amount is None or total.shape != x.shape:
        return total
    floored, root = context.remembered(x, Floored), context.remembered(x, Root)
    if floored is not None:
        context.once(total, Floored, lambda: Floored(add(floored.of), floored.low + sign * amount, floored.above))
    if root is not None and context.vanishes(y, total.fraction):
        context.once(total, Root, lambda: root)
    return total


def _number(y: Value) -> float | None:
    if not (isinstance(y, Public) and y.known and y.array.size):
        return None
    array = np.asarray(y.array, np.float64)
    return float(array.flat[0]) if (array == array.flat[0]).all() and np.isfinite(array.flat[0]) else None
