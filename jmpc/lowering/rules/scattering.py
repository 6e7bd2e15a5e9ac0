"""Scatters: to public places every player moves its own slots alike; to secret ones each update goes everywhere.

What combines other than by addition (set, multiply, min, max) is one update of a window for each index vector. Where
several meet in one element they are combined in logarithmically many steps.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jmpc.lowering import arithmetic, choosing, lookup
from jmpc.lowering.context import Context
from jmpc.lowering.interval import Interval
from jmpc.lowering.registry import rule
from jmpc.lowering.rules.indexing import changed, is_secret, parts, public_index
from jmpc.lowering.rules.reductions import fold
from jmpc.lowering.rules.shape import joined, moved
from jmpc.lowering.values import Boolean, FixedPoint, Integer, Public, Secret, Value, is_boolean, is_float

Combine = Callable[[Context, Value, Value], Value]
_OPTIONS = ("dimension_numbers", "indices_are_sorted", "unique_indices", "mode")


# -- sums --------------------------------------------------------------------------------------------------------


@rule("scatter-add", "scatter_add")
def scatter_add(context: Context, x: Value, indices: Value, updates: Value, **params: Any) -> Value:
    """x plus the updates scattered onto zeros: one linear map, so products stay products."""
    return arithmetic.add(context, x, _scattered(context, indices, updates, x.shape, params))


@rule("scatter-sub", "scatter_sub")
def scatter_sub(context: Context, x: Value, indices: Value, updates: Value, **params: Any) -> Value:
    return arithmetic.subtract(context, x, _scattered(context, indices, updates, x.shape, params))


def _scattered(
    context: Context, indices: Value, updates: Value, shape: tuple[int, ...], params: dict[str, Any]
) -> Value:
    if is_secret(indices):
        return _scattered_to_secret(context, indices, updates, shape, params)
    (index,) = public_index(context, indices)
    secret = context.secret(updates)

    def scatter(slot: Any) -> Any:
        return lax.scatter_add(jnp.zeros(shape, slot.dtype), index, slot, **_options(params))

    result = moved(context, secret, scatter)
    # any number of updates may meet in one element
    meeting = int(np.prod(updates.shape))
    known = getattr(secret, "interval", None)
    if known is not None:
        known = Interval(min(0, known.low * meeting), max(0, known.high * meeting), known.trust)
    return choosing.with_interval(result, known)


def _scattered_to_secret(
    context: Context, indices: Value, updates: Value, shape: tuple[int, ...], params: dict[str, Any]
) -> Value:
    """Every update goes to every position, times its unit vector's element there."""
    positions = _targets(context, indices, updates, shape, params)
    window = set(params["dimension_numbers"].update_window_dims)
    batch = [d for d in range(len(updates.shape)) if d not in window]
    options = _options(params)
    every = context.declared(positions.all())

    def spread(unit: Any, slot: Any) -> Any:
        def at_one(at: Any, weight: Any) -> Any:
            sizes = [n if d in batch else 1 for d, n in enumerate(slot.shape)]
            index = jnp.broadcast_to(at, indices.shape)
            return lax.scatter_add(jnp.zeros(shape, slot.dtype), index, slot * weight.reshape(sizes), **options)

        each = jax.vmap(at_one)(every, jnp.moveaxis(unit, -1, 0))
        return jnp.sum(each, axis=0, dtype=slot.dtype)

    result = lookup.weighted(context, positions, context.secret(updates), spread)
    return choosing.with_interval(result, None)


def _targets(
    context: Context, indices: Value, updates: Value, shape: Sequence[int], params: dict[str, Any]
) -> lookup.Positions:
    """Where the updates go; what lies outside goes nowhere, unless the mode is to clip."""
    numbers = params["dimension_numbers"]
    single = (*numbers.inserted_window_dims, *numbers.operand_batching_dims)
    windowed = [d for d in range(len(shape)) if d not in single]
    window = dict(zip(windowed, (updates.shape[d] for d in numbers.update_window_dims), strict=True))
    sizes = [shape[d] - window.get(d, 1) + 1 for d in numbers.scatter_dims_to_operand_dims]
    clamp = lax.GatherScatterMode.from_any(params["mode"]) is lax.GatherScatterMode.CLIP
    return lookup.locate(context, parts(context, indices), sizes, clamp=clamp)


def _options(params: dict[str, Any]) -> dict[str, Any]:
    return {name: params[name] for name in _OPTIONS}


