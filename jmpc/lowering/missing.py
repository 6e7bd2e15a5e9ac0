"""NaN that a program puts among secrets: it counts as 0, and where it stands is remembered.

A selection between numbers and NaN remembers its condition, and that is what `jnp.isnan` gives: `jnp.nanmean`,
`jnp.nanmedian` and their like see what a mask made NaN. Moves carry it along. After anything else it is known only
that there was NaN; whoever asks where is refused, because every answer would be a guess.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from jmpc.lowering.comparing import complement
from jmpc.lowering.context import Context
from jmpc.lowering.origins import Missing
from jmpc.lowering.rules.logic import bitwise_and, exclusive_or
from jmpc.lowering.values import Boolean, FixedPoint, Public, Value, is_float


@dataclass(frozen=True)
class Lost:
    """Something was computed with NaN, which was put in at `line`."""

    line: str


def nowhere(context: Context, x: FixedPoint) -> Boolean | Public:
    """Where x is not NaN.

    Raises:
      TraceError: if nobody knows.
    """
    lost: Lost | None = context.remembered(x, Lost)
    if lost is not None:
        raise context.refuse(
            f"it asks which of these numbers are NaN, and secret numbers never are; NaN that was put among them at "
            f"{lost.line} counts as 0, and something else was computed with it since",
            "Ask jnp.isnan before that, or keep a mask: jnp.mean(x, where=mask), jnp.where(mask, x, 0)",
        )
    at = _at(context, x)
    return Public(np.ones(x.shape, np.bool_)) if at is None else complement(context, at)


def selected(context: Context, which: Value, cases: Sequence[Value], chosen: Value) -> Value:
    """`chosen`, which is cases[1] where the boolean holds, otherwise cases[0]."""
    if not isinstance(chosen, FixedPoint) or which.shape != chosen.shape:
        return chosen
    sources = [line for case in cases if (line := _source(context, case)) is not None]
    if sources and not any(context.remembered(case, Lost) for case in cases):
        which = context.everyone(which) if isinstance(which, Public) else which
        unchosen, taken = (_at(context, case) for case in cases)
        at = _either(context, _both(context, taken, which), _both(context, unchosen, complement(context, which)))
        context.once(chosen, Missing, lambda: Missing(at, sources[0]))
    return chosen


def compared(context: Context, x: Value, y: Value, result: Value) -> Value:
    """The result of a comparison, which is false where x or y is NaN."""
    for at in (positions(context, x), positions(context, y)):
        if at is not None and at.shape == result.shape:
            kept = _both(context, result, complement(context, at))
            result = Public(np.zeros(result.shape, np.bool_)) if kept is None else kept
    return result


def follow(context: Context, operands: Sequence[Value], results: Sequence[Value]) -> None:
    """Marks the results of an operation that was given NaN, unless its rule has said where NaN is in them."""
    lines = [line for x in operands if (line := _source(context, x)) is not None]
    if not lines:
        return
    for result in results:
        is_new = isinstance(result, FixedPoint) and not any(result is x for x in operands)
        if is_new and context.remembered(result, Missing) is None:
            context.once(result, Lost, lambda: Lost(lines[0]))


def positions(context: Context, x: Value) -> Boolean | Public | None:
    """Where x is NaN, if it is anywhere and that is known."""
    known: Missing | None = context.remembered(x, Missing)
    return None if known is None else known.at


def _source(context: Context, x: Value) -> str | None:
    """The line of the NaN that is in x."""
    if isinstance(x, FixedPoint):
        known: Missing | None = context.remembered(x, Missing)
        lost: Lost | None = context.remembered(x, Lost)
        return lost.line if lost else known.line if known and known.at is not None else None
    return context.line if isinstance(x, Public) and _of_public(context, x) is not None else None


def _at(context: Context, x: Value) -> Value | None:
    return _of_public(context, x) if isinstance(x, Public) else positions(context, x)


def _of_public(context: Context, x: Public) -> Public | None:
    if not (x.known and is_float(x.dtype)):
        return None
    at = context.once(x, "NaN", lambda: Public(np.isnan(np.asarray(x.array, np.float64))))
    return at if at.array.any() else None


# -- masks, secret or known to everyone --------------------------------------------------------------------------


def _both(context: Context, x: Value | None, y: Value) -> Value | None:
    if x is None or complement(context, x) is y or complement(context, y) is x or _is_all(y, False):
        return None
    if x is y or _is_all(y, True):
        return x
    if _is_all(x, True):
        return y
    if isinstance(x, Public) and isinstance(y, Public):
        return _public(context, np.bitwise_and, jnp.bitwise_and, x, y)
    return bitwise_and(context, x, y)


def _either(context: Context, x: Value | None, y: Value | None) -> Value | None:
    """x or y, of which at most one holds anywhere."""
    if x is None or y is None:
        return y if x is None else x
    if isinstance(x, Public) and isinstance(y, Public):
        return _public(context, np.bitwise_or, jnp.bitwise_or, x, y)
    return exclusive_or(context, x, y)


def _public(context: Context, known: Callable[..., Any], traced: Callable[..., Any], x: Public, y: Public) -> Public:
    if x.known and y.known:
        return Public(known(x.array, y.array))
    return Public(traced(context.operand(x), context.operand(y)))


def _is_all(x: Value, value: bool) -> bool:
    return isinstance(x, Public) and x.known and bool((x.array == value).all())
