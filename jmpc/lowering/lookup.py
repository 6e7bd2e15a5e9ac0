"""Reading and writing at secret positions: through the unit vector of the position, so that all are touched.

Whether an index lies inside is found out by comparisons, which run beside everything else: what is read is corrected
at last, and only what is written must have its unit vectors right beforehand.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jmpc.lowering import arithmetic, choosing, comparing, interval, wrapping
from jmpc.lowering.context import Context
from jmpc.lowering.interval import Interval
from jmpc.lowering.values import Boolean, FixedPoint, Integer, Public, Secret, Value, is_boolean, is_float
from jmpc.protocols.base import Bits, Ring

_MOST_POSITIONS = 1 << 20
_FEW_BITS = 4  # are compared in 1 round


@dataclasses.dataclass(frozen=True)
class Outside:
    """Where an index lies below or above all positions; None where it is known not to."""

    below: Boolean | None
    above: Boolean | None

    @property
    def possible(self) -> bool:
        return self.below is not None or self.above is not None

    def inside(self, context: Context) -> Boolean:
        """Neither below nor above, which exclude each other."""
        bits = [context.bits(where) for where in (self.below, self.above) if where is not None]
        anywhere = bits[0] if len(bits) == 1 else context.protocol.xor(*bits)
        return comparing.invert(context, Boolean(anywhere))


@dataclasses.dataclass(frozen=True)
class Edges:
    """What to read instead where an index lies outside: at these unit vectors, or zero."""

    outside: Outside
    first: Any
    last: Any


@dataclasses.dataclass(frozen=True)
class Positions:
    """Secret positions in a box of `sizes`, as unit vectors on a last axis of length prod(sizes).

    `dims` says which components of whole index vectors these are. With `edges`, the unit vectors mean nothing where
    these say that the index is outside.
    """

    unit: Ring
    sizes: tuple[int, ...]
    dims: tuple[int, ...]
    edges: Edges | None = None

    @property
    def count(self) -> int:
        return int(np.prod(self.sizes))

    def all(self) -> np.ndarray:
        """Every position: [count, number of sizes], in the order of the unit vectors."""
        return np.stack(np.unravel_index(np.arange(self.count), self.sizes), axis=-1).astype(np.int32)


def locate(context: Context, indices: Sequence[Value], sizes: Sequence[int], *, clamp: bool) -> Positions:
    """The unit vectors of (i_0, i_1, ...) with i_d < sizes[d]; outside of the box: the nearest, or zero.

    1 round, or 3 where an index may be outside; for pairs of secret indices, pairs of pairs, ... one more each.
    """
    axes = _axes(context, indices, sizes, clamp)
    return _located(context, axes, sizes, range(len(axes)), clamp)


def locate_to_read(
    context: Context, indices: Sequence[Value], sizes: Sequence[int], *, clamp: bool
) -> tuple[Positions, ...]:
    """As `locate`, but as factors which `read` contracts one after the other.

    The first has one secret index and all the public ones, in 1 round: where it may be outside, `pick` makes up for
    it. The others have one each, in 3 rounds, but the last has two of three or more, in 4: a round for each contraction
    makes 5 rounds of up to four secret indices.
    """
    axes = _axes(context, indices, sizes, clamp)
    first, *others = (d for d, axis in enumerate(axes) if isinstance(axis, _Axis))
    own = [d for d in range(len(axes)) if d not in others]
    pairs = [others[-2:]] if len(others) > 1 else [[d] for d in others]
    factors = [[d] for d in others[:-2]] + pairs
    return (
        _with_edges(context, axes, sizes, own, first, clamp),
        *(_located(context, axes, sizes, dims, clamp) for dims in factors),
    )


def _with_edges(
    context: Context,
    axes: Sequence[_Axis | np.ndarray],
    sizes: Sequence[int],
    dims: Sequence[int],
    secret: int,
    clamp: bool,
) -> Positions:
    """Positions along `dims`, of which one is secret, with what to read where it is outside."""
    axis = axes[secret]
    assert isinstance(axis, _Axis)
    if not axis.outside.possible:
        return _located(context, axes, sizes, dims, clamp)

    def instead(this: _Axis | np.ndarray) -> list[_Axis | np.ndarray]:
        return [this if d == secret else other for d, other in enumerate(axes)]

    first, last = (
        functools.reduce(_pairs, [instead(end)[d] for d in dims]) if clamp else None
        for end in _ends(axis.unit.shape[-1])
    )
    inside = dataclasses.replace(axis, outside=Outside(None, None))
    positions = _located(context, instead(inside), sizes, dims, clamp)
    return dataclasses.replace(positions, edges=Edges(axis.outside, first, last))


@dataclasses.dataclass(frozen=True)
class _Axis:
    """Of one secret index: its unit vector of the axis, right where it is not outside."""

    unit: Ring
    outside: Outside


def _axes(context: Context, indices: Sequence[Value], sizes: Sequence[int], clamp: bool) -> list[_Axis | np.ndarray]:
    if (count := math.prod(sizes)) > _MOST_POSITIONS:
        raise context.refuse(
            f"a secret index into {count:,} positions, and at most {_MOST_POSITIONS:,} are possible",
            "Index a part of the array whose position is public, or dimensions one after the other",
        )
    return [_axis(context, index, n, clamp) for index, n in zip(indices, sizes, strict=True)]


def _ends(n: int) -> np.ndarray:
    """The unit vectors of the first and of the last position."""
    ends = np.zeros((2, n), np.uint64)
    ends[0, 0] = ends[1, -1] = 1
    return ends


def _axis(context: Context, index: Value, n: int, clamp: bool) -> _Axis | np.ndarray:
    """Of a known public index its unit vectors themselves, as words."""
    if isinstance(index, Public) and index.known:
        near = Public(np.clip(index.array, 0, n - 1)) if clamp else index
        return wrapping.constant_units(near, n)
    counted = wrapping.from_end(context, index)
    if counted is not None and counted.size >= n:
        return _window(context, counted.of, -counted.size, counted.size, n, clamp)
    return _window(context, context.secret(index), 0, n, n, clamp)


def _window(context: Context, index: Integer, low: int, high: int, n: int, clamp: bool) -> _Axis:
    """Of an index that is a position in [0, high), or with low = -high one that may count from the end.

    Positions from n on are the last one, or none.
    """
    length = 1 << max(1, (high - low - 1).bit_length())
    if length > 1 << index.width:  # bits above its own tell positions apart
        index = context.extended(index)
    words = _words(context, index)
    vector = context.protocol.one_hot(words, length)  # of the index mod length, which tells all of [low, high) apart

    def fold(slot: Any) -> Any:
        every = slot[..., :high] if low == 0 else slot[..., :high] + slot[..., length + low :]
        if not clamp or n == high:
            return every[..., :n]
        beyond = jnp.sum(every[..., n - 1 :], axis=-1, keepdims=True, dtype=slot.dtype)
        return jnp.concatenate([every[..., : n - 1], beyond], axis=-1)

    return _Axis(context.protocol.map(fold, vector), _outside(context, index, low, high))


def _words(context: Context, index: Integer) -> Ring | Bits:
    """Of which the low bits, as many as the type has, are right."""
    return index.sharing if isinstance(index.sharing, Bits) else context.settled(index).ring


def _outside(context: Context, index: Integer, low: int, high: int) -> Outside:
    """Whether the index is below `low`, and whether it is `high` or above. 2 rounds at most.

    By its own bits alone, those of its type or those of what is known of it: nothing is extended for it.
    """
    protocol, limits = context.protocol, interval.of_dtype(index.dtype)
    known = limits
    if index.interval is not None and index.interval.inside(limits.low, limits.high):
        known = index.interval
    thresholds = [t for t, possible in ((low, known.low < low), (high, known.high >= high)) if possible]
    if not thresholds:
        return Outside(None, None)
    words = _words(context, index)
    compared = Interval(known.low - high, known.high - low).range_bits()
    if known is index.interval and compared <= _FEW_BITS:
        bits = iter(protocol.less_than_each(context.extended(index).ring, thresholds, compared))
    elif isinstance(words, Bits):
        start, width = int(limits.low), index.width
        moved = protocol.xor_public(words, -start)
        bits = iter(protocol.words_less_than_each(moved, [t - start for t in thresholds], width))
    else:
        start = math.floor(min(known.low, *(t - 1 for t in thresholds)))  # below all that it is compared with
        end = math.ceil(max(known.high, *thresholds))
        width = (end - start).bit_length()
        moved = protocol.add_public(words, -start)
        bits = iter(protocol.words_less_than_each(moved, [t - start for t in thresholds], width))
    return Outside(
        Boolean(next(bits)) if known.low < low else None,
        comparing.invert(context, Boolean(next(bits))) if known.high >= high else None,
    )


def _located(
    context: Context, axes: Sequence[_Axis | np.ndarray], sizes: Sequence[int], dims: Sequence[int], clamp: bool
) -> Positions:
    """Positions along `dims`, right wherever the indices are."""
    units = [a if isinstance(a, np.ndarray) else _right(context, a, clamp) for a in (axes[d] for d in dims)]
    unit = _outer_of_all(context, units)
    assert isinstance(unit, Ring), "nothing is secret"
    return Positions(unit, tuple(sizes[d] for d in dims), tuple(dims))


def _right(context: Context, axis: _Axis, clamp: bool) -> Ring:
    """The unit vectors, also where the index is outside. 1 round after the comparisons."""
    protocol, outside = context.protocol, axis.outside
    if not outside.possible:
        return axis.unit
    inside = protocol.map(lambda slot: slot[..., None], context.bits(outside.inside(context)))
    unit = protocol.inject(inside, axis.unit)
    for where, place in ((outside.below, 0), (outside.above, -1)):
        if clamp and where is not None:
            unit = protocol.map(lambda s, bit, p=place: s.at[..., p].add(bit), unit, context.ring(where))
    return unit


def _outer_of_all(context: Context, units: Sequence[Ring | np.ndarray]) -> Ring | np.ndarray:
    """The unit vectors of whole vectors: of both halves, then of pairs of these."""
    if len(units) == 1:
        return units[0]
    half = len(units) // 2
    return _outer(context, _outer_of_all(context, units[:half]), _outer_of_all(context, units[half:]))


def _outer(context: Context, x: Ring | np.ndarray, y: Ring | np.ndarray) -> Ring | np.ndarray:
    """The unit vectors of pairs. 1 round if both are secret."""
    protocol = context.protocol
    match x, y:
        case np.ndarray(), Ring():
            words = context.declared(x)
            return protocol.map(lambda slot: _pairs(words, slot), y)
        case Ring(), np.ndarray():
            words = context.declared(y)
            return protocol.map(lambda slot: _pairs(slot, words), x)
        case Ring(), Ring():
            return protocol.settle(protocol.multiply(x, y, _pairs))
    return _pairs(x, y)


def _pairs(a: Any, b: Any) -> Any:
    product = a[..., :, None] * b[..., None, :]
    return product.reshape(*product.shape[:-2], -1)


# -- what is done with positions -------------------------------------------------------------------------------


def weighted(context: Context, positions: Positions, x: Value, f: Callable[[Any, Any], Any]) -> Secret:
    """A bilinear map of the unit vectors and `x` that picks elements: no sums, hence the scale of `x`."""
    if is_boolean(x.dtype):
        picked = weighted(context, positions, arithmetic.as_integer(context, context.secret(x), np.int8), f)
        return Boolean(context.settled(picked).sharing)
    if isinstance(x, FixedPoint):
        x = context.at_most(x)
    elif isinstance(x, Integer) and isinstance(x.sharing, Bits):
        x = context.settled(x)
    known = context.interval(x).hull(Interval(0, 0)) if isinstance(x, Public) or x.interval is not None else None
    return choosing.with_interval(arithmetic.bilinear(context, _unit_as(positions.unit, x.dtype), x, f), known)


def _unit_as(unit: Ring, dtype: Any) -> FixedPoint | Integer:
    if is_float(dtype):
        return FixedPoint(unit, 0, Interval(0, 1), np.dtype(dtype))
    return Integer(unit, np.dtype(dtype), Interval(0, 1))


def pick(context: Context, positions: Positions, x: Value, f: Callable[[Any, Any], Any], fill: Any = None) -> Secret:
    """f(unit, x) at the positions, or at the edges; f gives the dimensions of the index first.

    Where there is nothing at the edges: `fill`, and 0 without one. Only of numbers.
    """
    if positions.edges is None:
        return weighted(context, positions, x, f)
    if is_boolean(x.dtype):
        picked = pick(context, positions, arithmetic.as_integer(context, context.secret(x), np.int8), f)
        return Boolean(context.settled(picked).sharing)
    edges, batch = positions.edges, positions.unit.ndim - 1
    # settled before it is corrected: the correction is the last message
    picked = _compact(context, weighted(context, positions, x, f))

    def everywhere(where: Boolean) -> Boolean:
        shape = (*where.shape, *(1,) * (len(picked.shape) - batch))
        return Boolean(context.protocol.map(lambda slot: slot.reshape(shape), context.bits(where)))

    if edges.first is None:
        inside = everywhere(edges.outside.inside(context))
        if fill is None:
            return choosing.gate(context, inside, picked)
        rest = choosing.gate(context, inside, arithmetic.subtract(context, picked, Public(np.asarray(fill))))
        result = arithmetic.add(context, rest, Public(np.asarray(fill)))
        return choosing.with_interval(result, choosing.filled(context, picked, fill))
    result = picked
    for where, words in ((edges.outside.below, edges.first), (edges.outside.above, edges.last)):
        if where is not None:
            there = _at_public(context, positions, x, words, f)
            change = choosing.gate(context, everywhere(where), arithmetic.subtract(context, there, picked))
            result = arithmetic.add(context, result, change)
    return choosing.with_interval(result, picked.interval)


def _compact(context: Context, x: Secret) -> Secret:
    return context.at_most(x) if isinstance(x, FixedPoint) else context.settled(x)


def _at_public(context: Context, positions: Positions, x: Value, words: Any, f: Callable[[Any, Any], Any]) -> Secret:
    """f at public unit vectors; no message."""
    unit = jnp.broadcast_to(context.declared(words), positions.unit.shape)
    secret = context.secret(x)
    secret = context.at_most(secret) if isinstance(secret, FixedPoint) else context.settled(secret)
    return dataclasses.replace(secret, sharing=context.protocol.map(lambda slot: f(unit, slot), secret.sharing))


def read(
    context: Context, factors: Sequence[Positions], x: Value, take: Callable[[Any, Any], Any], fill: Any = None
) -> Secret:
    """take(x, position), for one public position at a time, at the secret ones: of one factor after the other."""
    first, *others = factors
    dims = [d for factor in factors for d in factor.dims]
    order = [dims.index(d) for d in range(len(dims))]
    every, rest = context.declared(first.all()), context.declared(_combinations(others))
    remaining = [factor.count for factor in reversed(others)]  # the next factor's positions are the last axis

    def at(unit: Any, slot: Any) -> Any:
        def one(here: Any, there: Any) -> Any:
            parts = jnp.concatenate([here, there])
            return take(slot, jnp.stack([parts[d] for d in order]))

        taken = jax.vmap(jax.vmap(one, (None, 0)), (0, None))(every, rest)  # [count, rest, *result]
        taken = jnp.moveaxis(taken, 1, -1)
        taken = taken.reshape(*taken.shape[:-1], *remaining)
        weights = jnp.moveaxis(unit, -1, 0)
        weights = weights.reshape(*weights.shape, *(1,) * (taken.ndim - weights.ndim))
        return jnp.sum(weights * taken, axis=0, dtype=slot.dtype)

    def contract(unit: Any, slot: Any) -> Any:
        *batch, count = unit.shape
        weights = unit.reshape(*batch, *(1,) * (slot.ndim - len(batch) - 1), count)
        return jnp.sum(weights * slot, axis=-1, dtype=slot.dtype)

    picked = pick(context, first, x, at, fill)
    for factor in others:
        picked = pick(context, factor, picked, contract)
    return picked


def _combinations(factors: Sequence[Positions]) -> np.ndarray:
    """Every position of all factors together, the first varying fastest: [count, number of dims]."""
    counts = [factor.count for factor in reversed(factors)]
    places = np.unravel_index(np.arange(math.prod(counts)), (1, *counts))[:0:-1]
    columns = [factor.all()[at] for factor, at in zip(factors, places, strict=True)]
    return np.concatenate([np.zeros((math.prod(counts), 0), np.int32), *columns], axis=1)
