"""Infinities that a program puts among secrets: numbers beyond all others, which comparisons with infinity find again.

A selection replaces them (`choosing.finite`), and what is computed with them stays beyond: the distance to a node that
cannot be reached, say, plus that of an edge. So `x == inf` and `x < inf` compare with a limit, if x may have some.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jmpc.lowering import choosing
from jmpc.lowering.context import Context
from jmpc.lowering.values import FixedPoint, Public, Value, is_float

_PART = 0.75  # of the number that an infinity became, from where on numbers are infinite
_INFINITY_LEAVES_NO_TRACE = frozenset(("max", "min", "clamp"))


@dataclass(frozen=True)
class Unbounded:
    """Numbers of the value from `limit` on, or from its opposite down, stand for infinities."""

    limit: float


def follow(context: Context, operands: Sequence[Value], results: Sequence[Value]) -> None:
    """Marks the results of an operation that was given infinities."""
    limits = [limit for x in operands if (limit := _limit(context, x, operands)) is not None]
    if not limits:
        return
    for result in results:
        if isinstance(result, FixedPoint) and not any(result is x for x in operands):
            context.once(result, Unbounded, lambda: Unbounded(max(limits)))


def finite_end(context: Context, x: Value, infinity: Value, *, sign: int) -> Public | None:
    """What to compare x with in the place of a public infinity of this sign; None if it is none, or x has none."""
    mark: Unbounded | None = context.remembered(x, Unbounded)
    if mark is None or not isinstance(infinity, Public) or not infinity.known:
        return None
    array = np.asarray(infinity.array, np.float64)
    if not (array.size and (array == sign * np.inf).all()):
        return None
    return Public(np.full(array.shape, sign * mark.limit).astype(x.dtype))


def _limit(context: Context, x: Value, operands: Sequence[Value]) -> float | None:
    if isinstance(x, FixedPoint):
        mark: Unbounded | None = context.remembered(x, Unbounded)
        return None if mark is None else mark.limit
    if not (isinstance(x, Public) and x.known and is_float(x.dtype)):
        return None
    assert context.equation is not None
    name = context.equation.primitive.name
    has_some = context.once(x, "infinity", lambda: np.isinf(np.asarray(x.array, np.float64)).any())
    return _PART * choosing.beyond(context, operands) if has_some and name not in _INFINITY_LEAVES_NO_TRACE else None
