"""Expensive functions of a maximum with a constant: f(max(x, c)) is f(x) or f(c), so the comparison runs beside f.

A variance is held above 0 and the argument of a logarithm above a small constant before 15 to 20 rounds begin, to
which the maximum would add 6. So a maximum remembers what it was made of, also when constants were added to it. Where
the maximum narrows the range so much that the function becomes cheap, the function is computed of the maximum.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from jmpc.functions.normalize import known_exponents
from jmpc.lowering import choosing, traits
from jmpc.lowering.arithmetic import broadcast
from jmpc.lowering.context import Context
from jmpc.lowering.origins import Floored
from jmpc.lowering.values import FixedPoint, Public

Function = Callable[[Context, FixedPoint], FixedPoint]


def beside(context: Context, x: FixedPoint, function: Function, exact: Callable[[float], float]) -> FixedPoint:
    """function(x), which is `exact` on public numbers."""

    def evaluate(x: FixedPoint) -> FixedPoint:
        floored: Floored | None = context.remembered(x, Floored)
        if floored is None or known_exponents((x.interval.low, x.interval.high), context.fraction).few:
            return function(context, x)
        with np.errstate(all="ignore"):
            least = exact(round(floored.low * 2.0**context.fraction) * 2.0**-context.fraction)
        if not np.isfinite(least):
            return function(context, x)
        below = Public(np.full(x.shape, least, x.dtype))
        return choosing.select(context, floored.above, function(context, floored.of), below)

    return traits.narrowly(x, evaluate, lambda of, shape: broadcast(context, of, shape))
