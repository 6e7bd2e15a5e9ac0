"""Sorting, ranking and the largest k."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jmpc.lowering import arithmetic, choosing, radix
from jmpc.lowering.context import Context
from jmpc.lowering.interval import Interval
from jmpc.lowering.registry import rule
from jmpc.lowering.rules.reductions import difference_bits, standard
from jmpc.lowering.rules.shape import moved
from jmpc.lowering.sorting import are_few, sort_rows
from jmpc.lowering.values import Boolean, Integer, Secret, Value
from jmpc.protocols.base import Ring


@rule("sort")
def sort(context: Context, *operands: Value, dimension: int, num_keys: int, **_: Any) -> list[Value]:
    """Stable. What is carried along moves alike."""
    values = [_along(context, x, dimension) for x in operands]
    ordered = _ordered(context, values[:num_keys], [x.sharing for x in values], values[0].shape[-1])
    return [
        _back(context, dataclasses.replace(x, sharing=row), dimension, original)
        for x, row, original in zip(values, ordered, operands, strict=True)
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
    largest, places = _ordered(context, [opposite], [values.sharing, positions], k)
    return [
        _back(context, dataclasses.replace(values, sharing=largest), axis, x),
        _back(context, Integer(places, np.dtype(np.int32), Interval(0, n - 1)), axis, None),
    ]


def _ordered(context: Context, keys: Sequence[Any], rows: Sequence[Ring], first: int) -> list[Ring]:
    """The first of these rows in the order of the keys, equal ones as they are. Several keys are the first rows."""
    n = keys[0].shape[-1]
    bits = [known for key in keys if (known := difference_bits(context, key)) is not None]
    if not are_few(keys[0].shape) or len(bits) < len(keys):
        every = radix.sort_by(context, keys, rows)
        return [context.protocol.map(lambda slot: slot[..., :first], row) for row in every]
    for i in reversed(range(1, len(keys))):  # by the last key first
        rows = sort_rows(context, rows[i], rows, bits[i], n)
    return sort_rows(context, keys[0].sharing if len(keys) == 1 else rows[0], rows, bits[0], first)


def _along(context: Context, x: Value, axis: int) -> Any:
    """A secret ready to be compared, with `axis` last; booleans as integers."""
    secret = context.secret(x)
    if isinstance(secret, Boolean):
        secret = arithmetic.as_integer(context, secret, np.int8)
    return moved(context, standard(context, secret), lambda slot: jnp.moveaxis(slot, axis, -1))


def _back(context: Context, x: Any, axis: int, original: Value | None) -> Value:
    result = moved(context, x, lambda slot: jnp.moveaxis(slot, -1, axis))
    if original is not None and original.dtype == np.bool_:
        (bit,) = context.protocol.less_than_each(result.sharing, [1])
        return Boolean(context.protocol.invert(bit))
    return choosing.with_interval(result, result.interval)
