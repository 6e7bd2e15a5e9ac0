"""Along axes: products and extrema, by an operation on pairs in as many steps as the length has bits; and sorting."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive

from jmpc.lowering.pairs.elementwise import extremum
from jmpc.lowering.pairs.pair import Pair
from jmpc.lowering.pairs.registry import on_pairs

_Operation = Callable[[Pair, Pair], Pair]
_OPERATIONS: dict[str, _Operation] = {
    "prod": Pair.__mul__,
    "max": lambda x, y: extremum(x, y, largest=True),
    "min": lambda x, y: extremum(x, y, largest=False),
}


@on_pairs("reduce_prod", "reduce_max", "reduce_min")
def reduced(x: Pair, *, primitive: Primitive, axes: Sequence[int]) -> Pair:
    operation = _OPERATIONS[primitive.name.removeprefix("reduce_")]
    pair = jax.tree.map(lambda part: _flattened(part, axes), Pair(*x.filled))
    count = len(pair.real)
    while count > 1:
        half = count // 2
        first, second, rest = (_rows(pair, *ends) for ends in ((0, half), (half, 2 * half), (2 * half, count)))
        pair = jax.tree.map(lambda *parts: jnp.concatenate(parts), operation(first, second), rest)
        count -= half
    if not count:  # of nothing: of an extremum, JAX says so
        return Pair(jnp.ones(pair.real.shape[1:], pair.real.dtype))
    return jax.tree.map(lambda part: part[0], pair)


def _flattened(part: Any, axes: Sequence[int]) -> Any:
    """The axes as one, in front of the others."""
    moved = jnp.moveaxis(part, axes, range(len(axes)))
    return moved.reshape(math.prod(moved.shape[: len(axes)]), *moved.shape[len(axes) :])


def _rows(pair: Pair, start: int, stop: int) -> Pair:
    return jax.tree.map(lambda part: part[start:stop], pair)


@on_pairs("cumprod", "cummax", "cummin")
def cumulated(x: Pair, *, primitive: Primitive, axis: int, reverse: bool) -> Pair:
    operation = _OPERATIONS[primitive.name.removeprefix("cum")]
    return lax.associative_scan(operation, Pair(*x.filled), reverse=reverse, axis=axis)


@on_pairs("sort")
def sort(*operands: Any, dimension: int, is_stable: bool, num_keys: int) -> list[Any]:
    """By the real parts, and of equal ones by the imaginary parts."""
    parts, tree = jax.tree.flatten([Pair(*x.filled) if isinstance(x, Pair) else x for x in operands])
    keys = len(jax.tree.leaves(jax.tree.unflatten(tree, parts)[:num_keys]))
    return jax.tree.unflatten(tree, lax.sort(parts, dimension=dimension, is_stable=is_stable, num_keys=keys))
