"""Operations that only move elements: the same map of every slot."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jmpc.lowering import choosing, interval, missing, origins, traits, wrapping
from jmpc.lowering.context import Context
from jmpc.lowering.registry import rule
from jmpc.lowering.values import (
    Boolean,
    FixedPoint,
    Integer,
    Public,
    Secret,
    Spread,
    Trait,
    Value,
    is_boolean,
)


def moved(context: Context, x: Value, f: Callable[[Any], Any]) -> Value:
    """`x` with its elements moved by `f`; what is known relative to other values is forgotten."""
    if isinstance(x, Public):
        return Public(f(context.operand(x)), x.at)
    value = dataclasses.replace(x, sharing=context.protocol.map(f, x.sharing))
    if not isinstance(value, Integer):
        value = dataclasses.replace(value, trait=None)
    return origins.carried(context, x, value, lambda part: moved(context, part, f))


@rule("transpose", "rev", "squeeze", "expand_dims", "slice", "copy", "copy_p", "tile")
def move(context: Context, x: Secret, **params: Any) -> Value:
    """Any primitive of one operand that only moves elements, applied to the slots as it is."""
    assert context.equation is not None
    return moved(context, x, lambda slot: context.equation.primitive.bind(slot, **params))


@rule("reshape")
def reshape(context: Context, x: Secret, **params: Any) -> Value:
    result = move(context, x, **params)
    if isinstance(x, FixedPoint) and params.get("dimensions") is None:
        return with_trait(context, result, traits.after_reshape(x.trait, x.shape, result.shape))
    return result


@rule("broadcast_in_dim")
def broadcast_in_dim(
    context: Context, x: Secret, *_: Value, shape: Sequence[int], broadcast_dimensions: Sequence[int], **__: Any
) -> Value:
    dims = [int(d) for d in broadcast_dimensions]
    result = moved(context, x, lambda slot: lax.broadcast_in_dim(slot, shape, dims))
    if not isinstance(x, FixedPoint):
        return result
    trait = traits.after_broadcast(x.trait, dims, len(shape))
    if trait is None and int(np.prod(shape)) > x.sharing.size:
        sizes = [1] * len(shape)
        for dim, size in zip(dims, x.shape, strict=True):
            sizes[dim] = size
        trait = Spread(moved(context, x, lambda slot: jnp.reshape(slot, sizes)))
    return with_trait(context, result, trait)


def with_trait(context: Context, x: FixedPoint, trait: Trait | None) -> FixedPoint:
    """The same value, of which something is known relative to others."""
    return origins.carried(context, x, dataclasses.replace(x, trait=trait), lambda part: part)


@rule("concatenate")
def concatenate(context: Context, *xs: Value, dimension: int, **_: Any) -> Value:
    result = joined(context, xs, lambda *slots: lax.concatenate(slots, dimension))
    return wrapping.concatenated(context, xs, dimension, result)


@rule("stack")
def stack(context: Context, *xs: Value, axis: int, **_: Any) -> Value:
    return joined(context, xs, lambda *slots: jnp.stack(slots, axis))


def joined(context: Context, values: Sequence[Value], f: Callable[..., Any]) -> Secret:
    """A map of several values of one type that only moves elements."""
    secrets = choosing.unify(context, values)
    sharing = context.protocol.map(f, *(x.sharing for x in secrets))
    result = dataclasses.replace(secrets[0], sharing=sharing)
    known = None if isinstance(result, Boolean) else choosing.joint_interval(secrets)
    return choosing.with_interval(result, known)


@rule("pad")
def pad(context: Context, x: Value, padding: Value, *, padding_config: Any, **_: Any) -> Value:
    config = [(int(low), int(high), int(inside)) for low, high, inside in padding_config]
    if choosing.is_zero(padding):
        zero = moved(context, x, lambda slot: lax.pad(slot, slot.dtype.type(0), config))
        return _with_zero(zero)
    return joined(context, [x, padding], lambda slot, fill: lax.pad(slot, fill, config))


def _with_zero(x: Secret) -> Secret:
    if isinstance(x, Boolean) or x.interval is None:
        return x
    return choosing.with_interval(x, x.interval.hull(interval.Interval(0, 0)))


@rule("split")
def split(context: Context, x: Secret, *, sizes: Sequence[int], axis: int, **_: Any) -> list[Value]:
    ends = np.cumsum(sizes)
    return [
        moved(context, x, lambda slot, a=end - size, b=end: lax.slice_in_dim(slot, int(a), int(b), axis=axis))
        for size, end in zip(sizes, ends, strict=True)
    ]


@rule("unstack")
def unstack(context: Context, x: Secret, *, axis: int, **_: Any) -> list[Value]:
    return [
        moved(context, x, lambda slot, i=i: lax.index_in_dim(slot, i, axis=axis, keepdims=False))
        for i in range(x.shape[axis])
    ]


@rule("optimization_barrier")
def optimization_barrier(context: Context, *xs: Value, **_: Any) -> list[Value]:
    """A hint for one compiler."""
    del context
    return list(xs)


@rule("select_n")
def select_n(context: Context, which: Value, *cases: Value, **_: Any) -> Value:
    if isinstance(which, Public):
        chosen = _select_public(context, which, cases)
        return missing.selected(context, which, cases, chosen) if is_boolean(which.dtype) else chosen
    if is_boolean(which.dtype):
        chosen = choosing.select(context, which, cases[1], cases[0])
        return missing.selected(context, which, cases, wrapping.selected(context, which, cases, chosen))
    return choosing.select_many(context, which, cases)


def _select_public(context: Context, which: Public, cases: Sequence[Value]) -> Value:
    if which.known and which.array.size and (which.array == which.array.flat[0]).all():
        return cases[int(which.array.flat[0])]
    index = context.operand(context.everyone(which))
    return joined(context, cases, lambda *slots: lax.select_n(index, *slots))
