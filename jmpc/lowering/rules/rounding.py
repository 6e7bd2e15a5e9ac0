"""Floor, ceiling and rounding, exactly."""

from __future__ import annotations

import enum
from typing import Any

import numpy as np
from jax import lax

from jmpc.lowering import comparing
from jmpc.lowering.context import Context
from jmpc.lowering.interval import Interval
from jmpc.lowering.registry import rule
from jmpc.lowering.values import FixedPoint, Value


@rule("floor")
def floor(context: Context, x: FixedPoint, **_: Any) -> Value:
    return _floor_of(context, x, 0)


@rule("ceil")
def ceil(context: Context, x: FixedPoint, **_: Any) -> Value:
    x = context.at_most(x)
    return _floor_of(context, x, (1 << x.fraction) - 1)


@rule("round")
def round_(context: Context, x: FixedPoint, *, rounding_method: enum.Enum, **_: Any) -> Value:
    x = context.at_most(x)
    if x.fraction == 0:
        return x
    half = 1 << (x.fraction - 1)
    if lax.RoundingMethod(rounding_method) is lax.RoundingMethod.TO_NEAREST_EVEN:
        # x + (half - 1) + (the bit of weight one): halves go up to the next even number, and no further
        every = context.protocol.to_bits(x.ring)
        (odd,) = context.protocol.to_ring([context.protocol.parity(every, 1 << x.fraction)], [[1]])
        return _floor_of(context, x, half - 1, odd)
    # away from zero: halves go up where x >= 0, down where x < 0
    (down,) = context.protocol.to_ring([context.bits(comparing.negative(context, x))], [[-1]])
    return _floor_of(context, x, half, down)


def _floor_of(context: Context, x: FixedPoint, offset: int, moved: Any = None) -> FixedPoint:
    """floor(x + (offset + moved) ulp), at fraction 0."""
    x = context.at_most(x)
    ring = x.ring
    if moved is not None:
        ring = context.protocol.add(ring, moved)
    if offset:
        ring = context.protocol.add_public(ring, offset)
    ring = context.protocol.truncate_exact(ring, x.fraction) if x.fraction else ring
    low, high = np.floor(x.interval.low), np.ceil(x.interval.high)
    return FixedPoint(ring, 0, Interval(float(low), float(high), x.interval.trust), x.dtype)
