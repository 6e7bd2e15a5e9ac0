"""Triangular factorisations and solves, written in JAX: one column after the other, in a loop that stays a loop.

All of them are left-looking. A column gets everything that the earlier ones subtract from it as one matrix-vector
product: one message of the size of a column and one rounding, where updating the rest of the matrix would cost its
size in every step. A column is divided by its pivot as a whole, which is one reciprocal.

Multipliers are held at `guard` times their size, so that their rounding is small next to that of what they multiply.
Rounds are those of three-party sharing at 18 fraction bits; errors are in `docs/linear-algebra.md`.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jmpc.lowering.composite import composite
from jmpc.lowering.matrices import (
    column_of,
    diagonal,
    element_of,
    exchanged,
    first_largest,
    outer,
    product,
    row_of,
    transposed,
    with_column,
    with_element,
    with_row,
)
from jmpc.lowering.rules.hints import quotient, unit_vectors
from jmpc.lowering.scales import Scales

_SOLVE_GUARD = 4.0  # at most: rows that were divided by their pivots may have larger elements: up to 2^15 in all

Array = Any


@composite("cholesky")
def cholesky(a: Array, *, fraction: int) -> Array:
    """L with A = L L^T of the lower triangle of a positive definite A [..., n, n], |a_ij| < 2^20.

    A = M D M^T with a unit lower triangular M first; the roots of D at the end, all at once. Where a pivot
    is not positive, the column of L is 0. Rounds: 13 n + 26.
    """
    n, guard = a.shape[-1], Scales(fraction).guard
    places = jnp.arange(n)
    lower = jnp.tril(a)

    def step(j: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        weighted, multipliers = state  # M D, and guard * M
        known = product(multipliers, row_of(weighted, j)) / guard
        column = jnp.where(places >= j, column_of(lower, j) - known, 0)
        quotients = quotient(guard * column, element_of(column, j)[..., None])
        return with_column(weighted, j, column), with_column(multipliers, j, quotients)

    weighted, _ = lax.fori_loop(0, n, step, (jnp.zeros_like(a), jnp.zeros_like(a)))
    pivots = jnp.maximum(diagonal(weighted), 0)
    return weighted / jnp.sqrt(pivots)[..., None, :]


@composite("cholesky_update")
def cholesky_update(r: Array, w: Array, *, fraction: int) -> Array:
    """The upper triangular R' with R'^T R' = R^T R + w w^T, decomposed anew. Rounds: 13 n + 27."""
    return transposed(cholesky(transposed(r) @ r + outer(w, w), fraction=fraction))


@composite("symmetric_product")
def symmetric_product(a: Array, c: Array, *, alpha: float, beta: float) -> Array:
    """alpha A A^T + beta C. Rounds: 2."""
    return alpha * (a @ transposed(a)) + beta * c


