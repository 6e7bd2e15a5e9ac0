"""Reading and writing at secret positions: through the unit vector of the position, so that all are touched."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jmpc.functions.comparison import clip
from jmpc.lowering import arithmetic, choosing
from jmpc.lowering.context import Context
from jmpc.lowering.interval import Interval
from jmpc.lowering.values import Boolean, FixedPoint, Integer, Secret, Value
from jmpc.protocols.base import Bits, Ring

_MOST_POSITIONS = 1 << 20


@dataclasses.dataclass(frozen=True)
class Positions:
    """Secret positions in a box of `sizes`, as unit vectors on a last axis of length prod(sizes)."""

    unit: Ring
    sizes: tuple[int, ...]

    @property
    def count(self) -> int:
        return int(np.prod(self.sizes))

    def all(self) -> np.ndarray:
        """Every position: [count, number of sizes], in the order of the unit vectors."""
        return np.stack(np.unravel_index(np.arange(self.count), self.sizes), axis=-1).astype(np.int32)


def locate(context: Context, indices: Sequence[Value], sizes: Sequence[int], *, clamp: bool) -> Positions:
    """The unit vectors of (i_0, i_1, ...) with i_d < sizes[d]; outside of the box: the nearest, or zero.

    One round for each index in parallel, one for each further index, and 6 where an index may be outside.
    """
    if (count := math.prod(sizes)) > _MOST_POSITIONS:
        raise context.refuse(
            f"a secret index into {count:,} positions, and at most {_MOST_POSITIONS:,} are possible",
            "Index a part of the array whose position is public, or dimensions one after the other",
        )
    vectors = [_unit(context, index, n, clamp) for index, n in zip(indices, sizes, strict=True)]
    unit = vectors[0]
    for other in vectors[1:]:
        product = context.protocol.multiply(unit, other, lambda a, b: a[..., :, None] * b[..., None, :])
        unit = context.protocol.map(lambda slot: slot.reshape(*slot.shape[:-2], -1), context.protocol.settle(product))
    return Positions(unit, tuple(sizes))


def _unit(context: Context, index: Value, n: int, clamp: bool) -> Ring:
    secret = context.extended(context.secret(index))
    known = secret.interval
    low, high = (0, n - 1) if clamp else (-1, n)
    if known is None or not known.inside(low, high):
        secret = Integer(clip(context.protocol, secret.ring, low, high), secret.dtype, Interval(low, high))
    inside = secret.interval is not None and secret.interval.inside(0, n - 1)
    length = 1 << max(1, (n if inside else n + 2) - 1).bit_length()  # -1 and n must differ from every position
    vector = context.protocol.one_hot(secret.ring, length)
    return context.protocol.map(lambda slot: slot[..., :n], vector)


def weighted(context: Context, positions: Positions, x: Secret, f: Callable[[Any, Any], Any]) -> Secret:
    """A bilinear map of the unit vectors and `x` that picks elements: no sums, hence the scale of `x`."""
    if isinstance(x, Boolean):
        picked = weighted(context, positions, arithmetic.as_integer(context, x, np.int8), f)
        return Boolean(context.settled(picked).sharing)
    if isinstance(x, FixedPoint):
        x = context.at_most(x)
    elif isinstance(x.sharing, Bits):
        x = context.settled(x)
    x = context.settled(x)
    product = context.protocol.multiply(positions.unit, x.sharing, f)
    known = x.interval.hull(Interval(0, 0)) if x.interval is not None else None
    return choosing.with_interval(dataclasses.replace(x, sharing=product), known)


def read(context: Context, positions: Positions, x: Value, take: Callable[[Any, Any], Any]) -> Secret:
    """take(x, position), for one public position at a time, at the secret ones."""
    every = context.declared(positions.all())

    def pick(unit: Any, slot: Any) -> Any:
        taken = jax.vmap(take, (None, 0))(slot, every)  # [count, *result]
        weights = jnp.moveaxis(unit, -1, 0)
        weights = weights.reshape(*weights.shape, *(1,) * (taken.ndim - weights.ndim))
        return jnp.sum(weights * taken, axis=0, dtype=slot.dtype)

    return weighted(context, positions, context.secret(x), pick)