# -- one row for each index vector -------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Rows:
    """A scatter as one update for each index vector: a window of `numbers` at that vector and its batch position."""

    numbers: lax.ScatterDimensionNumbers  # of a single update, without batch dimensions
    order: tuple[int, ...]  # puts the windows of all updates last
    window: tuple[int, ...]
    batch: tuple[int, ...]
    coordinates: np.ndarray  # [row, batching dimension]: the operand's position in these, for each row
    mode: Any

    @property
    def count(self) -> int:
        return int(np.prod(self.batch))

    def split(self, updates: Any) -> Any:
        """[row, *window]."""
        return jnp.transpose(updates, self.order).reshape(self.count, *self.window)

    def vectors(self, indices: Any, coordinates: Any) -> Any:
        """[row, component]: whole index vectors."""
        flat = indices.reshape(self.count, indices.shape[-1])
        return jnp.concatenate([flat, coordinates.astype(flat.dtype)], axis=1)

    def write(self, x: Any, vector: Any, update: Any) -> Any:
        """`x` with the window of one row set."""
        return lax.scatter(x, vector, update, self.numbers, mode=self.mode)


def _rows(indices: Value, updates: Value, params: dict[str, Any]) -> Rows:
    numbers = params["dimension_numbers"]
    windows = tuple(numbers.update_window_dims)
    others = tuple(d for d in range(len(updates.shape)) if d not in windows)
    batch, batching = tuple(indices.shape[:-1]), numbers.scatter_indices_batching_dims
    places, coordinates = np.indices(batch, sparse=True), np.empty((*batch, len(batching)), int)
    for i, d in enumerate(batching):
        coordinates[..., i] = places[d]
    single = lax.ScatterDimensionNumbers(
        update_window_dims=tuple(range(len(windows))),
        inserted_window_dims=tuple(sorted((*numbers.inserted_window_dims, *numbers.operand_batching_dims))),
        scatter_dims_to_operand_dims=(*numbers.scatter_dims_to_operand_dims, *numbers.operand_batching_dims),
    )
    window = tuple(updates.shape[d] for d in windows)
    coordinates = coordinates.reshape(math.prod(batch), len(batching))
    return Rows(single, (*others, *windows), window, batch, coordinates, params["mode"])


def _located(
    context: Context, shape: Sequence[int], indices: Value, updates: Value, rows: Rows, params: dict[str, Any]
) -> lookup.Positions:
    """The secret places of all rows: unit vectors [row, position]."""
    positions = _targets(context, indices, updates, shape, params)
    flat = context.protocol.map(lambda slot: slot.reshape(rows.count, positions.count), positions.unit)
    return dataclasses.replace(positions, unit=flat)


def _writer(context: Context, rows: Rows) -> Callable[[Any, Any, Any], Any]:
    """[row, *x]: `x` with one row set, each at the same position."""
    coordinates = context.declared(rows.coordinates)

    def write(slot: Any, new: Any, at: Any) -> Any:
        vectors = jnp.concatenate([jnp.broadcast_to(at, (rows.count, at.size)), coordinates.astype(at.dtype)], axis=1)
        return jax.vmap(lambda vector, row: rows.write(slot, vector, row))(vectors, rows.split(new))

    return write


# -- products and extrema ----------------------------------------------------------------------------------------


@rule("scatter-mul", "scatter_mul")
def scatter_mul(context: Context, x: Value, indices: Value, updates: Value, **params: Any) -> Value:
    return _combined(context, x, indices, updates, arithmetic.multiply, params, neutral=1)


@rule("scatter-max", "scatter_max")
def scatter_max(context: Context, x: Value, indices: Value, updates: Value, **params: Any) -> Value:
    return _combined(context, x, indices, updates, choosing.maximum, params)


@rule("scatter-min", "scatter_min")
def scatter_min(context: Context, x: Value, indices: Value, updates: Value, **params: Any) -> Value:
    return _combined(context, x, indices, updates, choosing.minimum, params)


