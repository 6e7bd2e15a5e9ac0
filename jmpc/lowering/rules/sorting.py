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
from jmpc.lowering.rules.reductions import difference_bits, standard
from jmpc.lowering.rules.shape import moved
from jmpc.lowering.sorting import block_size, sort_rows
from jmpc.lowering.values import Boolean, Integer, Secret, Value
from jmpc.protocols.base import Ring

_COMPARED_BITS = 63


@rule("sort")
def sort(context: Context, *operands: Value, dimension: int, num_keys: int, **_: Any) -> list[Value]:
    """Stable. What is carried along moves alike; several keys are sorted by from the last."""
    if num_keys != 1:
        for key in reversed(range(num_keys)):
            order = [key, *(i for i in range(len(operands)) if i != key)]
            by_key = sort(context, *(operands[i] for i in order), dimension=dimension, num_keys=1)
            operands = tuple(by_key[order.index(i)] for i in range(len(operands)))
        return list(operands)
    values = [_along(context, x, dimension) for x in operands]
    key = values[0]
    rings = [x.sharing for x in values]
    ordered = _ordered(context, key, rings if len(values) > 1 else [], key.shape[-1])
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
    largest, places = _ordered(context, opposite, [values.sharing, positions], k)
    return [
        _back(context, dataclasses.replace(values, sharing=largest), axis, x),
        _back(context, Integer(places, np.dtype(np.int32), Interval(0, n - 1)), axis, None),
    ]


def _ordered(context: Context, key: Any, rows: Sequence[Ring], first: int) -> list[Ring]:
    """The first of these rows (or of the key alone) in the order of the key; equal keys stay in order.

    For that, where a network sorts, the position is a last digit of the key.
    """
    n = key.shape[-1]
    compared, bits = key.sharing, difference_bits(context, key)
    if rows and block_size(key.shape) != n:
        compared, bits = _with_position(context, key, n), _range_bits(key, n)
    if bits is None:
        raise context.refuse(
            "a sort of numbers with too many bits", "Declare a smaller range for the inputs, or use 32-bit integers"
        )
    ordered = sort_rows(context, compared, _stacked(context, rows) if rows else None, bits, first)
    return [_unstacked(context, ordered, i) for i in range(ordered.shape[0])]


def _along(context: Context, x: Value, axis: int) -> Any:
    """A secret ready to be compared, with `axis` last; booleans as integers."""
    secret = context.secret(x)
    if isinstance(secret, Boolean):
        secret = arithmetic.as_integer(context, secret, np.int8)
    return moved(context, standard(context, secret), lambda slot: jnp.moveaxis(slot, axis, -1))


def _with_position(context: Context, key: Any, n: int) -> Ring:
    positions = jnp.broadcast_to(jnp.arange(n, dtype=np.uint64), key.shape)
    return context.protocol.add_public(context.protocol.scale(key.sharing, n), positions)


def _range_bits(key: Any, n: int) -> int | None:
    """For differences of keys that were scaled by n and moved by less than n."""
    fraction = 0 if isinstance(key, Integer) else key.fraction
    width = (key.interval.high - key.interval.low) * 2**fraction
    bits = (int(width) * n + n + 2).bit_length() + 1
    return bits if bits <= _COMPARED_BITS else None


def _stacked(context: Context, rows: Sequence[Ring]) -> Ring:
    return context.protocol.map(lambda *slots: jnp.stack(slots), *rows)


def _unstacked(context: Context, rows: Ring, i: int) -> Ring:
    return context.protocol.map(lambda slot: slot[i], rows)


def _back(context: Context, x: Any, axis: int, original: Value | None) -> Value:
    result = moved(context, x, lambda slot: jnp.moveaxis(slot, -1, axis))
    if original is not None and original.dtype == np.bool_:
        (bit,) = context.protocol.less_than_each(result.sharing, [1])
        return Boolean(context.protocol.invert(bit))
    return choosing.with_interval(result, result.interval)
