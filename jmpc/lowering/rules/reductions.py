"""Reductions along axes, and running ones."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jmpc.functions.comparison import Extremum, extremum_with_index, reduce_max, reduce_min
from jmpc.lowering import arithmetic, choosing, interval, traits
from jmpc.lowering.context import Context
from jmpc.lowering.interval import Interval
from jmpc.lowering.registry import rule
from jmpc.lowering.rules import logic
from jmpc.lowering.rules.shape import moved
from jmpc.lowering.values import Boolean, FixedPoint, Integer, Public, Secret, Value, is_boolean
from jmpc.protocols.base import Bits

Combine = Callable[[Context, Value, Value], Value]


# -- sums ------------------------------------------------------------------------------------------------------


@rule("reduce_sum")
def reduce_sum(context: Context, x: Secret, *, axes: Sequence[int], **_: Any) -> Value:
    if x.sharing.size == 0:
        return Public(np.zeros([n for d, n in enumerate(x.shape) if d not in axes], x.dtype))
    terms = math.prod(x.shape[axis] for axis in axes)
    total = summed(context, x, lambda slot: jnp.sum(slot, axis=tuple(axes), dtype=slot.dtype), terms)
    if isinstance(x, FixedPoint) and traits.attained(x, axes) == 1.0 and x.interval.low >= 0:
        known = total.interval
        return dataclasses.replace(total, interval=Interval(min(1.0, known.high), known.high, known.trust))
    return total


def summed(context: Context, x: Secret, f: Callable[[Any], Any], terms: int) -> Secret:
    """A linear map whose results are sums of at most `terms` elements."""
    if isinstance(x.sharing, Bits):
        x = context.settled(x)
    result = dataclasses.replace(moved(context, x, f))  # anew: of sums nothing is known that is known of elements
    if result.interval is None:
        return result
    known = x.interval
    known = Interval(min(known.low, known.low * terms), max(known.high, known.high * terms), known.trust)
    if isinstance(result, Integer):
        return arithmetic.wrapped(result, result.sharing, known)
    limit = interval.representable(x.fraction).high
    return dataclasses.replace(result, interval=known.clip(-limit, limit))


@rule("cumsum")
def cumsum(context: Context, x: Secret, *, axis: int, reverse: bool, **_: Any) -> Value:
    return summed(context, x, lambda slot: lax.cumsum(slot, axis, reverse), x.shape[axis])


# -- extrema ---------------------------------------------------------------------------------------------------


@rule("reduce_max")
def reduce_max_(context: Context, x: Secret, *, axes: Sequence[int], **_: Any) -> Value:
    result = _extreme(context, x, axes, reduce_max, choosing.maximum)
    if isinstance(x, FixedPoint) and isinstance(result, FixedPoint):
        return dataclasses.replace(result, trait=traits.peak(x, axes))
    return result


@rule("reduce_min")
def reduce_min_(context: Context, x: Secret, *, axes: Sequence[int], **_: Any) -> Value:
    return _extreme(context, x, axes, reduce_min, choosing.minimum)


def _extreme(context: Context, x: Secret, axes: Sequence[int], function: Callable, combine: Combine) -> Value:
    x = merged(context, x, axes)
    if x.shape[-1] == 0:
        raise context.refuse("the extremum of nothing", "Give it an axis with elements")
    bits = difference_bits(context, x)
    if bits is None:
        return fold(context, x, combine)
    x = standard(context, x)
    sharing = function(context.protocol, x.sharing, -1, bits)
    return (
        dataclasses.replace(x, sharing=sharing)
        if isinstance(x, Integer)
        else dataclasses.replace(x, sharing=sharing, trait=None)
    )


def standard(context: Context, x: Secret) -> Secret:
    """Ready to be compared and selected: a `Ring`, integers extended, reals without a product's fraction."""
    return context.extended(x) if isinstance(x, Integer) else context.at_most(x)


def difference_bits(context: Context, x: Secret) -> int | None:
    """The range bits of differences of elements, or None where they may leave the ring (or are booleans)."""
    if isinstance(x, Boolean):
        return None
    ready = standard(context, x)
    difference = ready.interval - ready.interval
    if isinstance(x, Integer):
        return difference.range_bits() if difference.inside(-(2**63), 2**63 - 1) else None
    return difference.range_bits(ready.fraction)


@rule("argmax")
def argmax(context: Context, x: Secret, **params: Any) -> Value:
    return _position(context, x, Extremum.LARGEST, **params)


@rule("argmin")
def argmin(context: Context, x: Secret, **params: Any) -> Value:
    return _position(context, x, Extremum.SMALLEST, **params)


