"""Indexing with public indices: every player moves its own slots alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jmpc.lowering import arithmetic, choosing
from jmpc.lowering.context import Context
from jmpc.lowering.interval import Interval
from jmpc.lowering.registry import rule
from jmpc.lowering.rules.shape import joined, moved
from jmpc.lowering.values import Public, Value


def public_index(context: Context, *indices: Value) -> list[Any]:
    """Indices as operands that everyone has."""
    if not all(isinstance(index, Public) for index in indices):
        raise context.refuse(
            "an index that is secret",
            "Which element is read would show in the access. Multiply with jax.nn.one_hot(index, n), which reads all",
        )
    return [context.operand(context.everyone(index)) for index in indices]


@rule("dynamic_slice")
def dynamic_slice(context: Context, x: Value, *starts: Value, slice_sizes: Sequence[int], **_: Any) -> Value:
    indices = public_index(context, *starts)
    return moved(context, x, lambda slot: lax.dynamic_slice(slot, indices, slice_sizes))


@rule("dynamic_update_slice")
def dynamic_update_slice(context: Context, x: Value, update: Value, *starts: Value, **_: Any) -> Value:
    indices = public_index(context, *starts)
    return joined(context, [x, update], lambda slot, new: lax.dynamic_update_slice(slot, new, indices))


@rule("gather")
def gather(
    context: Context,
    x: Value,
    indices: Value,
    *,
    dimension_numbers: lax.GatherDimensionNumbers,
    slice_sizes: Sequence[int],
    unique_indices: bool,
    indices_are_sorted: bool,
    mode: Any,
    **_: Any,
) -> Value:
    """What lies outside reads as 0, where JAX has NaN."""
    (index,) = public_index(context, indices)

    def take(slot: Any) -> Any:
        return lax.gather(
            slot,
            index,
            dimension_numbers,
            slice_sizes,
            unique_indices=unique_indices,
            indices_are_sorted=indices_are_sorted,
            mode=mode,
            fill_value=0,
        )

    return moved(context, x, take)


@rule("scatter-add", "scatter_add")
def scatter_add(context: Context, x: Value, indices: Value, updates: Value, **params: Any) -> Value:
    """x plus the updates scattered onto zeros: one linear map, so products stay products."""
    zeros = _scattered(context, indices, updates, x.shape, params)
    return arithmetic.add(context, x, zeros)


@rule("scatter-sub", "scatter_sub")
def scatter_sub(context: Context, x: Value, indices: Value, updates: Value, **params: Any) -> Value:
    return arithmetic.subtract(context, x, _scattered(context, indices, updates, x.shape, params))


def _scattered(
    context: Context, indices: Value, updates: Value, shape: tuple[int, ...], params: dict[str, Any]
) -> Value:
    (index,) = public_index(context, indices)
    secret = context.secret(updates)

    def scatter(slot: Any) -> Any:
        return lax.scatter_add(jnp.zeros(shape, slot.dtype), index, slot, **_scatter_params(params))

    result = moved(context, secret, scatter)
    # any number of updates may meet in one element
    meeting = int(np.prod(updates.shape))
    known = getattr(secret, "interval", None)
    if known is not None:
        known = Interval(min(0, known.low * meeting), max(0, known.high * meeting), known.certain)
    return choosing.with_interval(result, known)


def _scatter_params(params: dict[str, Any]) -> dict[str, Any]:
    return {name: params[name] for name in _SCATTER_PARAMS}


_SCATTER_PARAMS = ("dimension_numbers", "indices_are_sorted", "unique_indices", "mode")


@rule("scatter")
def scatter(context: Context, x: Value, indices: Value, updates: Value, **params: Any) -> Value:
    """Which update wins an element is decided once, on public indices, and is the same for every slot."""
    (index,) = public_index(context, indices)
    options = _scatter_params(params)
    if options["unique_indices"]:
        return joined(context, [x, updates], lambda slot, new: lax.scatter(slot, index, new, **options))
    places = jnp.arange(int(np.prod(updates.shape)), dtype=np.int32).reshape(updates.shape)
    winner = lax.scatter(jnp.full(x.shape, -1, np.int32), index, places, **options)
    return joined(context, [x, updates], _choose(winner))


def _choose(winner: Any) -> Callable[[Any, Any], Any]:
    def choose(slot: Any, new: Any) -> Any:
        return jnp.where(winner < 0, slot, jnp.take(new.reshape(-1), jnp.maximum(winner, 0)))

    return choose
