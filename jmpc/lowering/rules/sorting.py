"""Sorting, ranking and the largest k."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jmpc.lowering import arithmetic, carrying, choosing, comparing, missing, radix
from jmpc.lowering.composite import compute
from jmpc.lowering.context import Context
from jmpc.lowering.interval import RANGE_BITS, Interval
from jmpc.lowering.origins import Missing, Ordered
from jmpc.lowering.registry import rule
from jmpc.lowering.rules.reductions import difference_bits, standard
from jmpc.lowering.rules.shape import joined, moved
from jmpc.lowering.sorting import are_few, sort_rows
from jmpc.lowering.values import Boolean, FixedPoint, Integer, Public, Secret, Value
from jmpc.protocols.base import Bits, Ring


@rule("sort")
def sort(context: Context, *operands: Value, dimension: int, num_keys: int, **_: Any) -> list[Value]:
    """Stable. What is carried along moves alike. A key that is NaN somewhere is NaN at its end."""
    holes = missing.positions(context, operands[0])
    if holes is not None and num_keys == 1:
        operands = (_with_the_largest(context, operands[0], holes), *operands[1:])
    values = [_along(context, x, dimension) for x in operands]
    n = values[0].shape[-1]
    ordered, places = _ordered(context, values[:num_keys], values, n)
    results = [_back(context, x, dimension) for x in ordered]
    for x, result in zip(operands, results, strict=True):
        if isinstance(x, Public) and x.known and np.array_equal(x.array, np.arange(n)):
            _remember(context, result, places)
    if holes is not None and num_keys == 1:
        (at,) = compute(context, lambda at: _at_the_end(at, dimension), holes)
        context.once(results[0], Missing, lambda: Missing(at, context.line))
    return results


def _with_the_largest(context: Context, x: FixedPoint, holes: Boolean | Public) -> Value:
    """x with a number that none of its others is larger than where it is NaN."""
    largest = x.interval.high if x.interval.certain else 2.0 ** (RANGE_BITS - 2 * context.fraction - 1)
    top = Public(np.full(x.shape, largest, np.float64).astype(x.dtype))
    if isinstance(holes, Public):
        return joined(context, [x, top], lambda a, b: jnp.where(context.operand(holes), b, a))
    return choosing.select(context, holes, top, x)


def _at_the_end(at: jax.Array, axis: int) -> jax.Array:
    """Where a boolean holds after it was sorted."""
    n = at.shape[axis]
    numbers = n - jnp.sum(at, axis=axis, keepdims=True)
    return lax.broadcasted_iota(numbers.dtype, at.shape, axis) >= numbers


@rule("approx_top_k")
def approx_top_k(
    context: Context, x: Secret, *, k: int, reduction_dimension: int, is_max_k: bool, aggregate_to_topk: bool, **_: Any
) -> list[Value]:
    """Exactly."""
    if not aggregate_to_topk:
        raise context.refuse("an approximate top k without its last step", "Use lax.top_k")
    signed = x if is_max_k else arithmetic.negate(context, x)
    largest, positions = top_k(context, signed, k=k, axis=reduction_dimension)
    return [largest if is_max_k else arithmetic.negate(context, largest), positions]


@rule("top_k")
def top_k(context: Context, x: Secret, *, k: int, axis: int = -1, **_: Any) -> list[Value]:
    """The first k of a descending sort; equal elements by position."""
    values = _along(context, x, axis)
    n = values.shape[-1]
    words = context.protocol.constant(jnp.broadcast_to(jnp.arange(n, dtype=np.uint64), values.shape))
    positions = Integer(words, np.dtype(np.int32), Interval(0, max(n - 1, 0)))
    ordered, places = _ordered(context, [_opposite(context, values)], [values, positions], k)
    largest, order = (_back(context, x, axis) for x in ordered)
    _remember(context, order, places)
    return [largest, order]


def _remember(context: Context, order: Integer, places: Bits | None) -> None:
    """That `order` are the first positions in an order."""
    if places is not None and places.ndim == 1:
        context.once(order, Ordered, lambda: Ordered(places, Public(np.arange(order.shape[0]))))


def _opposite(context: Context, x: Secret) -> Secret:
    """A key in the opposite order: -x, or -1 - x of an integer, which has one for its least number, too."""
    if isinstance(x, Boolean):
        return comparing.invert(context, x)
    if not isinstance(x, Integer):
        return arithmetic.negate(context, x)
    ring = context.protocol.add_public(context.protocol.negate(context.settled(x).ring), -1)
    known = None if x.interval is None else Interval(-1 - x.interval.high, -1 - x.interval.low)
    return Integer(ring, x.dtype, known)


def _ordered(
    context: Context, keys: Sequence[Secret], values: Sequence[Secret], first: int
) -> tuple[list[Secret], Bits | None]:
    """The first of these values in the stable order of the keys; and where all elements go, if that is known."""
    comparable = [_comparable(context, key) for key in keys]
    bits = [known for key in comparable if (known := difference_bits(context, key)) is not None]
    places = None
    if not are_few(keys[0].shape) or len(bits) < len(keys):
        places = radix.places(context, keys)
        every = context.protocol.permute(places, [x.sharing for x in values])
        rows = [context.protocol.map(lambda slot: slot[..., :first], row) for row in every]
    else:
        moving: Sequence[Ring] = [*(key.ring for key in comparable), *(_ring(context, x) for x in values)]
        for i in reversed(range(1, len(keys))):  # by the last key first
            moving = sort_rows(context, moving[i], moving, bits[i], keys[0].shape[-1])
        rows = sort_rows(context, moving[0], moving[len(keys) :], bits[0], first)
    return [dataclasses.replace(x, sharing=row) for x, row in zip(values, rows, strict=True)], places


def _comparable(context: Context, key: Secret) -> Secret:
    """Ready for differences; booleans as integers."""
    return standard(context, arithmetic.as_integer(context, key, np.int8) if isinstance(key, Boolean) else key)


def _ring(context: Context, x: Secret) -> Ring:
    return x.sharing if isinstance(x.sharing, Ring) else context.ring(x)


def _along(context: Context, x: Value, axis: int) -> Secret:
    """A secret that can be moved, with `axis` last."""
    ready = carrying.settled(context, context.secret(x))
    return moved(context, ready, lambda slot: jnp.moveaxis(slot, axis, -1))


def _back(context: Context, x: Secret, axis: int) -> Secret:
    return moved(context, x, lambda slot: jnp.moveaxis(slot, -1, axis))
