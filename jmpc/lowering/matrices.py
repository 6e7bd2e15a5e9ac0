"""Parts of batches of matrices [..., m, n] at a public place that may be a loop's counter, for composites."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

Array = Any
_FEW = 32  # up to so many numbers all are compared with all


def product(a: Array, x: Array) -> Array:
    """Matrices times vectors."""
    return jnp.einsum("...ij,...j->...i", a, x)


def outer(x: Array, y: Array) -> Array:
    """x y^T of vectors."""
    return x[..., :, None] * y[..., None, :]


def transposed(a: Array) -> Array:
    return jnp.swapaxes(a, -1, -2)


def diagonal(a: Array) -> Array:
    return jnp.diagonal(a, axis1=-2, axis2=-1)


def row_of(a: Array, i: Array) -> Array:
    return lax.dynamic_index_in_dim(a, i, a.ndim - 2, keepdims=False)


def column_of(a: Array, j: Array) -> Array:
    return lax.dynamic_index_in_dim(a, j, a.ndim - 1, keepdims=False)


def element_of(x: Array, i: Array) -> Array:
    """Of vectors."""
    return column_of(x, i)


def with_row(a: Array, i: Array, value: Array) -> Array:
    return lax.dynamic_update_index_in_dim(a, value, i, a.ndim - 2)


def with_column(a: Array, j: Array, value: Array) -> Array:
    return lax.dynamic_update_index_in_dim(a, value, j, a.ndim - 1)


def with_element(x: Array, i: Array, value: Array) -> Array:
    """Of vectors."""
    return with_column(x, i, value)


def moves_in_order(keys: Array) -> Array:
    """Unit vectors [..., n, n]: element (i, k) says whether key i [..., n] is the k-th smallest; equal ones in order.

    By counting, for each, how many are smaller: 9 rounds, and n^2 comparisons.
    """
    n = keys.shape[-1]
    less = keys[..., None, :] < keys[..., :, None]
    earlier = np.tri(n, k=-1, dtype=bool)
    before = jnp.where(earlier, ~transposed(less), less & ~np.eye(n, dtype=bool))
    place = jnp.sum(before.astype(np.int32), axis=-1, dtype=np.int32)
    return jnp.take(jnp.eye(n, dtype=np.int32), place, axis=0)


def _unit_vectors(places: Array, n: int) -> Array:
    return jnp.take(jnp.eye(n, dtype=np.int32), places, axis=0)


def first_largest(x: Array, unit_vectors: Callable[[Array, int], Array] = _unit_vectors) -> Array:
    """The unit vector of the first largest element; of many, by what makes vectors [..., n] of places."""
    n = x.shape[-1]
    if n <= _FEW:
        return moves_in_order(-x)[..., 0]
    return unit_vectors(jnp.argmax(x, axis=-1), n)


def exchanged(x: Array, j: Array, chosen: Array, moves: Array) -> Array:
    """x [..., m, k] with row j and the row of the unit vector `chosen` exchanged; `moves` is the difference of both."""
    row = jnp.sum(chosen[..., None] * x, axis=-2, dtype=x.dtype)
    return x + moves[..., None] * (row - row_of(x, j))[..., None, :]