def _combined(
    context: Context,
    x: Value,
    indices: Value,
    updates: Value,
    combine: Combine,
    params: dict[str, Any],
    neutral: int | None = None,
) -> Value:
    """x combined with all updates that meet in an element; without a `neutral` number, x itself changes nothing."""
    rows = _rows(indices, updates, params)
    if rows.count == 0 or 0 in updates.shape or 0 in x.shape:
        return x
    # jax.ops.segment_max starts at -inf
    x, updates = choosing.finite(context, x, updates), choosing.finite(context, updates, x)
    if isinstance(indices, Public) and indices.known:
        return _at_known(context, x, np.asarray(indices.array), updates, combine, params)
    base = x if neutral is None else Public(np.full(x.shape, neutral, x.dtype))
    if is_secret(indices):
        positions = _located(context, x.shape, indices, updates, rows, params)
        candidates = changed(context, positions, base, updates, _writer(context, rows), rows=rows.count)
    else:
        (index,) = public_index(context, indices)
        vectors = rows.vectors(index, context.declared(rows.coordinates))

        def place(slot: Any, new: Any) -> Any:
            return jax.vmap(lambda vector, row: rows.write(slot, vector, row))(vectors, rows.split(new))

        candidates = joined(context, [base, updates], place)
    last = moved(context, context.secret(candidates), lambda slot: jnp.moveaxis(slot, 0, -1))
    return combine(context, x, fold(context, last, combine))


def _at_known(
    context: Context, x: Value, indices: np.ndarray, updates: Value, combine: Combine, params: dict[str, Any]
) -> Value:
    """Only what meets is combined: updates with their neighbours of the same element, in halves, then with x."""
    target, update = _meetings(x.shape, indices, updates.shape, params)
    if target.size == 0:
        return x
    flat = moved(context, context.secret(updates), lambda slot: slot.reshape(-1))
    pending = _taken(context, flat, update)
    while (pairs := _pairs(target)).size:
        single = np.setdiff1d(np.arange(target.size), np.concatenate([pairs, pairs + 1]))
        met = combine(context, _taken(context, pending, pairs), _taken(context, pending, pairs + 1))
        rest = _taken(context, pending, single)
        order = np.argsort(np.concatenate([pairs, single]), kind="stable")
        pending = _taken(context, joined(context, [met, rest], lambda a, b: jnp.concatenate([a, b])), order)
        target = np.concatenate([target[pairs], target[single]])[order]
    whole = moved(context, context.secret(x), lambda slot: slot.reshape(-1))
    new = combine(context, _taken(context, whole, target), pending)
    places = context.declared(target)

    def put(slot: Any, values: Any) -> Any:
        return slot.reshape(-1).at[places].set(values, unique_indices=True).reshape(x.shape)

    return joined(context, [x, new], put)


