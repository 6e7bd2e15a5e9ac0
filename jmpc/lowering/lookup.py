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

from jmpc.lowering import arithmetic, choosing, comparing, wrapping
from jmpc.lowering.context import Context
from jmpc.lowering.interval import Interval
from jmpc.lowering.values import Boolean, FixedPoint, Integer, Public, Secret, Value, is_boolean, is_float
from jmpc.protocols.base import Bits, Ring

_MOST_POSITIONS = 1 << 20


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

    With `edges`, the unit vectors mean nothing where these say that the index is outside.
    """

    unit: Ring
    sizes: tuple[int, ...]
    edges: Edges | None = None

    @property
    def count(self) -> int:
        return int(np.prod(self.sizes))

    def all(self) -> np.ndarray:
        """Every position: [count, number of sizes], in the order of the unit vectors."""
        return np.stack(np.unravel_index(np.arange(self.count), self.sizes), axis=-1).astype(np.int32)


def locate(context: Context, indices: Sequence[Value], sizes: Sequence[int], *, clamp: bool) -> Positions:
    """The unit vectors of (i_0, i_1, ...) with i_d < sizes[d]; outside of the box: the nearest, or zero.

    One round, one more for each further secret index, and 4 (5 of 64-bit integers) where an index may be outside.
    """
    return _located(context, _axes(context, indices, sizes, clamp), sizes, clamp)


def locate_to_read(context: Context, indices: Sequence[Value], sizes: Sequence[int], *, clamp: bool) -> Positions:
    """As `locate`, in 1 round for a single secret index: where it may be outside, `pick` makes up for it."""
    axes = _axes(context, indices, sizes, clamp)
    secret = [axis for axis in axes if isinstance(axis, _Axis)]
    if len(secret) != 1 or not secret[0].outside.possible:
        return _located(context, axes, sizes, clamp)
    (axis,) = secret
    n = axis.unit.shape[-1]
    rest = [dataclasses.replace(axis, outside=Outside(None, None)) if a is axis else a for a in axes]
    first, last = (
        functools.reduce(_pairs, [end if a is axis else a for a in axes]) if clamp else None for end in _ends(n)
    )
    return dataclasses.replace(_located(context, rest, sizes, clamp), edges=Edges(axis.outside, first, last))


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
    return _window(context, context.extended(context.secret(index)), 0, n, n, clamp)


def _window(context: Context, index: Integer, low: int, high: int, n: int, clamp: bool) -> _Axis:
    """Of an index that is a position in [0, high), or with low = -high one that may count from the end.

    Positions from n on are the last one, or none.
    """
    protocol, known = context.protocol, index.known
    length = 1 << max(1, (high - low - 1).bit_length())
    vector = protocol.one_hot(index.ring, length)  # of the index mod length, which tells all of [low, high) apart

    def fold(slot: Any) -> Any:
        every = slot[..., :high] if low == 0 else slot[..., :high] + slot[..., length + low :]
        if not clamp or n == high:
            return every[..., :n]
        beyond = jnp.sum(every[..., n - 1 :], axis=-1, keepdims=True, dtype=slot.dtype)
        return jnp.concatenate([every[..., : n - 1], beyond], axis=-1)

    bits = Interval(known.low - high, known.high - low).range_bits()
    below, not_above = (Boolean(bit) for bit in protocol.less_than_each(index.ring, [low, high], bits))
    return _Axis(
        protocol.map(fold, vector),
        Outside(
            below if known.low < low else None, comparing.invert(context, not_above) if known.high >= high else None
        ),
    )


def _located(context: Context, axes: Sequence[_Axis | np.ndarray], sizes: Sequence[int], clamp: bool) -> Positions:
    unit, *others = (a if isinstance(a, np.ndarray) else _right(context, a, clamp) for a in axes)
    for other in others:
        unit = _outer(context, unit, other)
    assert isinstance(unit, Ring), "nothing is secret"
    return Positions(unit, tuple(sizes))


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


def pick(context: Context, positions: Positions, x: Value, f: Callable[[Any, Any], Any]) -> Secret:
    """f(unit, x) at the positions, or at the edges; f gives the dimensions of the index first."""
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
        return choosing.gate(context, everywhere(edges.outside.inside(context)), picked)
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


def read(context: Context, positions: Positions, x: Value, take: Callable[[Any, Any], Any]) -> Secret:
    """take(x, position), for one public position at a time, at the secret ones."""
    every = context.declared(positions.all())

    def at(unit: Any, slot: Any) -> Any:
        taken = jax.vmap(take, (None, 0))(slot, every)  # [count, *result]
        weights = jnp.moveaxis(unit, -1, 0)
        weights = weights.reshape(*weights.shape, *(1,) * (taken.ndim - weights.ndim))
        return jnp.sum(weights * taken, axis=0, dtype=slot.dtype)

    return pick(context, positions, x, at)