@composite("lu")
def lu(a: Array, *, fraction: int) -> tuple[Array, Array, Array]:
    """(L below and U above the diagonal, pivots, permutation) of A [..., m, n] with partial pivoting, |a_ij| < 2^20.

    The row of the largest element of a column is found as a unit vector, which moves it and its part of L. Of columns
    without a pivot, L is 0. Rounds: 36 min(m, n) + 1, for m > 32 (30 + 6 ceil(log2(m))) min(m, n).
    """
    m, n = a.shape[-2:]
    count, guard = min(m, n), Scales(fraction).guard
    rows, columns = jnp.arange(m), jnp.arange(n)
    batch = a.shape[:-2]

    def step(j: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
        packed, pivots, permutation = state  # L as guard * L
        above = jnp.where(rows[:count] < j, column_of(packed[..., :count, :], j), 0)
        column = column_of(packed, j) - product(packed[..., :, :count], above) / guard
        size = jnp.where(rows >= j, jnp.abs(column), -1)
        chosen = first_largest(size, unit_vectors)
        moves = (rows == j).astype(np.int32) - chosen
        permutation = exchanged(permutation[..., None], j, chosen, moves)[..., 0]
        whole = jnp.concatenate([packed, column[..., None]], axis=-1)
        whole = exchanged(whole, j, chosen.astype(a.dtype), moves.astype(a.dtype))
        packed, column = whole[..., :-1], whole[..., -1]

        row = row_of(packed, j)
        before = jnp.where(columns[:count] < j, row[..., :count], 0)
        rest = row - product(transposed(packed[..., :count, :]), before) / guard
        top = element_of(column, j)[..., None]
        quotients = quotient(guard * column, top)
        row = jnp.where(columns > j, rest, jnp.where(columns == j, top, row))
        packed = with_column(packed, j, jnp.where(rows > j, quotients, column_of(packed, j)))
        packed = with_row(packed, j, row)
        pivot = jnp.sum(chosen * rows.astype(np.int32), axis=-1, dtype=np.int32)
        return packed, with_element(pivots, j, pivot), permutation

    start = (
        a,
        jnp.zeros((*batch, count), np.int32),
        jnp.broadcast_to(jnp.arange(m, dtype=np.int32), (*batch, m)),
    )
    packed, pivots, permutation = lax.fori_loop(0, count, step, start) if count else start
    lower = np.tri(m, n, -1, dtype=bool)
    return jnp.where(lower, packed / guard, packed), pivots, permutation


@composite("lu_pivots_to_permutation")
def lu_pivots_to_permutation(pivots: Array, *, permutation_size: int) -> Array:
    """The permutation that exchanges row i and row pivots[i], one after the other. Rounds: 2 for each pivot, and 3."""
    m, count = permutation_size, pivots.shape[-1]
    rows = jnp.arange(m)
    unit = unit_vectors(pivots, m)

    def step(j: Array, permutation: Array) -> Array:
        chosen = row_of(unit, j)
        return exchanged(permutation[..., None], j, chosen, (rows == j).astype(np.int32) - chosen)[..., 0]

    start = jnp.broadcast_to(jnp.arange(m, dtype=np.int32), (*pivots.shape[:-1], m))
    return lax.fori_loop(0, count, step, start)


# -- solves ----------------------------------------------------------------------------------------------------


@composite("triangular_solve")
def triangular_solve(
    a: Array,
    b: Array,
    *,
    left_side: bool,
    lower: bool,
    transpose_a: bool,
    unit_diagonal: bool,
    fraction: int,
) -> Array:
    """X with op(A) X = B, or X op(A) = B, for a triangle of A [..., n, n] and B [..., n, k], |x_ij| < 2^15.

    Rows are divided by their diagonal elements first, so that each further step is one product. An unknown
    with a zero on the diagonal is 0. Rounds: 2 n, and 11 unless the diagonal is 1.
    """
    if not left_side:
        b, transpose_a = transposed(b), not transpose_a
    if transpose_a:
        a, lower = transposed(a), not lower
    if not lower:
        a, b = jnp.flip(a, (-2, -1)), jnp.flip(b, -2)
    x = _forward(a, b, unit_diagonal, min(Scales(fraction).guard, _SOLVE_GUARD))
    if not lower:
        x = jnp.flip(x, -2)
    return x if left_side else transposed(x)


def _forward(a: Array, b: Array, unit_diagonal: bool, guard: float) -> Array:
    """Of the lower triangle of `a`."""
    n = a.shape[-1]
    both = jnp.concatenate([guard * jnp.tril(a, -1), b], axis=-1)
    if not unit_diagonal:
        both = quotient(both, diagonal(a)[..., None])
    rows, b = both[..., :n], both[..., n:]

    def step(j: Array, x: Array) -> Array:
        known = jnp.einsum("...i,...ik->...k", row_of(rows, j), x) / guard
        return with_row(x, j, row_of(b, j) - known)

    return lax.fori_loop(0, n, step, jnp.zeros_like(b))


@composite("tridiagonal_solve")
def tridiagonal_solve(below: Array, middle: Array, above: Array, b: Array) -> Array:
    """X for the tridiagonal matrix with these diagonals [..., n], and B [..., n, k]; without pivoting.

    Elimination downwards, a reciprocal each, and substitution upwards. Rounds: 15 n + 2.
    """
    x = jnp.concatenate([above[..., None], b], axis=-1)

    def down(previous: Array, row: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        left, centre, right = row
        pivot = centre - left * previous[..., 0]
        rest = jnp.concatenate([right[..., :1], right[..., 1:] - left[..., None] * previous[..., 1:]], axis=-1)
        divided = quotient(rest, pivot[..., None])
        return divided, divided

    def up(below: Array, row: Array) -> tuple[Array, Array]:
        solution = row[..., 1:] - row[..., :1] * below
        return solution, solution

    rows = (jnp.moveaxis(below, -1, 0), jnp.moveaxis(middle, -1, 0), jnp.moveaxis(x, -2, 0))
    rows = (rows[0].at[0].set(0), *rows[1:])
    _, eliminated = lax.scan(down, jnp.zeros_like(x[..., 0, :]), rows)
    _, solved = lax.scan(up, jnp.zeros_like(b[..., 0, :]), eliminated, reverse=True)
    return jnp.moveaxis(solved, 0, -2)
