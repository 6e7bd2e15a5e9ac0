"""Sorting, ranking and the largest k."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jmpc.lowering import arithmetic, choosing
from jmpc.lowering.context import Context
from jmpc.lowering.interval import Interval
from jmpc.lowering.registry import rule
from jmpc.lowering.rules.reductions import standard
from jmpc.lowering.rules.shape import moved
from jmpc.lowering.sorting import sort_rows
from jmpc.lowering.values import Boolean, Integer, Secret, Value
from jmpc.protocols.base import Ring

_COMPARED_BITS = 63


@rule("sort")
def sort(context: Context, *operands: Value, dimension: int, num_keys: int, **_: Any) -> list[Value]:
    """Stable. What is carried along goes through the same exchanges; several keys are sorted by from the last."""
    if num_keys != 1:
        for key in reversed(range(num_keys)):
            order = [key, *(i for i in range(len(operands)) if i != key)]
            by_key = sort(context, *(operands[i] for i in order), dimension=dimension, num_keys=1)
            operands = tuple(by_key[order.index(i)] for i in range(len(operands)))
        return list(operands)
    values = [_along(context, x, dimension) for x in operands]
    key = values[0]
    rings = [x.sharing for x in values]
    if len(values) == 1:
        rows, bits = rings, _range_bits(context, key, 1)
    else:  # equal keys stay in order: the position is a last digit of the key
        n = key.shape[-1]
        rows, bits = [_with_position(context, key, n), *rings], _range_bits(context, key, n)
    sorted_rows = sort_rows(context, _stacked(context, rows), bits)
    shift = len(rows) - len(values)
    return [
        _back(context, _row(context, x, sorted_rows, i + shift), dimension, original)
        for i, (x, original) in enumerate(zip(values, operands, strict=True))
    ]


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
    opposite = arithmetic.negate(context, values)
    positions = context.protocol.constant(jnp.broadcast_to(jnp.arange(n, dtype=np.uint64), values.shape))
    rows = [_with_position(context, opposite, n), values.sharing, positions]
    sorted_rows = sort_rows(context, _stacked(context, rows), _range_bits(context, opposite, n))
    first = context.protocol.map(lambda slot: slot[..., :k], sorted_rows)
    indices = Integer(positions, np.dtype(np.int32), Interval(0, n - 1))
    return [
        _back(context, _row(context, values, first, 1), axis, x),
        _back(context, _row(context, indices, first, 2), axis, None),
    ]


def _along(context: Context, x: Value, axis: int) -> Any:
    """A secret ready to be compared, with `axis` last; booleans as integers."""
    secret = context.secret(x)
    if isinstance(secret, Boolean):
        secret = arithmetic.as_integer(context, secret, np.int8)
    return moved(context, standard(context, secret), lambda slot: jnp.moveaxis(slot, axis, -1))


def _with_position(context: Context, key: Any, n: int) -> Ring:
    positions = jnp.broadcast_to(jnp.arange(n, dtype=np.uint64), key.shape)
    return context.protocol.add_public(context.protocol.scale(key.sharing, n), positions)


def _range_bits(context: Context, key: Any, n: int) -> int:
    """For differences of keys that were scaled by n and moved by less than n."""
    fraction = 0 if isinstance(key, Integer) else key.fraction
    width = (key.interval.high - key.interval.low) * 2**fraction
    bits = (int(width) * n + n + 2).bit_length() + 1
    if bits > _COMPARED_BITS + (n == 1):
        raise context.refuse(
            "a sort of numbers with too many bits", "Declare a smaller range for the inputs, or use 32-bit integers"
        )
    return min(bits, 64)


def _stacked(context: Context, rows: Sequence[Ring]) -> Ring:
    return context.protocol.map(lambda *slots: jnp.stack(slots), *rows)


def _row(context: Context, like: Any, rows: Ring, i: int) -> Any:
    sharing = context.protocol.map(lambda slot: slot[i], rows)
    return dataclasses.replace(like, sharing=sharing)


def _back(context: Context, x: Any, axis: int, original: Value | None) -> Value:
    result = moved(context, x, lambda slot: jnp.moveaxis(slot, -1, axis))
    if original is not None and original.dtype == np.bool_:
        (bit,) = context.protocol.less_than_each(result.sharing, [1])
        return Boolean(context.protocol.invert(bit))
    return choosing.with_interval(result, result.interval)