def _meetings(
    shape: tuple[int, ...], indices: np.ndarray, update_shape: Sequence[int], params: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """(element of x, element of the updates) for each that is not dropped, ordered by the first.

    A gather of the positions in x tells where each element of the updates would come from, and so where it goes.
    """
    numbers = params["dimension_numbers"]
    single = {*numbers.inserted_window_dims, *numbers.operand_batching_dims}
    window = iter(numbers.update_window_dims)
    sizes = [1 if d in single else update_shape[next(window)] for d in range(len(shape))]
    gathered = lax.GatherDimensionNumbers(
        offset_dims=numbers.update_window_dims,
        collapsed_slice_dims=numbers.inserted_window_dims,
        start_index_map=numbers.scatter_dims_to_operand_dims,
        operand_batching_dims=numbers.operand_batching_dims,
        start_indices_batching_dims=numbers.scatter_indices_batching_dims,
    )
    clip = lax.GatherScatterMode.from_any(params["mode"]) is lax.GatherScatterMode.CLIP
    with jax.ensure_compile_time_eval():
        places = jnp.arange(int(np.prod(shape)), dtype=np.int32).reshape(shape)
        mode = lax.GatherScatterMode.CLIP if clip else lax.GatherScatterMode.FILL_OR_DROP
        target = np.asarray(lax.gather(places, indices, gathered, sizes, mode=mode, fill_value=-1)).reshape(-1)
    (update,) = np.nonzero(target >= 0)
    order = np.argsort(target[update], kind="stable")
    return target[update][order], update[order]


def _pairs(target: np.ndarray) -> np.ndarray:
    """The first elements of pairs of neighbours with one target, each element in one pair at most."""
    starts = np.flatnonzero(np.r_[True, target[1:] != target[:-1]])
    within = np.arange(target.size) - np.repeat(starts, np.diff(np.r_[starts, target.size]))
    has_next = np.r_[target[1:] == target[:-1], False]
    return np.flatnonzero(has_next & (within % 2 == 0))


def _taken(context: Context, x: Secret, places: np.ndarray) -> Secret:
    at = context.declared(places)
    return moved(context, x, lambda slot: slot[at])


# -- the last update wins ----------------------------------------------------------------------------------------


@rule("scatter")
def scatter(context: Context, x: Value, indices: Value, updates: Value, **params: Any) -> Value:
    """Which update wins an element is decided once, on public indices, and is the same for every slot."""
    if is_secret(indices):
        x, updates = choosing.finite(context, x, updates), choosing.finite(context, updates, x)
        return _set_at_secret(context, x, indices, updates, params)
    options = _options(params)
    (index,) = public_index(context, indices)
    if options["unique_indices"]:
        return joined(context, [x, updates], lambda slot, new: lax.scatter(slot, index, new, **options))
    places = jnp.arange(int(np.prod(updates.shape)), dtype=np.int32).reshape(updates.shape)
    winner = lax.scatter(jnp.full(x.shape, -1, np.int32), index, places, **options)
    return joined(context, [x, updates], _choose(winner))


def _choose(winner: Any) -> Callable[[Any, Any], Any]:
    def choose(slot: Any, new: Any) -> Any:
        return jnp.where(winner < 0, slot, jnp.take(new.reshape(-1), jnp.maximum(winner, 0)))

    return choose


def _set_at_secret(context: Context, x: Value, indices: Value, updates: Value, params: dict[str, Any]) -> Value:
    """Whether a row hits an element, and with what; a later row hides an earlier one."""
    if is_boolean(x.dtype):
        whole = (arithmetic.as_integer(context, context.secret(v), np.int8) for v in (x, updates))
        number, new = whole
        return Boolean(context.ring(_set_at_secret(context, number, indices, new, params)))
    rows = _rows(indices, updates, params)
    if rows.count == 0:
        return x
    positions = _located(context, x.shape, indices, updates, rows, params)
    write = _writer(context, rows)
    if rows.count == 1:
        written = changed(context, positions, x, updates, write, rows=1)
        return moved(context, written, lambda slot: slot[0])
    nothing = Public(np.zeros(x.shape, x.dtype))
    values = changed(context, positions, nothing, updates, write, rows=rows.count)
    hit, value = _last(context, _hits(context, positions, x, updates.shape, write), context.secret(values))
    known = choosing.joint_interval([context.secret(v) for v in (x, updates)])
    kept = arithmetic.subtract(context, x, arithmetic.multiply(context, hit, x))
    return choosing.with_interval(arithmetic.add(context, kept, value), known)


def _hits(
    context: Context, positions: lookup.Positions, x: Value, update_shape: Sequence[int], write: Callable[..., Any]
) -> FixedPoint | Integer:
    """[row, *x]: 1 where an update is written, as a number of the type of `x`; no message."""
    every = context.declared(positions.all())

    def spread(unit: Any) -> Any:
        nothing, ones = jnp.zeros(x.shape, unit.dtype), jnp.ones(tuple(update_shape), unit.dtype)
        each = jax.vmap(lambda at: write(nothing, ones, at))(every)
        weights = jnp.moveaxis(unit, -1, 0)
        return jnp.sum(weights.reshape(*weights.shape, *(1,) * (each.ndim - 2)) * each, axis=0, dtype=unit.dtype)

    hit = context.protocol.map(spread, positions.unit)
    if is_float(x.dtype):
        return FixedPoint(hit, 0, Interval(0, 1), np.dtype(x.dtype))
    return Integer(hit, np.dtype(x.dtype), Interval(0, 1))


def _last(context: Context, hits: Any, values: Any) -> tuple[Any, Any]:
    """Of rows (whether, what): by halves, the later one where it hits and else the earlier one. A round for each."""
    while (n := hits.shape[0]) > 1:
        half = n // 2

        def early(v: Any, half: int = half) -> Any:
            return moved(context, v, lambda slot: slot[: 2 * half : 2])

        def late(v: Any, half: int = half) -> Any:
            return moved(context, v, lambda slot: slot[1 : 2 * half : 2])

        h, v = late(hits), late(values)
        hidden = arithmetic.multiply(context, h, early(values))
        both = arithmetic.multiply(context, h, early(hits))
        merged = arithmetic.subtract(context, arithmetic.add(context, h, early(hits)), both)
        chosen = arithmetic.subtract(context, arithmetic.add(context, v, early(values)), hidden)
        hits = _with_rest(context, choosing.with_interval(merged, Interval(0, 1)), hits, 2 * half)
        values = _with_rest(context, choosing.with_interval(chosen, values.interval), values, 2 * half)
    return (moved(context, x, lambda slot: slot[0]) for x in (hits, values))  # type: ignore[return-value]


def _with_rest(context: Context, pairs: Any, before: Any, start: int) -> Any:
    if before.shape[0] == start:
        return pairs
    rest = moved(context, before, lambda slot: slot[start:])
    return joined(context, [pairs, rest], lambda a, b: jnp.concatenate([a, b]))