def _position(
    context: Context, x: Secret, which: Extremum, *, axes: Sequence[int], index_dtype: Any, **_: Any
) -> Value:
    if isinstance(x, Boolean):
        x = arithmetic.as_integer(context, x, np.int8)
    (axis,) = axes
    bits = difference_bits(context, x)
    if bits is None:
        raise context.refuse(
            "the position of an extremum of 64-bit integers of any size",
            "Declare a range for the inputs, or use 32-bit integers",
        )
    ready = standard(context, x)
    _value, position = extremum_with_index(context.protocol, ready.sharing, axis, which, bits)
    return Integer(position, np.dtype(index_dtype), Interval(0, x.shape[axis] - 1))


# -- other folds -----------------------------------------------------------------------------------------------


@rule("reduce_prod")
def reduce_prod(context: Context, x: Secret, *, axes: Sequence[int], **_: Any) -> Value:
    return fold(context, merged(context, x, axes), arithmetic.multiply, np.ones((), x.dtype))


@rule("reduce_and")
def reduce_and(context: Context, x: Secret, *, axes: Sequence[int], **_: Any) -> Value:
    one = np.ones((), x.dtype) if is_boolean(x.dtype) else np.asarray(-1).astype(x.dtype)
    return fold(context, merged(context, x, axes), logic.bitwise_and, one)


@rule("reduce_or")
def reduce_or(context: Context, x: Secret, *, axes: Sequence[int], **_: Any) -> Value:
    return fold(context, merged(context, x, axes), logic.bitwise_or, np.zeros((), x.dtype))


@rule("reduce_xor")
def reduce_xor(context: Context, x: Secret, *, axes: Sequence[int], **_: Any) -> Value:
    return fold(context, merged(context, x, axes), logic.exclusive_or, np.zeros((), x.dtype))


def merged(context: Context, x: Secret, axes: Sequence[int]) -> Secret:
    """`x` with these axes as one, the last."""
    axes = sorted(axis % len(x.shape) for axis in axes)
    rest = [d for d in range(len(x.shape)) if d not in axes]
    shape = [*(x.shape[d] for d in rest), math.prod(x.shape[d] for d in axes)]
    if [*rest, *axes] == list(range(len(x.shape))) and shape == list(x.shape):
        return x
    return moved(context, x, lambda slot: jnp.reshape(jnp.transpose(slot, [*rest, *axes]), shape))


def fold(context: Context, x: Secret, combine: Combine, neutral: np.ndarray | None = None) -> Value:
    """Combines the last axis in halves, in logarithmically many steps."""
    if x.shape[-1] == 0:
        assert neutral is not None, "an extremum of nothing was refused before"
        return Public(np.full(x.shape[:-1], neutral, x.dtype))
    rest: Value | None = None
    while (n := x.shape[-1]) > 1:
        if n % 2:
            last = _part(context, x, n - 1, n)
            rest = last if rest is None else combine(context, rest, last)
        half = n // 2
        x = combine(context, _part(context, x, 0, half), _part(context, x, half, 2 * half))
    x = x if rest is None else combine(context, x, rest)
    return moved(context, x, lambda slot: slot[..., 0])


def _part(context: Context, x: Secret, start: int, stop: int) -> Secret:
    return moved(context, x, lambda slot: slot[..., start:stop])


# -- running extrema and products ------------------------------------------------------------------------------


@rule("cummax")
def cummax(context: Context, x: Secret, **params: Any) -> Value:
    return _running(context, x, choosing.maximum, **params)


@rule("cummin")
def cummin(context: Context, x: Secret, **params: Any) -> Value:
    return _running(context, x, choosing.minimum, **params)


@rule("cumprod")
def cumprod(context: Context, x: Secret, **params: Any) -> Value:
    return _running(context, x, arithmetic.multiply, **params)


def _running(context: Context, x: Secret, combine: Combine, *, axis: int, reverse: bool, **_: Any) -> Value:
    """A parallel prefix, in logarithmically many steps."""
    ready = standard(context, x)
    unknown = None if isinstance(x, Integer) else interval.representable(ready.fraction)
    form = choosing.with_interval(ready, unknown)

    def step(a: Any, b: Any) -> Any:
        left, right = (dataclasses.replace(form, sharing=sharing) for sharing in (a, b))
        result = combine(context, left, right)
        if isinstance(result, FixedPoint):
            result = context.at_fraction(result, form.fraction)
        return context.settled(result).sharing

    sharing = lax.associative_scan(step, form.sharing, reverse=reverse, axis=axis)
    return dataclasses.replace(form, sharing=sharing)
