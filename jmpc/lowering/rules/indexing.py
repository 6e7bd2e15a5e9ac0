"""Indexing: with public indices every player moves its own slots alike; secret ones touch every element."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jmpc import kernels
from jmpc.lowering import arithmetic, carrying, choosing, lookup, wrapping
from jmpc.lowering.composite import compute
from jmpc.lowering.context import Context
from jmpc.lowering.interval import Interval
from jmpc.lowering.origins import Ordered
from jmpc.lowering.registry import rule
from jmpc.lowering.rules.shape import joined, moved
from jmpc.lowering.values import Boolean, FixedPoint, Public, Value, is_boolean


def public_index(context: Context, *indices: Value) -> list[Any]:
    """Indices as operands that everyone has."""
    return [context.operand(context.everyone(index)) for index in indices]


def is_secret(*indices: Value) -> bool:
    return not all(isinstance(index, Public) for index in indices)


@rule("dynamic_slice")
def dynamic_slice(context: Context, x: Value, *starts: Value, slice_sizes: Sequence[int], **_: Any) -> Value:
    if is_secret(*starts):
        factors = lookup.locate_to_read(context, starts, _room(x.shape, slice_sizes), clamp=True)
        return lookup.read(context, factors, x, lambda slot, at: lax.dynamic_slice(slot, list(at), slice_sizes))
    indices = public_index(context, *starts)
    return moved(context, x, lambda slot: lax.dynamic_slice(slot, indices, slice_sizes))


@rule("dynamic_update_slice")
def dynamic_update_slice(context: Context, x: Value, update: Value, *starts: Value, **_: Any) -> Value:
    if is_secret(*starts):
        return _update_at_secret(context, x, update, starts)
    indices = public_index(context, *starts)
    return joined(context, [x, update], lambda slot, new: lax.dynamic_update_slice(slot, new, indices))


def _room(shape: Sequence[int], sizes: Sequence[int]) -> list[int]:
    """How many places a slice of `sizes` has in each dimension."""
    return [n - size + 1 for n, size in zip(shape, sizes, strict=True)]


def _update_at_secret(context: Context, x: Value, update: Value, starts: Sequence[Value]) -> Value:
    positions = lookup.locate(context, starts, _room(x.shape, update.shape), clamp=True)
    return changed(context, positions, x, update, lambda slot, new, at: lax.dynamic_update_slice(slot, new, list(at)))


def changed(
    context: Context,
    positions: lookup.Positions,
    x: Value,
    update: Value,
    write: Callable[[Any, Any, Any], Any],
    rows: int | None = None,
) -> Value:
    """x plus what one update changes at one secret position; write(x, update, at) is linear in both.

    With `rows`, there is a position for each: `write` gives [row, *x], and so is the result.
    """
    if is_boolean(x.dtype):
        x, update = (arithmetic.as_integer(context, context.secret(v), np.int8) for v in (x, update))
        return Boolean(context.ring(changed(context, positions, x, update, write, rows)))

    x, update = choosing.finite(context, x, update), choosing.finite(context, update, x)
    secrets = [context.secret(v) for v in (x, update)]  # as they are when they are rounded
    old, new = (context.at_most(v).interval if isinstance(v, FixedPoint) else v.interval for v in secrets)
    every = context.declared(positions.all())

    def changes(slot: Any, new: Any) -> Any:
        """[position, *x]: the update at every position, less what was there."""
        return jax.vmap(lambda at: write(slot, new, at) - slot)(every)

    def there(unit: Any, change: Any) -> Any:
        if rows is None:
            return jnp.tensordot(unit.reshape(-1), change, axes=1)
        weights = jnp.moveaxis(unit, -1, 0).reshape(-1, rows, *(1,) * (change.ndim - 2))
        return jnp.sum(weights * change, axis=0, dtype=change.dtype)

    amounts = joined(context, [x, update], changes)
    amounts = choosing.with_interval(amounts, None if old is None or new is None else _inside_words(new - old))
    difference = lookup.weighted(context, positions, amounts, there)
    total = arithmetic.add(context, x if rows is None else _repeated(context, x, rows), difference)
    return choosing.with_interval(total, None if old is None or new is None else old.hull(new))


def _inside_words(known: Interval) -> Interval | None:
    return known if known.inside(-(2**63), 2**63 - 1) else None


def _repeated(context: Context, x: Value, rows: int) -> Value:
    shape = (rows, *x.shape)
    if isinstance(x, Public):
        context.watch(8 * math.prod(shape))  # before it meets a secret, and is encoded element by element
        return Public(jnp.broadcast_to(x.array, shape) if not x.known else np.broadcast_to(x.array, shape), x.at)
    return arithmetic.broadcast(context, x, shape)


@rule("gather")
def gather(
    context: Context,
    x: Value,
    indices: Value,
    *,
    dimension_numbers: lax.GatherDimensionNumbers,
    slice_sizes: Sequence[int],
    mode: Any,
    fill_value: Any = None,
    **_: Any,
) -> Value:
    """What lies outside reads as `fill_value`; as 0 if that is None or not finite, where JAX has NaN."""
    drops = lax.GatherScatterMode.from_any(mode) is lax.GatherScatterMode.FILL_OR_DROP
    fill = x.dtype.type(fill_value) if drops and fill_value and np.isfinite(fill_value) else None

    def take(slot: Any, index: Any, outside: Any = 0) -> Any:
        return lax.gather(slot, index, dimension_numbers, slice_sizes, mode=mode, fill_value=outside)

    simple = indices.shape[-1] == 1 if is_secret(indices) else indices.known
    if fill is not None and (is_boolean(x.dtype) or not simple):
        return _gather_or(context, x, indices, fill, dimension_numbers, slice_sizes)
    if is_secret(indices):
        return _gather_secret(context, x, indices, dimension_numbers, slice_sizes, mode, fill)
    (index,) = public_index(context, indices)
    result = moved(context, x, lambda slot: take(slot, index))
    if fill is None:
        return result
    with jax.ensure_compile_time_eval():
        filled = np.asarray(take(np.zeros(x.shape, x.dtype), indices.array, fill))
    if not filled.any():
        return result
    return choosing.with_interval(
        arithmetic.add(context, result, Public(filled)), choosing.filled(context, result, fill)
    )


def _gather_or(
    context: Context, x: Value, indices: Value, fill: Any, numbers: Any, slice_sizes: Sequence[int]
) -> Value:
    """As a gather that has 0 outside, of what is left without the value to fill with."""

    def read(x: Any, indices: Any) -> Any:
        rest = x ^ fill if x.dtype == bool else x - fill
        rest = lax.gather(rest, indices, numbers, slice_sizes, mode=lax.GatherScatterMode.FILL_OR_DROP, fill_value=0)
        return rest ^ fill if x.dtype == bool else rest + fill

    return compute(context, read, x, indices)[0]


def _gather_secret(
    context: Context,
    x: Value,
    indices: Value,
    numbers: lax.GatherDimensionNumbers,
    slice_sizes: Sequence[int],
    mode: Any,
    fill: Any,
) -> Value:
    sizes = [x.shape[d] - slice_sizes[d] + 1 for d in numbers.start_index_map]
    clamp = lax.GatherScatterMode.from_any(mode) is not lax.GatherScatterMode.FILL_OR_DROP
    components = parts(context, indices)
    if _is_table(numbers, slice_sizes, x.shape):
        ordered = context.remembered(components[0], Ordered)
        if ordered is not None and ordered.places.size == sizes[0] and not isinstance(x, Public):
            return _read_in_order(context, ordered, x, numbers)
    factors = lookup.locate_to_read(context, components, sizes, clamp=clamp)
    if _is_table(numbers, slice_sizes, x.shape):
        (positions,) = factors
        return _read_table(context, positions, x, numbers, fill)
    batch = indices.shape[:-1]

    def take(slot: Any, at: Any) -> Any:
        index = jnp.broadcast_to(at, indices.shape)
        taken = lax.gather(slot, index, numbers, slice_sizes, mode="clip")
        kept = [d for d in range(taken.ndim) if d not in numbers.offset_dims]
        return jnp.transpose(taken, [*kept, *numbers.offset_dims])

    result = lookup.read(context, factors, x, take, fill)
    return _offsets_in_place(context, result, numbers, len(batch))


def _is_table(numbers: lax.GatherDimensionNumbers, slice_sizes: Sequence[int], shape: Sequence[int]) -> bool:
    """Whether whole rows of one dimension are read: a product with a matrix of unit vectors."""
    if len(numbers.start_index_map) != 1 or numbers.operand_batching_dims:
        return False
    (d,) = numbers.start_index_map
    others = [i for i in range(len(shape)) if i != d]
    return numbers.collapsed_slice_dims == (d,) and all(slice_sizes[i] == shape[i] for i in others)


def _read_table(
    context: Context, positions: lookup.Positions, x: Value, numbers: lax.GatherDimensionNumbers, fill: Any
) -> Value:
    (d,) = numbers.start_index_map
    rank = positions.unit.ndim - 1

    def read(unit: Any, slot: Any) -> Any:
        return kernels.dot_general(unit, slot, (((rank,), (d,)), ((), ())))

    return _offsets_in_place(context, lookup.pick(context, positions, x, read, fill), numbers, rank)


def _read_in_order(context: Context, ordered: Ordered, x: Value, numbers: lax.GatherDimensionNumbers) -> Value:
    """Rows in the order of a sort: everything goes there, and positions in that order are public. 2 rounds."""
    (d,) = numbers.start_index_map
    protocol, ready = context.protocol, carrying.settled(context, x)
    which = context.operand(ordered.which)
    columns = protocol.map(lambda slot: jnp.moveaxis(slot, d, -1), ready.sharing)
    (rows,) = protocol.permute(ordered.places, [columns])
    places = range(len(x.shape) - 1, len(x.shape) - 1 + len(which.shape))

    def taken(slot: Any) -> Any:
        return jnp.moveaxis(jnp.take(slot, which, axis=-1), places, range(len(places)))

    result = dataclasses.replace(ready, sharing=protocol.map(taken, rows))
    return _offsets_in_place(context, result, numbers, len(which.shape))


def _offsets_in_place(context: Context, x: Any, numbers: lax.GatherDimensionNumbers, batch_rank: int) -> Value:
    """From [*batch, *offsets] to the places that the gather gives them."""
    rank = len(x.shape)
    order: list[int] = []
    batch, offsets = iter(range(batch_rank)), iter(range(batch_rank, rank))
    for d in range(rank):
        order.append(next(offsets) if d in numbers.offset_dims else next(batch))
    return moved(context, x, lambda slot: jnp.transpose(slot, order))


def parts(context: Context, indices: Value) -> list[Any]:
    """The components of index vectors, each with what is known of all."""
    known = wrapping.components(context, indices)
    if known is not None:
        return [
            wrapping.squeezed(part) if isinstance(part, Public) else moved(context, part, lambda slot: slot[..., 0])
            for part in known
        ]
    every = context.secret(indices)
    if indices.shape[-1] == 1:
        return [moved(context, every, lambda slot: slot[..., 0])]
    parts = [moved(context, every, lambda slot, i=i: slot[..., i]) for i in range(indices.shape[-1])]
    return [dataclasses.replace(part, interval=every.interval) for part in parts]
