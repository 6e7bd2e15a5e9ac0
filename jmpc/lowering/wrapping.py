"""Indices that count from the end where they are negative, as JAX writes them: where(i < 0, i + n, i).

The comparison and the selection would take 5 rounds or more before the access that needs the index can start, while
the unit vector of i says as much as that of the selection. So an integer remembers that it is such a selection, as a
value remembers its standard forms. It is that selection nevertheless; what nobody uses of it is dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jmpc.lowering.context import Context
from jmpc.lowering.origins import FromEnd
from jmpc.lowering.values import Integer, Public, Secret, Value


@dataclass(frozen=True)
class _Sum:
    """x + amount."""

    x: Integer
    amount: int


def from_end(context: Context, x: Value) -> FromEnd | None:
    """What `x` counts from the end, if it is known to do so."""
    return context.remembered(x, FromEnd)


def added(context: Context, x: Integer, y: Public, total: Integer) -> Integer:
    """`total` is x + y."""
    if y.known and y.array.size and (y.array == y.array.flat[0]).all():
        context.once(total, _Sum, lambda: _Sum(x, int(y.array.flat[0])))
    return total


def selected(context: Context, condition: Secret, cases: Sequence[Value], chosen: Secret) -> Secret:
    """`chosen` is cases[1] where the condition holds, otherwise cases[0]."""
    x, moved = cases
    total = context.remembered(moved, _Sum)
    if isinstance(x, Integer) and total is not None and total.x is x and total.amount > 0:
        if context.remembered(context.extended(x), "negative") is condition:
            context.once(chosen, FromEnd, lambda: FromEnd(x, total.amount))
    return chosen


@dataclass(frozen=True)
class _Parts:
    values: tuple[Value, ...]


def concatenated(context: Context, values: Sequence[Value], dimension: int, result: Secret) -> Secret:
    """`result` has these values along `dimension`: index vectors have their components on the last one."""
    last = len(result.shape) - 1
    if isinstance(result, Integer) and dimension == last and all(x.shape[last] == 1 for x in values):
        context.once(result, _Parts, lambda: _Parts(tuple(values)))
    return result


def components(context: Context, vectors: Integer) -> tuple[Value, ...] | None:
    """What index vectors were put together from, each with a last dimension of size 1, if that is known."""
    parts: Any = context.remembered(vectors, _Parts)
    return None if parts is None else parts.values


def squeezed(x: Public) -> Public:
    """A component without its last dimension."""
    return Public(x.array[..., 0] if x.known else x.array.reshape(x.shape[:-1]), x.at)


def constant_units(x: Public, size: int) -> np.ndarray:
    """The unit vectors of public indices in [0, size) on a new last axis."""
    return (np.asarray(x.array)[..., None] == np.arange(size)).astype(np.uint64)
