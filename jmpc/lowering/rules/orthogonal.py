"""QR by Householder reflections, written in JAX: one column after the other, in a loop that stays a loop.

With x the part of a column from the diagonal on, u = x / |x|, and s the sign of its first element, the reflection is
H = I - g w w^T with w = u + s e_1 and g = 2 / |w|^2 = 1 / (1 + |u_1|): H x = -s |x| e_1. LAPACK's vector is
w / w_1; that division is done at the end, for all columns at once, so that the loop has one root, and one
reciprocal of a number in [1, 2].

Fixed point: columns are brought to a common norm first, and vectors of size 1 are held at `guard` times their size. A
root of few bits then is enough, because a Newton step makes u a unit vector whatever its error was, and a last one
corrects g, which is what makes H orthogonal. Rounds are those of three-party sharing at 18 fraction bits.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jmpc.lowering.composite import composed, composite
from jmpc.lowering.context import Context
from jmpc.lowering.matrices import (
    column_of,
    diagonal,
    element_of,
    outer,
    product,
    transposed,
    with_column,
    with_element,
)
from jmpc.lowering.registry import rule
from jmpc.lowering.rules.hints import inverse_root, promise, quotient
from jmpc.lowering.scales import Scales
from jmpc.lowering.values import Value

_NEWTON_STEPS = 2

Array = Any


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Reflections:
    """H = I - g w w^T for each column; w = 0: none."""

    vectors: Array  # [..., m, k]: guard * w
    weighted: Array  # [..., m, k]: guard * g w
    heads: Array  # [..., k]: 1 / g, 0 where there is none


@composite("geqrf")
def geqrf(a: Array, *, fraction: int) -> tuple[Array, Array]:
    """R on and above the diagonal and the reflections' vectors below, and their factors tau, of A [..., m, n].

    |a_ij| < 2^20; signs are LAPACK's. What is left of a column is not reflected where it is below 2^-19 sqrt(m) of the
    largest element that the column had. Rounds: 44 min(m - 1, n) + 6 ceil(log2(m)) + 30.
    """
    m, n = a.shape[-2:]
    r, reflections = triangularized(a, Scales(fraction))
    below = quotient(reflections.vectors, diagonal(reflections.vectors)[..., None, :])
    below = jnp.pad(below, [(0, 0)] * (a.ndim - 1) + [(0, n - min(m, n))])
    packed = jnp.where(np.tri(m, n, -1, dtype=bool), below, r)
    return packed, reflections.heads


@rule("qr")
def qr(context: Context, a: Value, *, pivoting: bool, full_matrices: bool, **_: Any) -> Any:
    """Q [..., m, k] and R [..., k, n] of A [..., m, n], with k = m or, unless `full_matrices`, min(m, n).

    As `geqrf`, whose signs it has. Rounds: 44 min(m - 1, n) + 4 min(m, n) + 6 ceil(log2(m)) + 20.
    """
    if pivoting:
        raise context.refuse(
            "a QR decomposition with pivoting",
            "Use pivoting=False, or jnp.linalg.svd, which shows the rank as well",
        )
    return composed(context, functools.partial(_qr, full_matrices, Scales(context.fraction)), a)


def _qr(full_matrices: bool, scales: Scales, a: Array) -> tuple[Array, Array]:
    m, n = a.shape[-2:]
    k = m if full_matrices else min(m, n)
    r, reflections = triangularized(a, scales)
    return orthogonal(reflections, k, scales), jnp.triu(r)[..., :k, :]


@composite("householder_product")
def householder_product(a: Array, taus: Array, *, fraction: int) -> Array:
    """The first n columns of H_1 H_2 ..., H_i = I - tau_i v_i v_i^T, v_i below the diagonal of A [..., m, n].

    Rounds: 4 for each reflection.
    """
    m, n = a.shape[-2:]
    k = taus.shape[-1]
    scales = Scales(fraction)
    vectors = scales.guard * _unit_lower(a, k)
    reflections = Reflections(vectors, vectors * taus[..., None, :], taus)
    return orthogonal(reflections, n, scales)


@composite("ormqr")
def ormqr(a: Array, taus: Array, c: Array, *, left: bool, transpose: bool) -> Array:
    """op(Q) C or C op(Q) for the Q of `householder_product`, m x m. Rounds: 4 for each reflection, and 2."""
    if not left:
        c, transpose = transposed(c), not transpose
    count = taus.shape[-1]
    vectors = _unit_lower(a, count)
    weighted = vectors * taus[..., None, :]

    def step(i: Array, c: Array) -> Array:
        j = i if transpose else count - 1 - i
        return _reflect(c, column_of(vectors, j), column_of(weighted, j), 1.0)

    applied = lax.fori_loop(0, count, step, c)
    return applied if left else transposed(applied)


def _unit_lower(a: Array, k: int) -> Array:
    """The first k columns [..., m, k] below the diagonal, and 1 on it."""
    return jnp.tril(a[..., :k], -1) + np.eye(a.shape[-2], k, dtype=a.dtype)


def triangularized(a: Array, scales: Scales) -> tuple[Array, Reflections]:
    """R, with garbage below the diagonal, and what made it so."""
    *batch, m, n = a.shape
    count = min(m, n)
    places = jnp.arange(m)
    scale = scales.column / 2.0 ** math.ceil(math.log2(max(m, 1)) / 2)
    largest = jnp.max(jnp.abs(a), axis=-2, keepdims=True)

    def step(j: Array, state: tuple[Array, Reflections]) -> tuple[Array, Reflections]:
        a, found = state
        vector, weighted, head = _reflector(column_of(a, j), places, j, scales)
        new = Reflections(
            with_column(found.vectors, j, vector),
            with_column(found.weighted, j, weighted),
            with_element(found.heads, j, head),
        )
        return _reflect(a, vector, weighted, scales.one), new

    none = jnp.zeros((*batch, m, count), a.dtype)
    start = Reflections(none, none, none[..., 0, :])
    if not count:
        return a, start
    steps = min(m - 1, n)  # nothing is below the last row
    reflected, reflections = lax.fori_loop(0, steps, step, (quotient(scale * a, largest), start))
    return reflected / scale * largest, reflections


def _reflector(x: Array, places: Array, j: Array, scales: Scales) -> tuple[Array, Array, Array]:
    """A column of each field of `Reflections` for the part of a column x from row j on.

    There is none where that part is zero, or is zero below row j.
    """
    first = element_of(x, j)
    x = jnp.where(places >= j, x, 0)
    squares = x * x
    whole = promise(jnp.sum(squares, axis=-1), 0.0, scales.column**2)
    below = jnp.sum(jnp.where(places > j, squares, 0), axis=-1)
    reflects = (below > scales.nothing) & (whole > scales.square)
    sign = jnp.where(reflects, jnp.where(first < 0, -1.0, 1.0), 0)
    unit = scales.guard * jnp.where(reflects[..., None], x, 0) * inverse_root(whole)[..., None]
    for _ in range(_NEWTON_STEPS):
        unit = unit + unit * (scales.one - jnp.sum(unit * unit, axis=-1))[..., None] / (2 * scales.one)
    vector = unit + scales.guard * sign[..., None] * (places == j)
    head = 1 + sign * element_of(unit, j) / scales.guard
    weighted = quotient(vector, promise(head, 1.0, 2.0)[..., None])
    rest = 2 * scales.one - jnp.sum(vector * weighted, axis=-1)
    weighted = weighted + weighted * rest[..., None] / (2 * scales.one)
    return vector, weighted, jnp.where(reflects, head, 0)


def _reflect(x: Array, vector: Array, weighted: Array, one: float) -> Array:
    """H X for one reflection."""
    return x - outer(vector, product(transposed(x), weighted)) / one


def orthogonal(reflections: Reflections, size: int, scales: Scales) -> Array:
    """The first columns of the product of the reflections."""
    *batch, m, count = reflections.vectors.shape

    def step(i: Array, q: Array) -> Array:
        j = count - 1 - i
        return _reflect(q, column_of(reflections.vectors, j), column_of(reflections.weighted, j), scales.one)

    dtype = reflections.vectors.dtype
    start = jnp.broadcast_to(scales.guard * jnp.eye(m, size, dtype=dtype), (*batch, m, size))
    return (lax.fori_loop(0, count, step, start) if count else start) / scales.guard
